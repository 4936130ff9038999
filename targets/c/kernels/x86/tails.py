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
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.x86.isa import Isa
from intaglio.targets.c.network import Rescale
from intaglio.transforms.fixed_point import Rounding

_LIMIT = 1 << 31


@dataclasses.dataclass(frozen=True, eq=False)
class Tail:
    """Constants of a vector tail, and the C text that applies them.

    Attributes:
        isa: Registers it works on.
        parameters: int32 ``[blocks, 4, lanes]``: bias, multiplier, addend, exponent; channels are
            padded to whole registers.
        kind: ``double``, ``double_mixed`` (some exponents are 0), ``double_positive`` (negative
            results are clamped to the zero point, so their ties do not matter) or ``single``.
        late: Zero point that is added last, where it does not fit the addend.
        minimum: Smallest result.
        maximum: Largest result.
    """

    isa: Isa
    parameters: NDArray[np.int32]
    kind: str
    late: int
    minimum: int
    maximum: int

    @property
    def rescale(self) -> Function:
        """The C function: of accumulators, multipliers, addends and exponents."""
        return _rescale(self.isa, self.kind)

    def apply(self, name: str, block: str) -> str:
        """A statement that rescales accumulator ``name`` with the constants at ``block``."""
        lanes, load = self.isa.lanes, self.isa.load.name
        constants = ", ".join(f"{load}({block} + {lanes * i})" for i in (1, 2, 3))
        value = f"{self.rescale.name}({name}, {constants})"
        if self.late:
            value = self.isa.op("add_epi32", value, self.isa.op("set1_epi32", str(self.late)))
        return f"{name} = {value};"

    def clamp(self, packed: str) -> list[str]:
        """Statements that clamp packed bytes; none where the saturation of the type does it."""
        lines = []
        for limit, name, idle in ((self.minimum, "max", -128), (self.maximum, "min", 127)):
            if limit != idle:
                bound = self.isa.op("set1_epi8", str(limit))
                lines.append(f"{packed} = {self.isa.op(f'{name}_epi8', packed, bound)};")
        return lines


def make_tail(
    isa: Isa, rescale: Rescale, bias: NDArray[np.int64], bound: NDArray[np.int64]
) -> Tail | None:
    """A vector tail, or None where its arithmetic does not hold.

    Args:
        isa: Registers.
        rescale: What it computes, to int8.
        bias: What accumulators begin with, one for each channel.
        bound: Largest magnitude of each channel's accumulator.
    """
    single = rescale.rounding is Rounding.SINGLE
    if not single and rescale.rounding is not Rounding.DOUBLE:
        return None
    count = len(bias)
    multiplier = np.broadcast_to(rescale.multiplier, count).astype(np.int64)
    exponent = np.broadcast_to(rescale.shift, count).astype(np.int64) - 31
    if np.any(bound >= _LIMIT) or np.any((exponent < 0) & (multiplier != 0)):
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
    rows = np.stack([_wrapped(bias), multiplier, addend, exponent])
    parameters = blocks_of(rows, isa.lanes).astype(np.int32)
    return Tail(isa, parameters, kind, late, rescale.minimum, rescale.maximum)


def blocks_of(rows: NDArray[np.int64], lanes: int) -> NDArray[np.int64]:
    """``[n, channels]`` as ``[blocks, n, lanes]``, padded with zeros."""
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % lanes)))
    return np.ascontiguousarray(padded.reshape(len(rows), -1, lanes).transpose(1, 0, 2))


def _wrapped(values: NDArray[np.int64]) -> NDArray[np.int64]:
    # Modulo 2^32: sums of a register wrap, and what they end in fits.
    return np.asarray(((values + _LIMIT) & 0xFFFFFFFF) - _LIMIT, np.int64)


def _is_upper(isa: Isa, kind: str) -> bool:
    # Whether the tail takes the upper halves of sums; AVX2 has no arithmetic shift of 64 bits.
    return isa.bits == 512 and kind in ("double_positive", "single")


