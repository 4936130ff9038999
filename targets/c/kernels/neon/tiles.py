"""Register tiles: some pixels times some channels of a dense convolution, as a C function.

The accumulators of a tile stay in registers while it walks through the runs of a window: a run is
what lies one behind the other both in the image and in the weights, a row of the kernel mostly. Its
length is filled up to whole steps with weights of 0.

========== =============================================== ==================== ==================
form       a step                                          weights of a step    lanes are
========== =============================================== ==================== ==================
``dot``    4 inputs, ``vdotq_lane_s32``                    ``[channels, 4]``    channels
``pairs``  8 inputs, ``vmull_s8`` and ``vpadalq_s16``      ``[channels, 8]``    parts of a sum
``words``  4 inputs of int16, ``vmlal_lane_s16``           ``[4, channels]``    channels
========== =============================================== ==================== ==================

Two steps of ``pairs`` are taken together as ``[channels, 16]``: both products of a pair of bytes
fit 16 bits where no weight is -128 (2 * 127 * 128 < 2^15); else they are added one by one.
"""

from __future__ import annotations

import dataclasses

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.neon.ends import (
    block,
    end_functions,
    end_of_tile,
    limits,
    parameters,
)
from intaglio.targets.c.kernels.neon.memory import WORD
from intaglio.targets.c.kernels.neon.tails import Tail


