"""Depthwise convolutions with dot products over the rows of the kernel.

The elements of up to four rows of a column are interleaved, so that 32 bits have those of one
channel: ``vdotq_s32`` multiplies them with the weights of that column of the kernel. Each column
is interleaved once for all pixels of a tile whose windows it is in. Kernels of more rows take them
in groups.
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

_REGISTERS = 32

_HALF = Function(
    "neon_half",
    """\
/* Eight bytes and zeros behind them. */
static inline int8x16_t neon_half(const int8_t *from)
{
    return vcombine_s8(vld1_s8(from), vdup_n_s8(0));
}""",
)


@dataclasses.dataclass(frozen=True)
class Columns:
    """Some pixels times some channels.

    Attributes:
        pixels: Pixels of the output.
        vectors: Registers of four channels: 2 or 4.
        rows: Rows of the kernel in a group, up to 4.
        width: Columns of the kernel.
        stride: Columns from one pixel's window to the next one's.
        dilation: Columns from one of the kernel's to the next.
    """

    pixels: int
    vectors: int
    rows: int
    width: int
    stride: int
    dilation: int

    @staticmethod
    def fitting(window: Window, pixels: int, vectors: int) -> list[Columns]:
        """The tiles of up to so many pixels whose values all stay in registers."""
        height, width = window.kernel
        rows = -(-height // -(-height // 4))
        found = []
        for count in range(1, pixels + 1):
            if count * vectors + width * vectors + vectors + 4 <= _REGISTERS:
                found.append(
                    Columns(count, vectors, rows, width, window.strides[1], window.dilations[1])
                )
        return found

    @property
    def channels(self) -> int:
        """Channels of a tile."""
        return 4 * self.vectors

    def work(self, window: Window) -> float:
        """About how many instructions it takes."""
        v = self.vectors
        interleaved = self.rows + (2 if self.rows > 2 else 1) * v // 2 + v
        group = len(self._columns()) * (interleaved + 1) + self.width * v * (self.pixels + 1) + 6
        return self.runs(window) * group + 3 * v + 5 + self.pixels * (4 * v + 4)

    def runs(self, window: Window) -> int:
        """Number of groups of rows."""
        return -(-window.kernel[0] // self.rows)

    def pack(self, weights: NDArray[np.int8]) -> NDArray[np.int8]:
        """``[channels, rows, columns]`` as ``[blocks, groups, columns, channels, 4]``."""
        count, height, width = weights.shape
        padding = ((0, -count % self.channels), (0, -height % self.rows), (0, 0))
        padded = np.pad(weights, padding)
        groups = padded.reshape(-1, self.channels, padded.shape[1] // self.rows, self.rows, width)
        full = np.pad(groups, ((0, 0), (0, 0), (0, 0), (0, 4 - self.rows), (0, 0)))
        return np.asarray(full.transpose(0, 2, 4, 1, 3), np.int8)

    def pointers(self, window: Window) -> tuple[list[str], str]:
        """Statements that make the first argument of the function, and its name."""
        height = window.kernel[0]
        count = self.runs(window) * self.rows
        if count == height:
            return [], "rows"
        # Rows that the kernel does not have are multiplied by 0.
        return [
            f"const int8_t *lines[{count}];",
            *block(
                f"for (size_t r = 0; r < {count}; r++)",
                [f"lines[r] = rows[r < {height} ? r : 0];"],
            ),
        ], "lines"

    def function(self, tail: Tail) -> Function:
        """``void tile(const int8_t *const *rows, size_t offset, product, int8_t *y)``."""
        name = (
            f"neon_columns_{self.pixels}x{self.channels}_{self.rows}x{self.width}"
            f"_step{self.stride}_apart{self.dilation}_{tail.name}"
        )
        pixel = "a pixel" if self.pixels == 1 else f"{self.pixels} neighbouring pixels"
        lines = [
            f"/* All channels of {pixel}, {self.channels} at a time; runs are groups of",
            f"   {self.rows} rows of the kernel. */",
            f"static void {name}(const int8_t *const *rows, size_t offset,",
            f"    {parameters(tail, 'int8_t')})",
            "{",
            "    const int8_t *weights = product->weights;",
            "    const int32_t *tail = product->tail;",
            "    const size_t pitch = product->channels;",
            *(f"    {line}" for line in limits(False) if tail.stage is None),
            f"    for (size_t first = 0; first < pitch; first += {self.channels}) {{",
            "        const size_t count = pitch - first;",
            *(f"        {line}" for line in self._start()),
            "        for (size_t run = 0; run < product->runs; run++) {",
            *(f"            {line}" for line in self._group()),
            "        }",
            *(
                f"        {line}"
                for line in end_of_tile(tail, self.pixels, self.vectors, wide=False)
            ),
            f"        tail += {3 * self.channels};",
            "    }",
            "}",
        ]
        needs = (() if self.vectors == 4 else (_HALF,)) + end_functions(tail, self.vectors, False)
        return Function(name, "\n".join(lines), needs)

    def _columns(self) -> list[int]:
        """The columns that the windows of a tile read, counted from the first one's."""
        return sorted(
            {
                p * self.stride + j * self.dilation
                for p in range(self.pixels)
                for j in range(self.width)
            }
        )

    def _start(self) -> list[str]:
        lines = [f"int32x4_t acc0_{v} = vld1q_s32(tail + {4 * v});" for v in range(self.vectors)]
        return lines + [
            f"int32x4_t acc{p}_{v} = acc0_{v};"
            for p in range(1, self.pixels)
            for v in range(self.vectors)
        ]

    def _group(self) -> list[str]:
        """Statements that add what a group of rows gives."""
        first = "rows[" + (f"run * {self.rows}" if self.rows > 1 else "run")
        lines = [
            f"const int8_t *x{r} = {first}{f' + {r}' if r else ''}] + offset + first;"
            for r in range(self.rows)
        ]
        lines += [
            f"const int8x16_t w{j}_{v} = vld1q_s8(weights + {16 * (j * self.vectors + v)});"
            for j in range(self.width)
            for v in range(self.vectors)
        ]
        lines += [f"int8x16_t t{v};" for v in range(self.vectors)]
        at = 0
        for column in self._columns():
            if column > at:
                move = "pitch" if column == at + 1 else f"{column - at} * pitch"
                lines += [f"x{r} += {move};" for r in range(self.rows)]
                at = column
            lines += ["{", *(f"    {line}" for line in self._interleaved()), "}"]
            for p in range(self.pixels):
                tap, rest = divmod(column - p * self.stride, self.dilation)
                if not rest and 0 <= tap < self.width:
                    lines += [
                        f"acc{p}_{v} = vdotq_s32(acc{p}_{v}, t{v}, w{tap}_{v});"
                        for v in range(self.vectors)
                    ]
        return [*lines, f"weights += {16 * self.width * self.vectors};"]

    def _interleaved(self) -> list[str]:
        """Statements that make ``t`` of a column: of each channel the elements of all rows."""
        load = "vld1q_s8" if self.vectors == 4 else "neon_half"
        lines = [
            f"const int8x16_t {name} = {f'{load}(x{r})' if r < self.rows else 'vdupq_n_s8(0)'};"
            for r, name in enumerate("abcd")
        ]
        for half in range(self.vectors // 2):
            zip8 = f"vzip{half + 1}q_s8"
            lines += [
                f"const int16x8_t ab{half} = vreinterpretq_s16_s8({zip8}(a, b));",
                f"const int16x8_t cd{half} = vreinterpretq_s16_s8({zip8}(c, d));",
            ]
            for part in range(2):
                pair = f"vzip{part + 1}q_s16(ab{half}, cd{half})"
                lines.append(f"t{2 * half + part} = vreinterpretq_s8_s16({pair});")
        return lines
