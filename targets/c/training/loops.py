"""Loops over the weights in C: moved by a probe, and changed by an update.

A loop goes through the memory and counts the index in ONNX layout along, already multiplied by the
factor of the hash, so that a hash costs two multiplications and a number about ten instructions.
The inner loops are plain enough for compilers to make vectors of them.
"""

from __future__ import annotations

from string import Template

from intaglio.targets.c.training.masks import Kind, condition
from intaglio.transforms.forward_gradient.randomness import ROUNDING_STREAM, Law
from intaglio.transforms.forward_gradient.specification import LARGEST_SHIFT, StepRounding

_LOOP = Template("""\
    const int32_t count = p->sizes[2];
    const uint32_t stride = p->strides[2];
${declared}
    for (i = 0; i < p->sizes[0]; i++) {
        for (j = 0; j < p->sizes[1]; j++) {
            const uint32_t first = (uint32_t)i * p->strides[0] + (uint32_t)j * p->strides[1];
            for (k = 0; k < count; k++) {
                const uint32_t counter = first + (uint32_t)k * stride;
${body}
            }
            w += count;
${behind}        }
    }""")

_MOVE = Template("""\
/* Moves numbers by times * distance along z${note}. */
static void move_${name}(${number} *w, const struct parameter *p, uint32_t seed, int32_t distance,
    int32_t times)
{
${loop}
}""")

_UPDATE = Template("""\
/* Moves numbers against the signed sum of the probes' z, within their limit${note}. */
static void update_${name}(${number} *w, const struct parameter *p, uint32_t seed,
    const int8_t *signs, uint32_t step_shift)
{
    const uint32_t places = step_shift < ${most}u - p->shift ? p->shift + step_shift : ${most}u;
    const int32_t limit = p->limit;
${loop}
}""")

_NOTES = {
    Kind.ALL: "",
    Kind.HASH: ";\n   only those that a hash chooses",
    Kind.BITS: ";\n   only those that a bit is set for",
}


def loop_name(dtype: str, kind: Kind) -> str:
    """What the names of the loops over such a parameter end in."""
    return dtype if kind is Kind.ALL else f"{dtype}_{kind.value}"


def move_loop(law: Law, dtype: str, kind: Kind) -> str:
    """Function ``move_<name>(w, p, seed, distance, times)``."""
    declared = ["    int32_t i, j, k;"]
    if law is Law.RADEMACHER:
        unsigned = dtype == "int32"
        step = "(uint32_t)times * (uint32_t)distance" if unsigned else "times * distance"
        declared.insert(0, f"    const {'uint32_t' if unsigned else 'int32_t'} step = {step};")
        change = f"displaced_{dtype}(mix(counter + seed), step)"
        moved = "(uint32_t)w[k] + {}" if unsigned else "w[k] + {}"
    else:
        change = f"times * displaced_{dtype}(mix(counter + seed), distance)"
        moved = "w[k] + {}"
    where = condition(kind)
    if where:
        zero = "0u" if law is Law.RADEMACHER and dtype == "int32" else "0"
        change = f"{change} : {zero}"
    kind_of_change = _type_of_change(law, dtype)
    statements = [f"const {kind_of_change} change = {change};"]
    if where:
        statements = [f"const {kind_of_change} change = {where}", f"    ? {change};"]
    body = _lines(*statements, f"w[k] = ({dtype}_t)({moved.format('change')});")
    return _MOVE.substitute(
        name=loop_name(dtype, kind), number=f"{dtype}_t", note=_NOTES[kind],
        loop=_loop(kind, declared, body),
    )  # fmt: skip


def _type_of_change(law: Law, dtype: str) -> str:
    if dtype == "int16":
        return "int32_t"
    return "uint32_t" if law is Law.RADEMACHER else "int64_t"


