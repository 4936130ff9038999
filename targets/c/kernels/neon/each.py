"""The end of a kernel one result at a time, for rescales that have no form in vectors."""

from __future__ import annotations

import dataclasses
from string import Template

from intaglio.targets.c.kernels.base import Array, Function
from intaglio.targets.c.kernels.portable.rescaling import CLAMP, rescaling
from intaglio.targets.c.literals import c_type, number
from intaglio.targets.c.network import Rescale

_STRUCT = Template("""\
/* How accumulators are rescaled one by one; clamped to low .. high before the zero point. */
struct ${struct} {
    const ${multiplier} *multiplier;
    const int8_t *shift;
    size_t step;  /* 1: each channel has its own multiplier and shift; 0: all have the first */
    int32_t low, high, zero_point;
};""")

_FINISH = Template("""\
static inline int32_t ${name}(int32_t acc, const struct ${struct} *stage, size_t channel)
{
    const size_t at = channel * stage->step;
    const int32_t scaled = ${rescale}(acc, stage->multiplier[at], stage->shift[at]);
    return clamp(scaled, stage->low, stage->high) + stage->zero_point;
}""")


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """An output stage for single results.

    Attributes:
        name: Names the rounding in the names of functions.
        struct: Name of the struct.
        finish: ``finish(acc, &stage, channel)``, an int32_t: the finished result.
        declaration: Lines of the statement that makes the constant ``stage``.
        arrays: What it points to.
    """

    name: str
    struct: str
    finish: Function
    declaration: tuple[str, ...]
    arrays: tuple[Array, ...]


def stage_of(rescale: Rescale) -> Stage:
    """The stage that does ``rescale``."""
    code = rescaling(rescale)
    multiplier = c_type(code.multiplier.dtype.name)
    struct = "neon_stage" if multiplier == "int32_t" else "neon_stage_real"
    name = code.function.name.removeprefix("rescale_")
    declared = Function(struct, _STRUCT.substitute(struct=struct, multiplier=multiplier))
    text = _FINISH.substitute(name=f"neon_finish_{name}", struct=struct, rescale=code.function.name)
    numbers = ", ".join(number(value) for value in (code.low, code.high, code.zero_point))
    return Stage(
        name=name,
        struct=struct,
        finish=Function(f"neon_finish_{name}", text, (code.function, CLAMP, declared)),
        declaration=(
            f"static const struct {struct} stage =",
            f"    {{@multiplier@, @shift@, {int(code.per_channel)}, {numbers}}};",
        ),
        arrays=(Array("multiplier", code.multiplier), Array("shift", code.shift)),
    )
