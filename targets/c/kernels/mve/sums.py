"""Sums and differences of int8 tensors of one shape, eight elements at a time.

``y = clip((x0*p + x1*q + r) >> s)`` with integers that give the exact result for every pair of
values (:mod:`intaglio.targets.c.kernels.portable.sums` finds them): ``VMLAS``, ``VMLA``, the upper
half, and a narrowing shift. That one rounds, so half of its last place is taken off before. (The
instruction that does not, ``VQSHRN``, is the rounding one to the assembler of GNU binutils 2.40.)
"""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function, Implementation
from intaglio.targets.c.kernels.mve.assembly import RESTORE, SAVE, assembly, clobbers
from intaglio.targets.c.kernels.portable.sums import affine_sum
from intaglio.targets.c.literals import number
from intaglio.targets.c.network import Rescale, Sum

JOB = Function(
    "mve_sum_job",
    """\
/* y = (x0 * first + x1 * second + offset + half) >> places, element by element. */
struct mve_sum_job {
    const int8_t *x0;
    const int8_t *x1;
    int8_t *y;
    int32_t eights, rest; /* elements: eight times the one, and the other */
    int32_t first, second, offset;
};""",
)


def implement(layer: Sum, variant: str, budget: int) -> Implementation | None:
    """Code of a sum; None where shapes differ, a type is not int8 or no such integers exist."""
    del variant, budget
    if {tensor.shape for tensor in layer.inputs} != {layer.output.shape}:
        return None
    found = affine_sum(layer)
    if found is None or not 17 <= found.places <= 24:
        return None
    offset = found.offset - (1 << (found.places - 1))
    reach = 128 * sum(abs(factor) for factor in found.factors)
    if offset - reach < -(1 << 31) or offset + reach >= 1 << 31:
        return None
    function = _function(found.places, layer.rescale)
    size = layer.output.size
    first, second = (number(factor) for factor in found.factors)
    call = (
        f"const struct mve_sum_job job = {{x0, x1, y, {size // 8}, {size % 8}, {first}, {second},\n"
        f"                                {number(offset)}}};\n"
        f"{function.name}(&job);"
    )
    return Implementation(call, (function,), in_place=(0, 1))


def _eight(places: int, clamps: list[str], predicated: bool) -> list[str]:
    then, suffix = (["vpst"], "t") if predicated else ([], "")
    return [
        *then,
        f"vldrb{suffix}.s16 q0, [r1], #8",
        *then,
        f"vldrb{suffix}.s16 q1, [r2], #8",
        "vmovlb.s16 q2, q0",
        "vmovlt.s16 q3, q0",
        "vmovlb.s16 q0, q1",
        "vmovlt.s16 q1, q1",
        "vmlas.s32 q2, q4, r8 // x0 * first + offset",
        "vmlas.s32 q3, q4, r8",
        "vmla.s32 q2, q0, r7",
        "vmla.s32 q3, q1, r7",
        "vshrnb.i32 q2, q2, #16",
        "vshrnt.i32 q2, q3, #16",
        f"vqrshrnb.s16 q2, q2, #{places - 16}",
        *clamps,
        *then,
        f"vstrb{suffix}.16 q2, [r3], #8",
    ]


def _function(places: int, rescale: Rescale) -> Function:
    clamps, before, name = [], [], f"mve_sum_{places}"
    for q, value, operation, usual, word in (
        (5, rescale.minimum, "vmax", -128, "from"),
        (6, rescale.maximum, "vmin", 127, "to"),
    ):
        if value != usual:
            before += [f"mov r0, #{value & 0xFF}", f"vdup.8 q{q}, r0"]
            clamps.append(f"{operation}.s8 q2, q2, q{q}")
            name += f"_{word}_{value}".replace("-", "m")
    lines = [
        *SAVE,
        "mov r0, %0",
        "ldm r0, {r1-r8} // x0, x1, y, eights, rest, first, second, offset",
        "vdup.32 q4, r6",
        *before,
        "wls lr, r4, 2f",
        "1:",
        *_eight(places, clamps, predicated=False),
        "le lr, 1b",
        "2:",
        "cbz r5, 3f",
        "vctp.16 r5",
        *_eight(places, clamps, predicated=True),
        "3:",
        *RESTORE,
    ]
    statement = assembly(lines, f': : "r"(job) : {clobbers()}')
    return Function(
        name,
        f"static void {name}(const struct mve_sum_job *job)\n{{\n{statement}\n}}",
        (JOB,),
    )
