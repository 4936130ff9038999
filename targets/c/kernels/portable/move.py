"""Values moved about: strided copies of up to three axes in C functions, more axes in loops."""

from __future__ import annotations

from string import Template

from intaglio.targets.c.kernels.base import Function, Implementation
from intaglio.targets.c.literals import c_type, number
from intaglio.targets.c.network import Block, Move

_COPY = Function(
    "copy",
    """\
/* A strided copy; strides are in elements. */
struct copy {
    int32_t sizes[3], strides[3], to_strides[3];
};""",
)

_ELEMENTS = Template("""\
static void copy_${dtype}(const ${x} *x, const struct copy *copy, ${x} *y)
{
    int32_t i, j, k;
    for (i = 0; i < copy->sizes[0]; i++) {
        for (j = 0; j < copy->sizes[1]; j++) {
            const ${x} *from = x + i * copy->strides[0] + j * copy->strides[1];
            ${x} *to = y + i * copy->to_strides[0] + j * copy->to_strides[1];
            for (k = 0; k < copy->sizes[2]; k++) {
                to[k * copy->to_strides[2]] = from[k * copy->strides[2]];
            }
        }
    }
}""")

_RUNS = Template("""\
/* A copy whose last axis has strides of 1. */
static void copy_runs_${dtype}(const ${x} *x, const struct copy *copy, ${x} *y)
{
    int32_t i, j;
    for (i = 0; i < copy->sizes[0]; i++) {
        for (j = 0; j < copy->sizes[1]; j++) {
            memcpy(y + i * copy->to_strides[0] + j * copy->to_strides[1],
                x + i * copy->strides[0] + j * copy->strides[1],
                (size_t)copy->sizes[2] * sizeof *y);
        }
    }
}""")

_FILL = Template("""\
static void fill_${dtype}(${x} *y, int32_t count, ${x} value)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        y[i] = value;
    }
}""")


def move(layer: Move, variant: str, budget: int) -> Implementation | None:
    """Code of a layer that moves values."""
    dtype, count = layer.output.dtype, layer.output.size
    words = {"dtype": dtype, "x": c_type(dtype)}
    statements: list[str] = []
    functions: dict[str, Function] = {}
    if layer.fill is not None:
        # memset fills bytes: those of 0 and -1 are all alike.
        if dtype == "int8" or layer.fill in (0, -1):
            statements.append(f"memset(y, {layer.fill}, {layer.output.bytes}u);")
        else:
            functions["fill"] = Function(f"fill_{dtype}", _FILL.substitute(words))
            statements.append(f"fill_{dtype}(y, {count}, {number(layer.fill)});")
    for place, block in enumerate(layer.blocks):
        if not all(block.sizes):
            continue
        source, target = _at(f"x{block.operand}", block.start), _at("y", block.to)
        if _is_run(block) and len(block.sizes) <= 1:
            size = (block.sizes[0] if block.sizes else 1) * layer.output.itemsize
            statements.append(f"memcpy({target}, {source}, {size}u);")
            continue
        runs = _is_run(block)
        kind, template = ("copy_runs", _RUNS) if runs else ("copy", _ELEMENTS)
        functions[kind] = Function(f"{kind}_{dtype}", template.substitute(words), (_COPY,))
        statements += _copy(block, place, source, target, f"{kind}_{dtype}")
    read = {block.operand for block in layer.blocks if all(block.sizes)}
    unread = [
        f"(void)x{place};"
        for place, tensor in enumerate(layer.inputs)
        if place not in read and tensor.data is None
    ]
    return Implementation(call="\n".join(unread + statements), functions=tuple(functions.values()))


def _is_run(block: Block) -> bool:
    return not block.sizes or (block.strides[-1], block.to_strides[-1]) == (1, 1)


def _at(base: str, start: int) -> str:
    return f"{base} + {start}" if start else base


def _copy(block: Block, place: int, source: str, target: str, name: str) -> list[str]:
    """Statements of a block: its last three axes by the function, the others by loops."""
    more = max(0, len(block.sizes) - 3)

    def inner(values: tuple[int, ...], missing: int) -> str:
        last = values[more:]
        return "{" + ", ".join(map(str, [missing] * (3 - len(last)) + list(last))) + "}"

    struct = (
        f"static const struct copy block{place} =\n    {{{inner(block.sizes, 1)}, "
        f"{inner(block.strides, 0)}, {inner(block.to_strides, 0)}}};"
    )
    if not more:
        return [
            "{",
            *_indent([*struct.split("\n"), f"{name}({source}, &block{place}, {target});"]),
            "}",
        ]
    names = [f"i{axis}" for axis in range(more)]
    lines = [*struct.split("\n"), f"int32_t {', '.join(names)};"]
    for axis, index in enumerate(names):
        loop = f"for ({index} = 0; {index} < {block.sizes[axis]}; {index}++) {{"
        lines.append("    " * axis + loop)
    steps = [
        " + ".join(f"{i} * ({s})" for i, s in zip(names, strides, strict=False))
        for strides in (block.strides, block.to_strides)
    ]
    call = f"{name}({source} + {steps[0]}, &block{place},"
    lines += ["    " * more + call, "    " * more + f"    {target} + {steps[1]});"]
    lines += ["    " * axis + "}" for axis in reversed(range(more))]
    return ["{", *_indent(lines), "}"]


def _indent(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]