def _rescale(isa: Isa, kind: str) -> Function:
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
        f"    {t} odd = {op('add_epi64', op('mul_epi32', *odds), 'high')};",
    ]
    if upper:
        join = op("mask_shuffle_epi32", "odd", "(__mmask16)0x5555", "even", "(_MM_PERM_ENUM)0xF5")
        lines.append(f"    even = {join};")
    else:
        join = (
            op("mask_blend_epi32", "(__mmask16)0xAAAA", "even", "odd")
            if isa.bits == 512
            else op("blend_epi32", "even", "odd", "0xAA")
        )
        lines += [
            f"    even = {op('srli_epi64', 'even', '31')};",
            f"    odd = {op('add_epi64', 'odd', 'odd')};",
            f"    even = {join};",
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


def pack(isa: Isa) -> Function:
    """The C function that packs the lanes of four registers, saturated to bytes, in order."""
    op, t, parts = isa.op, isa.type, isa.lanes // 4
    order = [f"{4 * part + which}" for which in range(4) for part in range(parts)]
    index = op("setr_epi32", *order)
    permute = (
        op("permutexvar_epi32", "order", "bytes")
        if isa.bits == 512
        else op("permutevar8x32_epi32", "bytes", "order")
    )
    first, second = op("packs_epi32", "a", "b"), op("packs_epi32", "c", "d")
    lines = [
        "/* Lanes of four registers as bytes, saturated, in order. */",
        f"static inline {t} {isa.name}_pack({t} a, {t} b, {t} c, {t} d)",
        "{",
        f"    const {t} order = {index};",
        f"    const {t} bytes = {op('packs_epi16', first, second)};",
        f"    return {permute};",
        "}",
    ]
    return Function(f"{isa.name}_pack", "\n".join(lines))


@dataclasses.dataclass(frozen=True)
class Result:
    """A register of results: its name, its first byte behind ``y`` and how many bytes count."""

    name: str
    offset: int
    count: int


def write_results(tail: Tail, results: Sequence[Result], indent: str = "    ") -> list[str]:
    """Statements that pack, clamp and store rescaled registers, four by four."""
    lines: list[str] = []
    for at in range(0, len(results), 4):
        group = list(results[at : at + 4])
        names = [result.name for result in group]
        names += names[:1] * (4 - len(names))
        lines.append(f"packed = {tail.isa.name}_pack({', '.join(names)});")
        lines += tail.clamp("packed")
        lines += _stores(tail.isa, group)
    return [indent + line for line in lines]


def _stores(isa: Isa, group: list[Result]) -> list[str]:
    lines, at = [], 0
    while at < len(group):
        for size in (4, 2, 1):
            part = group[at : at + size]
            if at % size == 0 and _joined(isa, part, size):
                break
        count = sum(result.count for result in part)
        lines += _store(isa, part[0].offset, at, size, count)
        at += len(part)
    return lines


def _joined(isa: Isa, part: list[Result], size: int) -> bool:
    # Whether the registers lie behind one another; the last may be cut short.
    if size > 1 and (len(part) != size and not isa.masks):
        return False
    ends = all(
        a.count == isa.lanes and b.offset == a.offset + isa.lanes
        for a, b in itertools.pairwise(part)
    )
    return ends and (len(part) == size or (isa.masks and len(part) > size // 2))


def _store(isa: Isa, offset: int, at: int, size: int, count: int) -> list[str]:
    # `size` quarters of the packed register from quarter `at`, of which `count` bytes are stored.
    to, wide = f"y + {offset}", isa.lanes * size * 8
    if wide == isa.bits:
        value = "packed"
    elif wide == 256:
        value = f"_mm512_extracti64x4_epi64(packed, {at // 2})"
    elif isa.bits == 512:
        value = f"_mm512_extracti32x4_epi32(packed, {at})"
    else:
        value = f"_mm256_extracti128_si256(packed, {at // 2})"
    if wide == 64 and at % 2:
        value = f"_mm_unpackhi_epi64({value}, {value})"
    full, prefix = count == wide // 8, {512: "_mm512", 256: "_mm256"}.get(wide, "_mm")
    if isa.masks and not full:
        mask = (
            f"(__mmask{max(wide, 128) // 8}){hex((1 << count) - 1)}{'u' if count < 33 else 'ull'}"
        )
        return [f"{prefix}_mask_storeu_epi8({to}, {mask}, {value});"]
    if full and wide == 64:
        return [f"_mm_storel_epi64((__m128i *)(void *)({to}), {value});"]
    if full:
        return [f"{prefix}_storeu_si{wide}((__m{wide}i *)(void *)({to}), {value});"]
    return [f"avx2_store_some({to}, {value}, {count});"]


STORE_SOME = Function(
    "avx2_store_some",
    """\
/* The first bytes of a register. */
static inline void avx2_store_some(int8_t *to, __m128i value, size_t count)
{
    int8_t bytes[16];
    _mm_storeu_si128((__m128i *)(void *)bytes, value);
    memcpy(to, bytes, count);
}""",
)


def tail_functions(tail: Tail) -> tuple[Function, ...]:
    """Everything that :meth:`Tail.apply` and :func:`write_results` call."""
    extra = () if tail.isa.masks else (STORE_SOME,)
    return (tail.isa.load, tail.rescale, pack(tail.isa), *extra)
