"""Sum of two int8 tensors of one shape: two multiplications an element.

The portable kernels find integers with ``(a p + b q + r) >> s`` equal to the formula for all 65,536
pairs. Here that is two MLA and one SSAT, which shifts, too; four elements a turn.
"""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function, Implementation
from intaglio.targets.c.kernels.dsp.intrinsics import ASSEMBLER
from intaglio.targets.c.kernels.portable.rescaling import CLAMP
from intaglio.targets.c.kernels.portable.sums import affine_sum
from intaglio.targets.c.literals import number
from intaglio.targets.c.network import Sum

_SHIFT = Function(
    "dsp_shift_saturate",
    """\
/* The nearest int8_t to value >> places; places is a constant of 1 to 31. */
#if DSP_ASSEMBLER
#define dsp_shift_saturate(value, places)                                                         \\
    __extension__({                                                                               \\
        int32_t dsp_result;                                                                       \\
        __asm("ssat %0, #8, %1, asr %2" : "=r"(dsp_result) : "r"(value), "I"(places) : "cc");     \\
        (int8_t)dsp_result;                                                                       \\
    })
#else
static int8_t dsp_shift_saturate(int32_t value, int32_t places)
{
    value >>= places;
    return (int8_t)(value < -128 ? -128 : value > 127 ? 127 : value);
}
#endif""",
    (ASSEMBLER,),
)


def implement(layer: Sum, variant: str, budget: int) -> Implementation | None:
    """Code of a sum or difference; None where the shapes differ or there are no such integers."""
    del variant, budget
    one, other = layer.inputs
    size = layer.output.size
    found = affine_sum(layer)
    if found is None or one.size != size or other.size != size or not 1 <= found.places <= 31:
        return None
    first, second = found.factors
    low, high = max(layer.rescale.minimum, -128), min(layer.rescale.maximum, 127)
    is_full = (low, high) == (-128, 127)
    function = _SHIFT if is_full else CLAMP

    def element(place: str) -> str:
        total = (
            f"x0[{place}] * {number(first)} "
            f"+ (x1[{place}] * {number(second)} + {number(found.offset)})"
        )
        if is_full:
            return f"y[{place}] = dsp_shift_saturate({total}, {found.places});"
        return f"y[{place}] = (int8_t)clamp(({total}) >> {found.places}, {low}, {high});"

    unrolled = "\n".join(f"    {element(f'i + {k}' if k else 'i')}" for k in range(4))
    call = f"""\
/* Equal to the exact sum of rescaled values for each of the 65536 pairs. */
int32_t i;
for (i = 0; i < {size // 4 * 4}; i += 4) {{
{unrolled}
}}"""
    if size % 4:
        call += f"\nfor (; i < {size}; i++) {{\n    {element('i')}\n}}"
    return Implementation(call, (function,), in_place=(0, 1))