def update_loop(law: Law, rounding: StepRounding, probes: int, dtype: str, kind: Kind) -> str:
    """Function ``update_<name>(w, p, seed, signs, step_shift)``."""
    wide = "int64_t" if dtype == "int32" else "int32_t"
    simple = law is Law.RADEMACHER and probes == 1 and rounding is not StepRounding.STOCHASTIC
    parts = _alike(wide) if simple else _summed(rounding, probes, wide)
    declared, step = parts
    where = condition(kind)
    if where and simple:
        step = [f"const {wide} step = {where}", f"    ? {_ONE_STEP} : 0;"]
    elif where:
        step = [line.replace("MOVING", where) for line in _masked(step)]
    moved = f"const {wide} moved = w[k] - step;"
    clip = f"w[k] = ({dtype}_t)(moved > limit ? limit : moved < -limit ? -limit : moved);"
    return _UPDATE.substitute(
        name=loop_name(dtype, kind), number=f"{dtype}_t", note=_NOTES[kind], most=LARGEST_SHIFT,
        loop=_loop(kind, declared, _lines(*step, moved, clip)),
    )  # fmt: skip


_ONE_STEP = "(mix(counter + probe) & 1u ? odd : even)"


def _alike(wide: str) -> tuple[list[str], list[str]]:
    """One probe of which every number has the same magnitude: two steps, one for each z."""
    declared = [
        "    const uint32_t probe = stream(seed, 0, p->number);",
        "    const int32_t product = 32 * signs[0] * p->multiplier;",
        "    const int32_t even = rounded(product, places);",
        "    const int32_t odd = rounded(-product, places);",
        "    int32_t i, j, k;",
    ]
    return declared, [f"const {wide} step = {_ONE_STEP};"]


def _summed(rounding: StepRounding, probes: int, wide: str) -> tuple[list[str], list[str]]:
    """A sum over the probes."""
    declared = [f"    uint32_t seeds[{probes}];"]
    fill = [
        f"    for (q = 0; q < {probes}; q++) {{",
        "        seeds[q] = stream(seed, (uint32_t)q, p->number);",
        "    }",
    ]
    noise = ""
    if rounding is StepRounding.STOCHASTIC:
        # Numbers of tensors are far below the stream's own number.
        declared.append(
            f"    const uint32_t noise = stream(seed, 0, p->number + {ROUNDING_STREAM}u);"
        )
        noise = ", mix(counter + noise)"
    declared += ["    int32_t i, j, k, q;", *fill]
    step = [
        "int32_t g = 0;",
        f"for (q = 0; q < {probes}; q++) {{",
        "    g += signs[q] * draw(mix(counter + seeds[q]));",
        "}",
        f"const {wide} step = rounded(g * p->multiplier, places{noise});",
    ]
    return declared, step


def _masked(step: list[str]) -> list[str]:
    """The sum is left at nothing where a number does not move."""
    first, *loop, last = step
    return [first, "if (MOVING) {", *(f"    {line}" for line in loop), "}", last]


def _lines(*statements: str) -> list[str]:
    return [" " * 16 + statement for statement in statements]


def _loop(kind: Kind, declared: list[str], body: list[str]) -> str:
    behind = ""
    if kind is Kind.BITS:
        place = next(i for i, line in enumerate(declared) if line.startswith("    int32_t i"))
        declared = [*declared[:place], "    int32_t run = 0;", *declared[place:]]
        body = [" " * 16 + "const int32_t at = run + k;", *body]
        behind = "            run += count;\n"
    return _LOOP.substitute(declared="\n".join(declared), body="\n".join(body), behind=behind)


_ROUNDED = {
    StepRounding.NEAREST: """\
/* product / 2^places to nearest, ties away from zero; |product| is below 2^30. */
static inline int32_t rounded(int32_t product, uint32_t places)
{
    const int32_t half = (int32_t)((1u << places) >> 1);
    return product < 0 ? -((half - product) >> places) : (half + product) >> places;
}""",
    StepRounding.FLOOR: """\
/* product / 2^places toward minus infinity. */
static inline int32_t rounded(int32_t product, uint32_t places)
{
    return product >> places;
}""",
    StepRounding.STOCHASTIC: """\
/* product / 2^places, away from zero with the fraction as probability. */
static inline int32_t rounded(int32_t product, uint32_t places, uint32_t hash)
{
    const uint32_t noise = hash & ((1u << places) - 1u);
    const uint32_t magnitude = product < 0 ? 0u - (uint32_t)product : (uint32_t)product;
    const int32_t step = (int32_t)((magnitude + noise) >> places);
    return product < 0 ? -step : step;
}""",
}


def rounding_function(rounding: StepRounding) -> str:
    """Function ``rounded``."""
    return _ROUNDED[rounding]
