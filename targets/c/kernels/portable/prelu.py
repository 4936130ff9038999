"""Parametric ReLU: one rescale for values at and above zero, one for the others times a slope.

``v = x - z; v >= 0 ? positive(v) : negative(v * slope)``. Of int8 tensors each of the two is
``(v*p + r) >> s`` in 32 bits where integers give the exact result for all values that occur.

Source of the formula: TensorFlow Lite's ``PRELU``.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InternalError
from intaglio.targets.c.kernels.base import Function, Implementation
from intaglio.targets.c.kernels.portable.affine import Affine, affine
from intaglio.targets.c.kernels.portable.broadcasting import (
    broadcast_loops,
    centered,
    overwritable,
)
from intaglio.targets.c.kernels.portable.rescaling import CLAMP, rescaling
from intaglio.targets.c.kernels.portable.values import (
    centered_values,
    fits_int32,
    real_scale,
    rescaled,
)
from intaglio.targets.c.literals import c_type, number
from intaglio.targets.c.network import PRelu, Rescale


def apply_prelu(layer: PRelu, variant: str, budget: int) -> Implementation:
    """Code of a PRelu.

    Args:
        layer: The layer.
        variant: Not needed.
        budget: Not needed.

    Raises:
        InternalError: A product would not fit 32 bits.
    """
    del variant, budget
    data, slopes = layer.inputs
    ends = [centered_values(tensor)[[0, -1]] for tensor in (data, slopes)]
    if not fits_int32(*(a * b for a in ends[0] for b in ends[1])):
        raise InternalError(f"the products of '{layer.name}' do not fit 32 bits")
    above, below = affine_sides(layer)
    positive, functions = _side(layer.positive, above, "v")
    negative, more = _side(layer.negative, below, "v * slope")
    kind = c_type(layer.output.dtype)
    call = broadcast_loops(
        layer,
        [
            lambda index: [f"const int32_t v = {centered(f'x0[{index}]', data.zero_point)};"],
            lambda index: [f"const int32_t slope = x1[{index}];"],
        ],
        lambda index: (
            f"if (v >= 0) {{\n    y[{index}] = ({kind})({positive});\n}} else {{\n"
            f"    y[{index}] = ({kind})({negative});\n}}"
        ),
    )
    return Implementation(call, (*functions, *more), in_place=overwritable(layer))


@functools.lru_cache(maxsize=128)
def affine_sides(layer: PRelu) -> tuple[Affine | None, Affine | None]:
    """Both rescales in integers of 32 bits, each None if there are none.

    ``clip((v*factors[0] + offset) >> places, minimum, maximum)``, the second with ``v * slope``.

    Args:
        layer: The layer; one with other than int8 tensors has none.
    """
    data, slopes = layer.inputs
    if {data.dtype, slopes.dtype, layer.output.dtype} != {"int8"}:
        return None, None
    values = centered_values(data)
    known = np.arange(-128, 128) if slopes.data is None else np.asarray(slopes.data, np.int64)
    products = np.unique(np.multiply.outer(values[values < 0], np.unique(known)))
    return _fitted(layer.positive, values[values >= 0]), _fitted(layer.negative, products)


def _fitted(rescale: Rescale, accumulators: NDArray[np.int64]) -> Affine | None:
    if not accumulators.size:
        return None
    results = rescaled(rescale, accumulators)
    scale = real_scale(rescale)
    return affine([accumulators], results, [scale], rescale.minimum, rescale.maximum)


def _side(rescale: Rescale, found: Affine | None, value: str) -> tuple[str, tuple[Function, ...]]:
    """Result of one side as C text, and what it calls."""
    if found is None:
        code = rescaling(rescale)
        return code.apply(value), code.functions
    low, high = number(rescale.minimum), number(rescale.maximum)
    return f"clamp({found.expression(value)}, {low}, {high})", (CLAMP,)
