"""Matrix products of two activations."""

from __future__ import annotations

from string import Template

import numpy as np

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.portable.constants import largest_magnitude
from intaglio.targets.c.kernels.portable.stage import output_stage
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.network import Product

_PRODUCT = Template("""\
/* y[m, n] = sum over k of (a[m, k] - a_zero_point) * (b[k, n] - b_zero_point), scaled; m rows and n
   columns. Up to 32 columns at a time, which lie side by side in b. */
static void ${name}(const ${a} *a, const ${b} *b, int32_t rows, int32_t depth, int32_t columns,
    int32_t a_zero_point, int32_t b_zero_point, const struct ${stage} *stage, ${y} *y)
{
    int32_t row, first, i, k;
    for (row = 0; row < rows; row++) {
        for (first = 0; first < columns; first += 32) {
            const int32_t count = columns - first < 32 ? columns - first : 32;
            const ${b} *line = b + first;
            ${sum} acc[32];
            for (i = 0; i < count; i++) {
                acc[i] = 0;
            }
            for (k = 0; k < depth; k++) {
                const int32_t value = a[k] - a_zero_point;
                for (i = 0; i < count; i++) {
                    acc[i] += ${wide}value * (line[i] - b_zero_point);
                }
                line += columns;
            }
            ${finish}(acc, count, stage, 0, y + first);
        }
        a += depth;
        y += columns;
    }
}""")


def multiply_matrices(layer: Product, variant: str, budget: int) -> Implementation | None:
    """Code of a matrix product: a call for each pair of matrices, in a loop."""
    first, second = layer.inputs
    rows, depth, columns = layer.sizes
    a, b, y = (c_type(tensor.dtype) for tensor in (first, second, layer.output))
    product = largest_magnitude(first) * largest_magnitude(second)
    wide = product * depth >= 1 << 31
    stage = output_stage(layer.rescale, y, wide=wide)
    parts = ["product", *(kind.removesuffix("_t") for kind in dict.fromkeys((a, b, y)))]
    parts += ["wide_sum"] if wide else []
    name = "_".join([*parts, stage.name])
    text = _PRODUCT.substitute(
        name=name,
        a=a,
        b=b,
        y=y,
        sum="int64_t" if wide else "int32_t",
        wide="(int64_t)" if product >= 1 << 31 else "",
        stage=stage.struct,
        finish=stage.finish.name,
    )
    places, arrays = _places(layer)
    arguments = f"{rows}, {depth}, {columns}, {first.zero_point}, {second.zero_point}, &stage"
    matrices = [
        _offset("x0", places[0], rows * depth),
        _offset("x1", places[1], depth * columns),
        _offset("y", "i" if len(layer.batches) > 1 else "0", rows * columns),
    ]
    call = f"{name}({matrices[0]}, {matrices[1]}, {arguments}, {matrices[2]});"
    if len(layer.batches) > 1:
        call = f"int32_t i;\nfor (i = 0; i < {len(layer.batches)}; i++) {{\n    {call}\n}}"
    return Implementation(
        call=f"{stage.declaration}\n{call}",
        functions=(Function(name, text, (stage.finish,)),),
        arrays=(*stage.arrays, *arrays),
    )


def _places(layer: Product) -> tuple[list[str], list[Array]]:
    """Index of each operand's matrix for result ``i`` in C, and the tables where it needs them."""
    places, arrays = [], []
    for side, indices in enumerate(zip(*layer.batches, strict=True)):
        if not any(indices):
            places.append("0")
        elif list(indices) == list(range(len(indices))):
            places.append("i")
        else:
            table = f"matrices{side}"
            places.append(f"@{table}@[i]")
            arrays.append(Array(table, np.array(indices, np.int32)))
    return places, arrays


def _offset(base: str, place: str, size: int) -> str:
    return base if place == "0" else f"{base} + {place} * {size}"
