"""Slices of an axis taken by index: Gather, nearest resizing, Tile."""

from __future__ import annotations

from string import Template

import numpy as np

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.network import Take

_TAKE = Template("""\
/* y[o, i, :] = x[o, indices[i], :]; x is [outer, length, inner]. */
static void ${name}(const ${x} *x, const ${index} *indices, int32_t outer, int32_t length,
    int32_t count, int32_t inner, ${x} *y)
{
    int32_t o, i;
    for (o = 0; o < outer; o++) {
        for (i = 0; i < count; i++) {
${copy}
        }
        x += length * inner;
    }
}""")

_COPY = """\
            memcpy(y, x + (int32_t)indices[i] * inner, (size_t)inner * sizeof *y);
            y += inner;"""

_COPY_ONE = """\
            *y++ = x[indices[i]];"""


def take(layer: Take, variant: str, budget: int) -> Implementation | None:
    """Code of a layer that takes slices by index."""
    x = c_type(layer.inputs[0].dtype)
    kept = np.uint16 if layer.length <= 1 << 16 else np.int32
    index = c_type(np.dtype(kept).name)
    single = layer.inner == 1
    name = f"take_{'single_' if single else ''}{layer.inputs[0].dtype}_by_{np.dtype(kept).name}"
    text = _TAKE.substitute(name=name, x=x, index=index, copy=_COPY_ONE if single else _COPY)
    if single:
        text = text.replace("x += length * inner;", "x += length;").replace(
            "int32_t count, int32_t inner, ", "int32_t count, "
        )
    sizes = [layer.outer, layer.length, layer.indices.size] + ([] if single else [layer.inner])
    return Implementation(
        call=f"{name}(x0, @indices@, {', '.join(map(str, sizes))}, y);",
        functions=(Function(name, text),),
        arrays=(Array("indices", layer.indices.astype(kept)),),
    )
