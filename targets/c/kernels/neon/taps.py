"""Depthwise convolutions tap by tap: 8 or 16 channels of some pixels at a time.

Products of two taps are added in 16 bits and then to sums of 32, where no weight is -128
(``2 * 127 * 128 < 2^15``); else each product is added to the sums at once.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.neon.ends import (
    block,
    end_functions,
    end_of_tile,
    limits,
    parameters,
)
from intaglio.targets.c.kernels.neon.tails import Tail
from intaglio.targets.c.network import Window


@dataclasses.dataclass(frozen=True)
class Taps:
    """Some pixels times some channels.

    Attributes:
        form: ``taps``, ``taps_full`` where weights may be -128, ``tapwords`` for int16.
        pixels: Pixels of the output.
        vectors: Registers of four channels: 2 or 4.
    """

    form: str
    pixels: int
    vectors: int

    @property
    def channels(self) -> int:
        """Channels of a tile."""
        return 4 * self.vectors

    @property
    def wide(self) -> bool:
        """Whether inputs and outputs are int16."""
        return self.form == "tapwords"

    def work(self, window: Window) -> float:
        """About how many instructions it takes."""
        taps, v = window.kernel[0] * window.kernel[1], self.vectors
        each = 1 + v if self.form == "taps" else 1 + 1.5 * v
        return taps * (each * self.pixels + 2) + 3 * v + 5 + self.pixels * (4 * v + 4)

    def runs(self, window: Window) -> int:
        """Number of runs of a window: its taps."""
        return window.kernel[0] * window.kernel[1]

    def pack(self, weights: NDArray[np.int8]) -> NDArray[np.int8]:
        """``[channels, rows, columns]`` as ``[blocks, taps, channels of a block]``."""
        padded = np.pad(weights, ((0, -len(weights) % self.channels), (0, 0), (0, 0)))
        blocks = padded.reshape(-1, self.channels, weights[0].size)
        return np.asarray(blocks.transpose(0, 2, 1), np.int8)

    def pointers(self, window: Window) -> tuple[list[str], str]:
        """Statements that make the first argument of the function, and its name."""
        kind = "int16_t" if self.wide else "int8_t"
        width, taps = window.kernel[1], self.runs(window)
        place = f"tap % {width} * {window.dilations[1] * window.image[2]}"
        lines = [
            f"const {kind} *taps[{taps}];",
            *block(
                f"for (size_t tap = 0; tap < {taps}; tap++)",
                [f"taps[tap] = rows[tap / {width}] + {place};"],
            ),
        ]
        return lines, "taps"

    def function(self, tail: Tail) -> Function:
        """``void tile(const T *const *taps, size_t offset, const struct neon_product *, T *y)``."""
        kind = "int16_t" if self.wide else "int8_t"
        name = f"neon_{self.form}_{self.pixels}x{self.channels}_{tail.name}"
        pixel = "a pixel" if self.pixels == 1 else f"{self.pixels} neighbouring pixels"
        steps = [f"const {kind} *x0 = runs[tap] + offset + first;"]
        steps += [f"const {kind} *x{p} = x{p - 1} + product->step;" for p in range(1, self.pixels)]
        steps += [*self._one(), f"weights += {self.channels};"]
        loop = block("for (; tap < product->runs; tap++)", steps)
        if self.form == "taps":
            pairs = [
                "const int8_t *x0 = runs[tap] + offset + first;",
                "const int8_t *z0 = runs[tap + 1] + offset + first;",
            ]
            for p in range(1, self.pixels):
                pairs.append(f"const int8_t *x{p} = x{p - 1} + product->step;")
                pairs.append(f"const int8_t *z{p} = z{p - 1} + product->step;")
            pairs += [*self._two(), f"weights += {2 * self.channels};"]
            loop = [*block("for (; tap + 1 < product->runs; tap += 2)", pairs), *loop]
        lines = [
            f"/* All channels of {pixel}, {self.channels} at a time; runs are the taps. */",
            f"static void {name}(const {kind} *const *runs, size_t offset,",
            f"    {parameters(tail, kind)})",
            "{",
            "    const int8_t *weights = product->weights;",
            "    const int32_t *tail = product->tail;",
            *(f"    {line}" for line in limits(self.wide) if tail.stage is None),
            f"    for (size_t first = 0; first < product->channels; first += {self.channels}) {{",
            "        const size_t count = product->channels - first;",
            "        size_t tap = 0;",
            *(f"        {line}" for line in self._start()),
            *(f"        {line}" for line in loop),
            *(
                f"        {line}"
                for line in end_of_tile(tail, self.pixels, self.vectors, self.wide)
            ),
            f"        tail += {3 * self.channels};",
            "    }",
            "}",
        ]
        return Function(name, "\n".join(lines), end_functions(tail, self.vectors, self.wide))

    def _start(self) -> list[str]:
        lines = [f"int32x4_t acc0_{v} = vld1q_s32(tail + {4 * v});" for v in range(self.vectors)]
        return lines + [
            f"int32x4_t acc{p}_{v} = acc0_{v};"
            for p in range(1, self.pixels)
            for v in range(self.vectors)
        ]

    def _halves(self, name: str) -> list[str]:
        """The eights of a register of channels."""
        return [name] if self.vectors == 2 else [f"vget_low_s8({name})", f"vget_high_s8({name})"]

    def _load(self, name: str, source: str) -> str:
        if self.vectors == 2:
            return f"const int8x8_t {name} = vld1_s8({source});"
        return f"const int8x16_t {name} = vld1q_s8({source});"

    def _one(self) -> list[str]:
        """Statements that add one tap."""
        if self.wide:
            return self._one_wide()
        lines = [self._load("w", "weights")]
        for p in range(self.pixels):
            lines.append(self._load(f"v{p}", f"x{p}"))
            for half, (w, v) in enumerate(
                zip(self._halves("w"), self._halves(f"v{p}"), strict=True)
            ):
                lines += _added(p, half, f"vmull_s8({w}, {v})")
        return lines

    def _two(self) -> list[str]:
        """Statements that add two taps."""
        lines = [
            self._load("w", "weights"),
            self._load("u", f"weights + {self.channels}"),
        ]
        for p in range(self.pixels):
            lines += [self._load(f"v{p}", f"x{p}"), self._load(f"t{p}", f"z{p}")]
            names = [self._halves(name) for name in ("w", f"v{p}", "u", f"t{p}")]
            for half, (w, v, u, t) in enumerate(zip(*names, strict=True)):
                lines += _added(p, half, f"vmlal_s8(vmull_s8({w}, {v}), {u}, {t})")
        return lines

    def _one_wide(self) -> list[str]:
        lines = []
        for pair in range(self.vectors // 2):
            lines.append(f"const int16x8_t w{pair} = vmovl_s8(vld1_s8(weights + {8 * pair}));")
            for p in range(self.pixels):
                v = f"v{p}_{pair}"
                a, b = f"acc{p}_{2 * pair}", f"acc{p}_{2 * pair + 1}"
                low = f"vget_low_s16(w{pair}), vget_low_s16({v})"
                lines += [
                    f"const int16x8_t {v} = vld1q_s16(x{p} + {8 * pair});",
                    f"{a} = vmlal_s16({a}, {low});",
                    f"{b} = vmlal_high_s16({b}, w{pair}, {v});",
                ]
        return lines


def _added(pixel: int, half: int, product: str) -> list[str]:
    name, a, b = f"p{pixel}_{half}", f"acc{pixel}_{2 * half}", f"acc{pixel}_{2 * half + 1}"
    return [
        f"const int16x8_t {name} = {product};",
        f"{a} = vaddw_s16({a}, vget_low_s16({name}));",
        f"{b} = vaddw_high_s16({b}, {name});",
    ]
