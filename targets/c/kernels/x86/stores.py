"""From rescaled registers to memory: packed, clamped and stored.

Four registers of 32-bit lanes become one of bytes, or two become one of 16-bit words. Its parts are
stored together where the results lie behind one another.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.x86.isa import Isa
from intaglio.targets.c.kernels.x86.tails import Tail


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


def pack_words(isa: Isa) -> Function:
    """The C function that packs the lanes of two registers, saturated to 16 bits, in order."""
    t = isa.type
    words = isa.op("packs_epi32", "a", "b")
    if isa.bits == 512:
        order = isa.op("setr_epi64", "0", "2", "4", "6", "1", "3", "5", "7")
        packed = isa.op("permutexvar_epi64", order, words)
    else:
        packed = isa.op("permute4x64_epi64", words, "0xD8")
    lines = [
        "/* Lanes of two registers as 16-bit words, saturated, in order. */",
        f"static inline {t} {isa.name}_pack_words({t} a, {t} b)",
        "{",
        f"    return {packed};",
        "}",
    ]
    return Function(f"{isa.name}_pack_words", "\n".join(lines))


@dataclasses.dataclass(frozen=True)
class Result:
    """A register of results: its name, its first element behind ``y`` and how many count."""

    name: str
    offset: int
    count: int


def write_results(tail: Tail, results: Sequence[Result], indent: str = "    ") -> list[str]:
    """Statements that pack, clamp and store rescaled registers."""
    isa, size = tail.isa, 2 if tail.dtype == "int16" else 1
    number, function = 4 // size, pack_words(isa) if size == 2 else pack(isa)
    lines: list[str] = []
    for at in range(0, len(results), number):
        group = list(results[at : at + number])
        names = [result.name for result in group]
        names += names[:1] * (number - len(names))
        lines.append(f"packed = {function.name}({', '.join(names)});")
        lines += tail.clamp("packed")
        lines += _stores(isa, size, group)
    return [indent + line for line in lines]


def _stores(isa: Isa, itemsize: int, group: list[Result]) -> list[str]:
    lines, at = [], 0
    while at < len(group):
        for size in (4, 2, 1):
            part = group[at : at + size]
            if at % size == 0 and size * itemsize <= 4 and _joined(isa, part, size):
                break
        count = sum(result.count for result in part)
        lines += _store(isa, itemsize, part[0].offset, at, size, count)
        at += len(part)
    return lines


def _joined(isa: Isa, part: list[Result], size: int) -> bool:
    # Whether the registers lie behind one another; the last may be cut short.
    ends = all(
        a.count == isa.lanes and b.offset == a.offset + isa.lanes
        for a, b in itertools.pairwise(part)
    )
    return ends and (len(part) == size or (isa.masks and len(part) > size // 2))


def _store(isa: Isa, itemsize: int, offset: int, at: int, size: int, count: int) -> list[str]:
    # `size` parts of the packed register from part `at`, of which `count` elements are stored.
    to, wide, bit = f"y + {offset}", isa.lanes * size * 8 * itemsize, isa.lanes * at * 8 * itemsize
    if wide == isa.bits:
        value = "packed"
    elif wide == 256:
        value = f"_mm512_extracti64x4_epi64(packed, {bit // 256})"
    elif isa.bits == 512:
        value = f"_mm512_extracti32x4_epi32(packed, {bit // 128})"
    else:
        value = f"_mm256_extracti128_si256(packed, {bit // 128})"
    if wide == 64 and bit % 128:
        value = f"_mm_unpackhi_epi64({value}, {value})"
    full, prefix = count * itemsize * 8 == wide, {512: "_mm512", 256: "_mm256"}.get(wide, "_mm")
    if isa.masks and not full:
        kind = f"__mmask{max(wide, 128) // 8 // itemsize}"
        mask = f"({kind}){(1 << count) - 1:#x}{'u' if count <= 32 else 'ull'}"
        return [f"{prefix}_mask_storeu_epi{8 * itemsize}({to}, {mask}, {value});"]
    if full and wide == 64:
        return [f"_mm_storel_epi64((__m128i *)(void *)({to}), {value});"]
    if full:
        return [f"{prefix}_storeu_si{wide}((__m{wide}i *)(void *)({to}), {value});"]
    return [f"avx2_store_some{wide if wide == 256 else ''}({to}, {value}, {count * itemsize});"]


STORE_SOME = Function(
    "avx2_store_some",
    """\
/* The first bytes of a register. */
static inline void avx2_store_some(void *to, __m128i value, size_t count)
{
    int8_t bytes[16];
    _mm_storeu_si128((__m128i *)(void *)bytes, value);
    memcpy(to, bytes, count);
}""",
)

STORE_SOME_256 = Function(
    "avx2_store_some256",
    """\
/* The first bytes of a register. */
static inline void avx2_store_some256(void *to, __m256i value, size_t count)
{
    int8_t bytes[32];
    _mm256_storeu_si256((__m256i *)(void *)bytes, value);
    memcpy(to, bytes, count);
}""",
)


def tail_functions(tail: Tail) -> tuple[Function, ...]:
    """Everything that :meth:`Tail.apply` and :func:`write_results` call."""
    extra = () if tail.isa.masks else (STORE_SOME, STORE_SOME_256)
    packing = pack_words(tail.isa) if tail.dtype == "int16" else pack(tail.isa)
    return (tail.isa.load, tail.rescale, packing, *extra)