@dataclasses.dataclass(frozen=True)
class Tile:
    """A tile.

    Attributes:
        form: See the table of this module; ``pairs_full`` where weights may be -128.
        pixels: Pixels of the output.
        vectors: Registers of four channels.
    """

    form: str
    pixels: int
    vectors: int

    @property
    def channels(self) -> int:
        """Channels of the output."""
        return 4 * self.vectors

    @property
    def wide(self) -> bool:
        """Whether inputs and outputs are int16."""
        return self.form == "words"

    @property
    def step(self) -> int:
        """Inputs of a step."""
        return 8 if self.form.startswith("pairs") else 4

    def function(self, tail: Tail) -> Function:
        """``void tile(const T *const *runs, size_t offset, const struct neon_product *, T *y)``."""
        kind = "int16_t" if self.wide else "int8_t"
        name = f"neon_{self.form}_{self.pixels}x{self.channels}_{tail.name}"
        pixel = "a pixel" if self.pixels == 1 else f"{self.pixels} neighbouring pixels"
        lines = [
            f"/* All channels of {pixel}, {self.channels} at a time. */",
            f"static void {name}(const {kind} *const *runs, size_t offset,",
            f"    {parameters(tail, kind)})",
            "{",
            "    const int8_t *weights = product->weights;",
            "    const int32_t *tail = product->tail;",
            *(f"    {line}" for line in limits(self.wide) if tail.stage is None),
            f"    for (size_t first = 0; first < product->channels; first += {self.channels}) {{",
            "        const size_t count = product->channels - first;",
            *(f"        {line}" for line in self._start()),
            "        for (size_t run = 0; run < product->runs; run++) {",
            *(f"            {line}" for line in self._run(kind)),
            "        }",
            *(f"        {line}" for line in self._sums()),
            *(
                f"        {line}"
                for line in end_of_tile(tail, self.pixels, self.vectors, self.wide)
            ),
            f"        tail += {3 * self.channels};",
            "    }",
            "}",
        ]
        words = (WORD,) if self.form == "dot" else ()
        needs = (*words, *end_functions(tail, self.vectors, self.wide))
        return Function(name, "\n".join(lines), needs)

    def _start(self) -> list[str]:
        if self.form.startswith("pairs"):
            return [
                f"int32x4_t sum{p}_{c} = vdupq_n_s32(0);"
                for p in range(self.pixels)
                for c in range(self.channels)
            ]
        biases = [f"int32x4_t acc0_{v} = vld1q_s32(tail + {4 * v});" for v in range(self.vectors)]
        return biases + [
            f"int32x4_t acc{p}_{v} = acc0_{v};"
            for p in range(1, self.pixels)
            for v in range(self.vectors)
        ]

    def _run(self, kind: str) -> list[str]:
        lines = [f"const {kind} *x0 = runs[run] + offset;"]
        lines += [f"const {kind} *x{p} = x{p - 1} + product->step;" for p in range(1, self.pixels)]
        lines.append("size_t left = product->length;")
        if self.form == "words":
            return lines + block("for (; left > 0; left -= 4)", self._words())
        if self.form == "dot":
            lines += block("for (; left >= 16; left -= 16)", self._dots(16))
            lines += block("if (left >= 8)", [*self._dots(8), "left -= 8;"])
            return lines + block("if (left > 0)", self._dots(4))
        lines += block("for (; left >= 16; left -= 16)", self._pairs(16))
        return lines + block("if (left > 0)", self._pairs(8))

    def _inputs(self, count: int) -> list[str]:
        """Statements that load the next ``count`` bytes of each pixel."""
        if count == 16:
            return [f"const int8x16_t v{p} = vld1q_s8(x{p});" for p in range(self.pixels)] + [
                f"x{p} += 16;" for p in range(self.pixels)
            ]
        if count == 8:
            return [f"const int8x8_t v{p} = vld1_s8(x{p});" for p in range(self.pixels)] + [
                f"x{p} += 8;" for p in range(self.pixels)
            ]
        return [f"const int8x8_t v{p} = neon_word(x{p});" for p in range(self.pixels)]

    def _dots(self, count: int) -> list[str]:
        lane = "laneq" if count == 16 else "lane"
        lines = self._inputs(count)
        for part in range(count // 4):
            for v in range(self.vectors):
                at = 16 * (part * self.vectors + v)
                lines.append(f"const int8x16_t w{part}_{v} = vld1q_s8(weights + {at});")
                lines += [
                    f"acc{p}_{v} = vdotq_{lane}_s32(acc{p}_{v}, w{part}_{v}, v{p}, {part});"
                    for p in range(self.pixels)
                ]
        return [*lines, f"weights += {4 * count * self.vectors};"]

    def _pairs(self, count: int) -> list[str]:
        lines = self._inputs(count)
        kind, load = ("int8x16_t", "vld1q_s8") if count == 16 else ("int8x8_t", "vld1_s8")
        for c in range(self.channels):
            lines.append(f"const {kind} w{c} = {load}(weights + {count * c});")
            for p in range(self.pixels):
                total = f"sum{p}_{c}"
                if count == 8:
                    lines.append(f"{total} = vpadalq_s16({total}, vmull_s8(w{c}, v{p}));")
                    continue
                low = f"vmull_s8(vget_low_s8(w{c}), vget_low_s8(v{p}))"
                if self.form == "pairs":
                    product = f"vmlal_high_s8({low}, w{c}, v{p})"
                    lines.append(f"{total} = vpadalq_s16({total}, {product});")
                else:
                    lines.append(f"{total} = vpadalq_s16({total}, {low});")
                    lines.append(f"{total} = vpadalq_s16({total}, vmull_high_s8(w{c}, v{p}));")
        return [*lines, f"weights += {count * self.channels};"]

    def _words(self) -> list[str]:
        lines = [f"const int16x4_t v{p} = vld1_s16(x{p});" for p in range(self.pixels)]
        lines += [f"x{p} += 4;" for p in range(self.pixels)]
        for part in range(4):
            for pair in range(self.vectors // 2):
                name, at = f"w{part}_{pair}", 4 * part * self.vectors + 8 * pair
                lines.append(f"const int16x8_t {name} = vmovl_s8(vld1_s8(weights + {at}));")
                for half, word in enumerate((f"vget_low_s16({name})", name)):
                    high, v = "_high" if half else "", 2 * pair + half
                    lines += [
                        f"acc{p}_{v} = vmlal{high}_lane_s16(acc{p}_{v}, {word}, v{p}, {part});"
                        for p in range(self.pixels)
                    ]
        return [*lines, f"weights += {16 * self.vectors};"]

    def _sums(self) -> list[str]:
        """Statements that make accumulators of the parts of sums."""
        if not self.form.startswith("pairs"):
            return []
        lines = []
        for p in range(self.pixels):
            for v in range(self.vectors):
                a, b, c, d = (f"sum{p}_{4 * v + i}" for i in range(4))
                total = f"vpaddq_s32(vpaddq_s32({a}, {b}), vpaddq_s32({c}, {d}))"
                lines.append(
                    f"int32x4_t acc{p}_{v} = vaddq_s32({total}, vld1q_s32(tail + {4 * v}));"
                )
        return lines
