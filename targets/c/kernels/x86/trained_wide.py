"""The vector end of 64-bit sums: the ``wide`` rounding of two registers of int64 to one of int32.

With a multiplier ``m`` of 15 bits and a shift ``s``, all is one 64-bit expression,
``(acc*m + addend) >> s``: the addend holds the half of the rounding and the zero point times
``2^s``. AVX2 has no arithmetic shift of 64 bits, so the addend has ``2^62``, too, which keeps sums
positive, and ``2^(62-s)`` is taken off behind the shift; 32 bits of it are enough.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from intaglio.targets.c.kernels.base import Array, Function
from intaglio.targets.c.kernels.x86.isa import Isa
from intaglio.targets.c.kernels.x86.stores import tail_functions, write_results
from intaglio.targets.c.kernels.x86.tails import Tail
from intaglio.targets.c.kernels.x86.trained_ends import End, bound_of, results_of
from intaglio.targets.c.network import TrainedConvolution
from intaglio.transforms.fixed_point import Rounding


@dataclasses.dataclass(frozen=True, eq=False)
class WideEnd(End):
    """By 64-bit arithmetic, with constants ``[registers, 4, lanes]``.

    They are the multiplier, the addend, the shift, and what the lift of the addend becomes.

    Attributes:
        tail: How results are clamped and stored.
    """

    tail: Tail

    def argument(self, register: str) -> str:
        """The constants of the channels."""
        return f"@tail@ + {register} * {4 * self.isa.lanes}"

    def finish(self, names: list[list[str]], channels: int, pitch: int) -> list[str]:
        """Rescales each pair of registers to one, then packs and stores."""
        isa, lines = self.isa, [f"{self.isa.type} packed;"]
        for row in names:
            lines += [
                f"const {isa.type} {name}r = {_rescale(isa).name}("
                f"{name}l, {name}h, tail + {v * 4 * isa.lanes});"
                for v, name in enumerate(row)
            ]
        rescaled = [[f"{name}r" for name in row] for row in names]
        return lines + write_results(
            self.tail, results_of(rescaled, isa.lanes, channels, pitch), ""
        )


def wide_end(layer: TrainedConvolution, isa: Isa) -> WideEnd | None:
    """The vector end of 64-bit sums, or None where its arithmetic does not hold."""
    rescale = layer.rescale
    if layer.output.dtype != "int8" or rescale.rounding is not Rounding.WIDE:
        return None
    count = len(layer.bias)
    multiplier = np.broadcast_to(rescale.multiplier, count).astype(np.int64)
    multiplier = np.minimum((multiplier + (1 << 15)) >> 16, 0x7FFF)
    shift = np.broadcast_to(rescale.shift, count).astype(np.int64) - 16
    largest = [int(b) * int(m) for b, m in zip(bound_of(layer), multiplier, strict=True)]
    lift = 1 << 62
    for most, s in zip(largest, shift.tolist(), strict=True):
        # Sums stay within 2^62, and results within 32 bits.
        if not 1 <= s <= 62 or most + (129 << s) >= lift or (most >> s) + 130 >= 1 << 31:
            return None
    half = np.left_shift(np.int64(1), shift - 1)
    addend = half + rescale.zero_point * np.left_shift(np.int64(1), shift) + lift
    lifted = np.right_shift(np.int64(lift), shift)
    low = ((lifted + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
    rows = np.stack([multiplier, addend, shift, low])
    padded = np.pad(rows, ((0, 0), (0, -count % isa.lanes)))
    constants = padded.reshape(4, -1, isa.lanes).transpose(1, 0, 2)
    none = np.zeros((0, 4, isa.lanes), np.int32)
    tail = Tail(isa, none, "int8", "wide", 0, rescale.minimum, rescale.maximum)
    functions = tuple(f for f in tail_functions(tail) if f.name != tail.rescale.name)
    arrays = (Array("tail", np.ascontiguousarray(constants)),)
    return WideEnd(isa, True, "const int64_t *tail", "", (_rescale(isa), *functions), arrays, tail)


def _rescale(isa: Isa) -> Function:
    op, t, half = isa.op, isa.type, isa.lanes // 2
    load = isa.load.name
    lines = [
        "/* (acc * multiplier + addend) >> shift, less lift, of int64 lanes low then high. */",
        f"static inline {t} {isa.name}_rescale_sums({t} low, {t} high, const int64_t *constants)",
        "{",
    ]
    for name, at in (("low", 0), ("high", half)):
        m, a, s = (f"{load}(constants + {row * isa.lanes + at})" for row in range(3))
        lines.append(f"    const {t} {name}_factor = {m};")
        if isa.bits == 512:
            lines.append(f"    {name} = {op('mullo_epi64', name, f'{name}_factor')};")
        else:
            upper = op("mul_epu32", op("srli_epi64", name, "32"), f"{name}_factor")
            lines += [
                f"    const {t} {name}_upper = {op('slli_epi64', upper, '32')};",
                f"    {name} = {op('mul_epu32', name, f'{name}_factor')};",
                f"    {name} = {op('add_epi64', name, f'{name}_upper')};",
            ]
        lines += [
            f"    {name} = {op('add_epi64', name, a)};",
            f"    {name} = {op('srlv_epi64', name, s)};",
            f"    {name} = {op('sub_epi64', name, f'{load}(constants + {3 * isa.lanes + at})')};",
        ]
    if isa.bits == 512:
        narrow = "_mm512_cvtepi64_epi32"
        joined = (
            f"_mm512_inserti64x4(_mm512_castsi256_si512({narrow}(low)),\n        {narrow}(high), 1)"
        )
    else:
        shuffled = (
            "_mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(low),\n"
            "        _mm256_castsi256_ps(high), 0x88))"
        )
        joined = f"_mm256_permute4x64_epi64({shuffled}, 0xD8)"
    lines += [f"    return {joined};", "}"]
    return Function(f"{isa.name}_rescale_sums", "\n".join(lines), (isa.load,))
