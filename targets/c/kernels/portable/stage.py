"""What shared C functions do with an accumulator: rescale, clamp and zero point in one struct."""

from __future__ import annotations

import dataclasses
from string import Template

from intaglio.targets.c.kernels.base import Array, Function
from intaglio.targets.c.kernels.portable.dots import NOINLINE
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
/* Finishes count accumulators of channels that follow each other. */
static NOINLINE void ${name}(const ${sum} *acc, int32_t count, const struct ${struct} *stage,
    int32_t channel, ${y} *y)
{
    const int32_t step = stage->step, low = stage->low, high = stage->high;
    const int32_t zero_point = stage->zero_point;
    const ${multiplier} *multiplier = stage->multiplier + channel * step;
    const int8_t *shift = stage->shift + channel * step;
    int32_t i;
    for (i = 0; i < count; i++) {
        const int32_t scaled = ${rescale}(${cast}acc[i], *multiplier, *shift);
        y[i] = (${y})(clamp(scaled, low, high) + zero_point);
        multiplier += step;
        shift += step;
    }
}""")


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """The output stage of a layer in C.

    Attributes:
        name: Names the rounding in the names of functions: ``double_high``.
        struct: Name of the struct.
        finish: ``finish(acc, count, &stage, channel, y)`` makes ``count`` results.
        declaration: Statement that makes the constant ``stage``.
        arrays: What it points to.
    """

    name: str
    struct: str
    finish: Function
    declaration: str
    arrays: tuple[Array, ...]


def output_stage(rescale: Rescale, y: str, *, wide: bool) -> Stage:
    """The output stage that does ``rescale``.

    Args:
        rescale: What to do.
        y: C type of the results.
        wide: Accumulators are int64_t, else int32_t.
    """
    code = rescaling(rescale)
    multiplier = c_type(code.multiplier.dtype.name)
    struct = "output_stage" if multiplier == "int32_t" else "output_stage_real"
    name = code.function.name.removeprefix("rescale_")
    declared = Function(struct, _STRUCT.substitute(struct=struct, multiplier=multiplier))
    parts = ["finish", y.removesuffix("_t"), *(["wide_sum"] if wide else []), name]
    text = _FINISH.substitute(
        name="_".join(parts),
        sum="int64_t" if wide else "int32_t",
        struct=struct,
        y=y,
        multiplier=multiplier,
        rescale=code.function.name,
        cast="(int32_t)" if wide and code.accumulator == "int32_t" else "",
    )
    scales = "a scale for each channel" if code.per_channel else "one scale"
    step, numbers = int(code.per_channel), f"{number(code.low)}, {number(code.high)}"
    lines = [
        f"static const struct {struct} stage = {{",
        "    @multiplier@, @shift@,",
        f"    {step},".ljust(24) + f" /* {scales} */",
        f"    {numbers}, {code.zero_point}".ljust(24) + " /* low, high, zero point */",
        "};",
    ]
    return Stage(
        name=name,
        struct=struct,
        finish=Function("_".join(parts), text, (NOINLINE, code.function, CLAMP, declared)),
        declaration="\n".join(lines),
        arrays=(Array("multiplier", code.multiplier), Array("shift", code.shift)),
    )
