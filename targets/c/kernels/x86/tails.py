"""The end of a kernel in vectors: accumulators of a register to bytes.

A lane computes ``v = (acc*m + 2^30) >> 31`` with both halves of the register multiplied to 64 bits,
then the rounding shift by ``e = shift - 31``; its half, ``2^(e-1)``, and the zero point times
``2^e`` are one addend, put into the 64-bit sum. A negative accumulator has 1 less before the second
shift (ties away from zero). That equals ``double`` of :mod:`intaglio.transforms.fixed_point`:
floors of floors are floors, and the sign of ``acc`` decides there as here. ``single`` has neither
the 2^30 nor the sign. Sums are modulo 2^32; that the last one fits is proved from the bound of the
accumulator, channel by channel.

Without the sign, all is one shift of the 64-bit sum: AVX-512 takes its upper half and shifts by one
place less.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.x86.isa import Isa
from intaglio.targets.c.network import Rescale
from intaglio.transforms.fixed_point import Rounding

_LIMIT = 1 << 31
#: Rows of the parameters behind the bias, and what the C text calls them.
_CONSTANTS = ((1, "multiplier"), (2, "addend"), (3, "exponent"))


@dataclasses.dataclass(frozen=True, eq=False)
class Tail:
    """Constants of a vector tail, and the C text that applies them.

    Attributes:
        isa: Registers it works on.
        parameters: int32 ``[blocks, 4, lanes]``: bias, multiplier, addend, exponent; channels are
            padded to whole registers.
        dtype: Type of the results.
        kind: ``wide``, ``single``, ``double``, ``double_mixed`` (some exponents are 0) or
            ``double_positive`` (negative results are clamped to the zero point, so that their ties
            do not matter).
        late: Zero point that is added last, where it does not fit the addend.
        minimum: Smallest result.
        maximum: Largest result.
    """

    isa: Isa
    parameters: NDArray[np.int32]
    dtype: str
    kind: str
    late: int
    minimum: int
    maximum: int

    @property
    def rescale(self) -> Function:
        """The C function: of accumulators, multipliers, addends and exponents."""
        return _rescale(self.isa, self.kind)

    def constants(self, number: int, pointer: str, offset: int = 0) -> list[str]:
        """Statements that load constants ``number`` of the accumulators."""
        lanes, load = self.isa.lanes, self.isa.load.name
        return [
            f"const {self.isa.type} {name}{number} = {load}({pointer} + {offset + lanes * i});"
            for i, name in _CONSTANTS
        ]

    def apply(self, name: str, number: int) -> str:
        """A statement that rescales accumulator ``name`` with constants ``number``."""
        constants = ", ".join(f"{constant}{number}" for _, constant in _CONSTANTS)
        value = f"{self.rescale.name}({name}, {constants})"
        if self.late:
            value = self.isa.op("add_epi32", value, self.isa.op("set1_epi32", str(self.late)))
        return f"{name} = {value};"

    def clamp(self, packed: str) -> list[str]:
        """Statements that clamp packed results; none where the saturation of the type does it."""
        limits, lines = np.iinfo(self.dtype), []
        for limit, name, idle in (
            (self.minimum, "max", limits.min), (self.maximum, "min", limits.max)
        ):  # fmt: skip
            if limit != idle:
                bound = self.isa.op(f"set1_epi{limits.bits}", str(limit))
                lines.append(
                    f"{packed} = {self.isa.op(f'{name}_epi{limits.bits}', packed, bound)};"
                )
        return lines


def make_tail(
    isa: Isa,
    rescale: Rescale,
    bias: NDArray[np.int64],
    bound: NDArray[np.int64],
    dtype: str = "int8",
) -> Tail | None:
    """A vector tail, or None where its arithmetic does not hold.

    Args:
        isa: Registers.
        rescale: What it computes.
        bias: What accumulators begin with, one for each channel.
        bound: Largest magnitude of each channel's accumulator.
        dtype: Type of the results: int8 or int16.
    """
    if np.any(bound >= _LIMIT):
        return None
    if rescale.rounding is Rounding.WIDE:
        return _wide_tail(isa, rescale, bias, bound, dtype)
    single = rescale.rounding is Rounding.SINGLE
    if not single and rescale.rounding is not Rounding.DOUBLE:
        return None
    count = len(bias)
    multiplier = np.broadcast_to(rescale.multiplier, count).astype(np.int64)
    exponent = np.broadcast_to(rescale.shift, count).astype(np.int64) - 31
    if np.any((exponent < 0) & (multiplier != 0)):
        return None
    # Channels whose every result is the zero point: any exponent will do.
    half = np.left_shift(np.int64(1), np.maximum(exponent + 30, 0))
    idle = (multiplier == 0) | ((exponent > 0) & (bound * multiplier + (1 << 30) < half))
    multiplier, exponent = np.where(idle, 0, multiplier), np.where(idle, 1, exponent)
    if np.all(exponent == 0):
        single = False  # One rounding is all there is; both formulas are one.
    if single and np.any(exponent == 0):
        return None
    half = np.where(exponent > 0, np.left_shift(np.int64(1), np.maximum(exponent - 1, 0)), 0)
    largest = ((bound * multiplier) >> 31) + 2
    addend, late = half + rescale.zero_point * np.left_shift(np.int64(1), exponent), 0
    if np.any(largest + np.abs(addend) >= _LIMIT):
        addend, late = half, rescale.zero_point
        if np.any(largest + half >= _LIMIT):
            return None
    kind = "single" if single else "double" if np.all(exponent > 0) else "double_mixed"
    if kind == "double" and not late and rescale.minimum >= rescale.zero_point:
        kind = "double_positive"
    if _is_upper(isa, kind):
        exponent = exponent - 1
    parameters = _blocks(isa, bias, multiplier, addend, exponent)
    return Tail(isa, parameters, dtype, kind, late, rescale.minimum, rescale.maximum)


def _wide_tail(
    isa: Isa, rescale: Rescale, bias: NDArray[np.int64], bound: NDArray[np.int64], dtype: str
) -> Tail | None:
    # (acc*m + 2^(s-1)) >> s with the multiplier of 15 bits; 32 bits of the sum from bit s on.
    count = len(bias)
    multiplier = np.broadcast_to(rescale.multiplier, count).astype(np.int64)
    multiplier = np.minimum((multiplier + (1 << 15)) >> 16, 0x7FFF)
    shift = np.broadcast_to(rescale.shift, count).astype(np.int64) - 16
    half = np.left_shift(np.int64(1), shift - 1)
    idle = bound * multiplier < half
    multiplier, shift = np.where(idle, 0, multiplier), np.where(idle, 1, shift)
    largest = ((bound * multiplier) >> shift) + 2 + abs(rescale.zero_point)
    if np.any(shift > 32) or np.any(largest >= _LIMIT):
        return None
    parameters = _blocks(isa, bias, multiplier, np.zeros(count, np.int64), shift)
    late = rescale.zero_point
    return Tail(isa, parameters, dtype, "wide", late, rescale.minimum, rescale.maximum)


def _blocks(isa: Isa, bias: NDArray[np.int64], *rows: NDArray[np.int64]) -> NDArray[np.int32]:
    # [blocks, row, lanes], padded with zeros; sums of a register wrap, and what they end in fits.
    wrapped = ((bias + _LIMIT) & 0xFFFFFFFF) - _LIMIT
    stacked = np.stack([wrapped, *rows])
    padded = np.pad(stacked, ((0, 0), (0, -stacked.shape[1] % isa.lanes)))
    blocks = padded.reshape(len(stacked), -1, isa.lanes).transpose(1, 0, 2)
    return np.ascontiguousarray(blocks.astype(np.int32))


def _is_upper(isa: Isa, kind: str) -> bool:
    # Whether the tail takes the upper halves of sums; AVX2 has no arithmetic shift of 64 bits.
    return isa.bits == 512 and kind in ("double_positive", "single")


def _rescale_wide(isa: Isa) -> Function:
    op, t = isa.op, isa.type
    one = op("set1_epi64" + ("" if isa.bits == 512 else "x"), "1")
    count = op("set1_epi64" + ("" if isa.bits == 512 else "x"), "32")
    odds = op("srli_epi64", "acc", "32"), op("srli_epi64", "multiplier", "32")
    low = op("srli_epi64", op("slli_epi64", "exponent", "32"), "32")
    halves = [op("sllv_epi64", "one", op("sub_epi64", which, "one")) for which in ("low", "high")]
    lines = [
        "/* (acc * multiplier, rounded) >> exponent in each lane. */",
        f"static inline {t} {isa.name}_rescale_wide({t} acc, {t} multiplier, {t} addend,",
        f"    {t} exponent)",
        "{",
        f"    const {t} one = {one};",
        f"    const {t} low = {low};",
        f"    const {t} high = {op('srli_epi64', 'exponent', '32')};",
        f"    {t} even = {op('add_epi64', op('mul_epi32', 'acc', 'multiplier'), halves[0])};",
        f"    {t} odd = {op('add_epi64', op('mul_epi32', *odds), halves[1])};",
        "    (void)addend;",
        f"    even = {op('srlv_epi64', 'even', 'low')};",
        f"    odd = {op('sllv_epi64', 'odd', op('sub_epi64', count, 'high'))};",
        f"    return {_joined(isa)};",
        "}",
    ]
    return Function(f"{isa.name}_rescale_wide", "\n".join(lines))


def _joined(isa: Isa) -> str:
    # Even lanes of one register, odd ones of another.
    if isa.bits == 512:
        return isa.op("mask_blend_epi32", "(__mmask16)0xAAAA", "even", "odd")
    return isa.op("blend_epi32", "even", "odd", "0xAA")


def _rescale(isa: Isa, kind: str) -> Function:
    if kind == "wide":
        return _rescale_wide(isa)
    op, t, upper = isa.op, isa.type, _is_upper(isa, kind)
    right = "srai_epi64" if upper else "srli_epi64"

    def rounded(value: str) -> str:
        return value if kind == "single" else op(f"or_si{isa.bits}", value, "first")

    lines = [f"/* {_TITLES[kind]} in each lane. */"]
    lines += [
        f"static inline {t} {isa.name}_rescale_{kind}({t} acc, {t} multiplier, {t} addend,",
        f"    {t} exponent)",
        "{",
    ]
    if kind != "single":
        wide = op("set1_epi64" + ("" if isa.bits == 512 else "x"), "1 << 30")
        lines.append(f"    const {t} first = {wide};")
    low = op(right, op("slli_epi64", "addend", "32"), "1")
    high = op("slli_epi64", op(right, "addend", "32"), "31")
    odds = op("srli_epi64", "acc", "32"), op("srli_epi64", "multiplier", "32")
    lines += [
        f"    const {t} low = {rounded(low)};",
        f"    const {t} high = {rounded(high)};",
        f"    {t} even = {op('add_epi64', op('mul_epi32', 'acc', 'multiplier'), 'low')};",
        f"    const {t} acc_odd = {odds[0]}, multiplier_odd = {odds[1]};",
        f"    {t} odd = {op('add_epi64', op('mul_epi32', 'acc_odd', 'multiplier_odd'), 'high')};",
    ]
    if upper:
        join = op("mask_shuffle_epi32", "odd", "(__mmask16)0x5555", "even", "(_MM_PERM_ENUM)0xF5")
        lines.append(f"    even = {join};")
    else:
        lines += [
            f"    even = {op('srli_epi64', 'even', '31')};",
            f"    odd = {op('add_epi64', 'odd', 'odd')};",
            f"    even = {_joined(isa)};",
        ]
    if kind in ("double", "double_mixed"):
        lines.append(f"    even = {op('add_epi32', 'even', _sign(isa, kind))};")
    lines += [f"    return {op('srav_epi32', 'even', 'exponent')};", "}"]
    return Function(f"{isa.name}_rescale_{kind}", "\n".join(lines))


_TITLES = {
    "double": "acc * multiplier >> 31, rounded, + addend, less 1 for negatives, >> exponent",
    "double_mixed": "acc * multiplier >> 31, rounded, + addend, less 1 for negatives, >> exponent",
    "double_positive": "acc * multiplier >> 31, rounded, + addend, >> exponent",
    "single": "(acc * multiplier >> 31) + addend >> exponent",
}


def _sign(isa: Isa, kind: str) -> str:
    # -1 in the lanes of negative accumulators that have a second shift.
    sign = isa.op("srai_epi32", "acc", "31")
    if kind == "double":
        return sign
    if isa.bits == 512:
        shifted = isa.op("test_epi32_mask", "exponent", "exponent")
        return isa.op("maskz_srai_epi32", shifted, "acc", "31")
    return isa.op("and_si256", sign, isa.op("cmpgt_epi32", "exponent", "_mm256_setzero_si256()"))
