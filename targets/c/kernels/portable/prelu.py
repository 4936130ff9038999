"""Parametric ReLU: one rescale for values at and above zero, one for the others times a slope.

``v = x - z; v >= 0 ? positive(v) : negative(v * slope)``. Of int8 tensors each of the two is
``(v*p + r) >> s`` in 32 bits where integers give the exact result for all values that occur. For
the second one they are the same for all products ``v * slope``, or each slope has its own.

Source of the formula: TensorFlow Lite's ``PRELU``.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InternalError
from intaglio.targets.c.kernels.base import Array, Function, Implementation
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

#: Shifts that are tried for slopes that each have integers of their own: with more, 8 bits of
#: values and slopes below 1 leave int32; with fewer, the integers are too coarse.
_MOST_PLACES, _FEWEST_PLACES = 24, 16


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
    each = affine_slopes(layer) if below is None else None
    positive, functions = _side(layer.positive, above, "v")
    negative, more = _side(layer.negative, below, "v * slope")
    names = {"slope": "x1"}
    arrays: tuple[Array, ...] = ()
    if each is not None:
        low, high = number(layer.negative.minimum), number(layer.negative.maximum)
        negative, more = f"clamp((v * slope + offset) >> {each.places}, {low}, {high})", (CLAMP,)
        names = {"slope": "@slopes@", "offset": "@offsets@"}
        arrays = (Array("slopes", each.factors), Array("offsets", each.offsets))
    kind = c_type(layer.output.dtype)
    call = broadcast_loops(
        layer,
        [
            lambda index: [f"const int32_t v = {centered(f'x0[{index}]', data.zero_point)};"],
            lambda index: [f"const int32_t {n} = {array}[{index}];" for n, array in names.items()],
        ],
        lambda index: (
            f"if (v >= 0) {{\n    y[{index}] = ({kind})({positive});\n}} else {{\n"
            f"    y[{index}] = ({kind})({negative});\n}}"
        ),
    )
    return Implementation(call, (*functions, *more), arrays, in_place=overwritable(layer))


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


@dataclasses.dataclass(frozen=True, eq=False)
class AffineSlopes:
    """``clip((v*factors + offsets) >> places, minimum, maximum)``, a number for each slope.

    Attributes:
        factors: int32, in the order of the slopes.
        offsets: int32 likewise.
        places: One for all.
    """

    factors: NDArray[np.int32]
    offsets: NDArray[np.int32]
    places: int


@functools.lru_cache(maxsize=128)
def affine_slopes(layer: PRelu) -> AffineSlopes | None:
    """The second rescale in integers of 32 bits, a pair for each slope; None if there are none.

    Args:
        layer: The layer; one with other than int8 tensors or unknown slopes has none.
    """
    data, slopes = layer.inputs
    if {data.dtype, slopes.dtype, layer.output.dtype} != {"int8"} or slopes.data is None:
        return None
    values = centered_values(data)
    values = values[values < 0]
    if not values.size:
        return None
    known, where = np.unique(np.asarray(slopes.data, np.int64), return_inverse=True)
    # The steepest one has the least room, so the first that is not found comes soon.
    steepest = np.argsort(-np.abs(known), kind="stable")
    scale, limits = real_scale(layer.negative), (layer.negative.minimum, layer.negative.maximum)
    for places in range(_MOST_PLACES, _FEWEST_PLACES - 1, -1):
        found: dict[int, Affine] = {}
        for place in steepest:
            results = rescaled(layer.negative, values * known[place])
            fit = affine([values], results, [scale * int(known[place])], *limits, places)
            if fit is None:
                break
            found[int(place)] = fit
        if len(found) == known.size:
            factors = np.array([found[place].factors[0] for place in range(known.size)], np.int32)
            offsets = np.array([found[place].offset for place in range(known.size)], np.int32)
            order = where.reshape(-1)
            return AffineSlopes(factors[order], offsets[order], places)
    return None


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
