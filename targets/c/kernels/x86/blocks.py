"""Element-wise kernels: a function for a register of bytes, called along the tensors.

The last elements, too few for a register, go through buffers on the stack.
"""

from __future__ import annotations

from collections.abc import Sequence

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.portable.broadcasting import overwritable
from intaglio.targets.c.kernels.x86.isa import AVX2, VNNI, Isa
from intaglio.targets.c.kernels.x86.tiles import named
from intaglio.targets.c.network import Layer


def isa_of(variant: str) -> Isa:
    """The widest registers of a variant."""
    return AVX2 if variant == "avx2" else VNNI


def elementwise(
    layer: Layer,
    isa: Isa,
    what: str,
    body: Sequence[str],
    array: Array | None,
    needs: tuple[Function, ...],
    period: int = 1,
) -> Implementation:
    """A layer whose result depends on the same element of its inputs.

    Args:
        layer: The layer, int8 to int8.
        isa: Registers.
        what: What it does, in words, and its name in C.
        body: Statements that compute ``packed`` from a register of bytes at ``a``, and at ``b``
            where there are two inputs; ``table`` points to ``array``.
        array: Its constants.
        needs: What the statements call.
        period: Registers after which the constants repeat; ``array`` holds those of a period.
    """
    wide, given = isa.bits // 8, ["a", "b"][: sum(x.data is None for x in layer.inputs)]
    count = layer.output.size
    pointers = ", ".join(f"const int8_t *{name}" for name in given)
    constant = f", const {array.data.dtype}_t *table" if array else ""
    head = f"/* {wide} elements of a {what}. */\nstatic void @({pointers}{constant}, int8_t *y)\n{{"
    lines = [f"    {isa.type} packed;", *(f"    {line}" for line in body)]
    lines += [f"    {isa.store.name}(y, packed);", "}"]
    block = named(f"{isa.name}_{what.replace(' ', '_')}", lines, (*needs, isa.store), head)
    table = f", @{array.name}@" if array else ""
    per = array.data.size // period if array else 0
    varying = table if period == 1 else f"{table} + i / {wide} % {period} * {per}"
    sources = ", ".join(f"x{place} + i" for place in range(len(given)))
    call = []
    whole, rest = count // wide * wide, count % wide
    if whole:
        call += [
            f"for (size_t i = 0; i < {whole}; i += {wide}) {{",
            f"    {block.name}({sources}{varying}, y + i);",
            "}",
        ]
    if rest:
        buffers = ", ".join(f"last{place}[{wide}] = {{0}}" for place in range(len(given)))
        call.append(f"int8_t {buffers}, result[{wide}];")
        call += [f"memcpy(last{p}, x{p} + {whole}, {rest});" for p in range(len(given))]
        lasts = ", ".join(f"last{place}" for place in range(len(given)))
        at = whole // wide % period * per
        call += [
            f"{block.name}({lasts}{table}{f' + {at}' if at else ''}, result);",
            f"memcpy(y + {whole}, result, {rest});",
        ]
    arrays = (array,) if array else ()
    return Implementation("\n".join(call), (block,), arrays, 0, overwritable(layer))


def lanes_of(isa: Isa, pointer: str, part: int) -> str:
    """Bytes of part ``part`` of a register's bytes at ``pointer``, each in a 32-bit lane."""
    load = "_mm_loadu_si128" if isa.lanes == 16 else "_mm_loadl_epi64"
    at = f"(const __m128i *)(const void *)({pointer} + {part * isa.lanes})"
    return isa.op("cvtepi8_epi32", f"{load}({at})")
