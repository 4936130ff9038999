"""What shared C functions do with an accumulator: rescale, clamp and zero point in one struct."""

from __future__ import annotations

import dataclasses
from string import Template

from intaglio.targets.c.kernels.base import Array, Function
from intaglio.targets.c.kernels.portable.rescaling import CLAMP, rescaling
from intaglio.targets.c.literals import c_type, number
from intaglio.targets.c.network import Rescale

_STRUCT = Template("""\
/* What becomes of accumulators: scaled, clamped to low .. high, then moved by the zero point. */
struct ${struct} {
    const ${multiplier} *multiplier;
    const int8_t *shift;
    int32_t step;  /* 1: each channel has its own multiplier and shift; 0: all have the first */
    int32_t low, high, zero_point;
};""")

_FINISH = Template("""\
static inline int32_t ${name}(${accumulator} acc, const struct ${struct} *stage, int32_t channel)
{
    const int32_t at = channel * stage->step;
    const int32_t scaled = ${rescale}(acc, stage->multiplier[at], stage->shift[at]);
    return clamp(scaled, stage->low, stage->high) + stage->zero_point;
}""")


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """The output stage of a layer in C.

    Attributes:
        name: Names the rounding in the names of functions: ``double_high``.
        struct: Name of the struct.
        finish: ``finish(acc, &stage, channel)``, an int32_t: the finished result.
        accumulator: C type of its accumulator.
        declaration: Statement that makes the constant ``stage``.
        arrays: What it points to.
    """

    name: str
    struct: str
    finish: Function
    accumulator: str
    declaration: str
    arrays: tuple[Array, ...]


def output_stage(rescale: Rescale) -> Stage:
    """The output stage that does ``rescale``."""
    code = rescaling(rescale)
    multiplier = c_type(code.multiplier.dtype.name)
    struct = "output_stage" if multiplier == "int32_t" else "output_stage_real"
    name = code.function.name.removeprefix("rescale_")
    declared = Function(struct, _STRUCT.substitute(struct=struct, multiplier=multiplier))
    finish = Function(
        f"finish_{name}",
        _FINISH.substitute(
            name=f"finish_{name}",
            accumulator=code.accumulator,
            struct=struct,
            rescale=code.function.name,
        ),
        (code.function, CLAMP, declared),
    )
    numbers = ", ".join(number(value) for value in (code.low, code.high, code.zero_point))
    return Stage(
        name=name,
        struct=struct,
        finish=finish,
        accumulator=code.accumulator,
        declaration=f"static const struct {struct} stage =\n"
        f"    {{@multiplier@, @shift@, {int(code.per_channel)}, {numbers}}};",
        arrays=(Array("multiplier", code.multiplier), Array("shift", code.shift)),
    )
