"""Bilinear resizing with 10-bit weights (``passes/dialect/resize.py``).

``s = sum over four neighbors of value * weight_y * weight_x``, rounded by 20 bits, half away from
zero. Powers of two that all weights of an axis share are left out: the sum is smaller by exactly
that factor. Doubling a size with half-pixel centers, say, has weights of 1/4 and 3/4 only.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InternalError
from intaglio.targets.c.kernels.base import Array, Implementation
from intaglio.targets.c.kernels.portable.broadcasting import flat_loop, nothing
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.network import ResizeLinear

_UNIT = 1024

_ROW = """\
const {kind} *upper = x0 + @upper@[row];
const {kind} *lower = x0 + @lower@[row];
const int32_t down = @down@[row];
const int32_t up = {row_unit} - down;
{columns}"""

_COLUMN = """\
const int32_t left = @left@[column];
const int32_t right = @right@[column];
const int32_t across = @across@[column];
const int32_t back = {column_unit} - across;
const int32_t upper_left = up * back;
const int32_t upper_right = up * across;
const int32_t lower_left = down * back;
const int32_t lower_right = down * across;
{channels}
to += {count};"""

_CHANNEL = """\
const {wide} sum = {cast}upper[left + c] * upper_left + {cast}upper[right + c] * upper_right
    + {cast}lower[left + c] * lower_left + {cast}lower[right + c] * lower_right;
to[c] = ({kind})({result});"""


def resize_linearly(layer: ResizeLinear, variant: str, budget: int) -> Implementation:
    """Code of a bilinear resizing.

    Args:
        layer: The layer.
        variant: Not needed.
        budget: Not needed.

    Raises:
        InternalError: A neighbor lies outside the image.
    """
    del variant, budget
    if not layer.output.size:
        return Implementation(nothing(layer))
    _, height, width, channels = layer.inputs[0].shape
    rows = _axis(layer, ("y0", "y1", "wy"), height, width * channels)
    columns = _axis(layer, ("x0", "x1", "wx"), width, channels)
    kind = c_type(layer.output.dtype)
    places = (rows.unit * columns.unit).bit_length() - 1
    narrow = rows.unit * columns.unit << (8 * layer.output.itemsize - 1) <= 1 << 30
    channel = _CHANNEL.format(
        kind=kind,
        wide="int32_t" if narrow else "int64_t",
        cast="" if narrow else "(int64_t)",
        # floor((s + half - (s < 0 ? 1 : 0)) / unit) rounds half away from zero.
        result=f"(sum + {1 << places >> 1} - (sum < 0)) >> {places}" if places else "sum",
    )
    column = _COLUMN.format(
        column_unit=columns.unit, channels=flat_loop(channels, channel, "c"), count=channels
    )
    row = _ROW.format(
        kind=kind,
        row_unit=rows.unit,
        columns=flat_loop(layer.output.shape[2], column, "column"),
    )
    loops = flat_loop(layer.output.shape[1], row, "row")
    return Implementation(
        f"{kind} *to = y;\n{loops}",
        arrays=(
            Array("upper", rows.first),
            Array("lower", rows.second),
            Array("down", rows.weight),
            Array("left", columns.first),
            Array("right", columns.second),
            Array("across", columns.weight),
        ),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Axis:
    """Where the elements along one axis come from.

    Attributes:
        first: Element of the input at which the first neighbor begins.
        second: The same for the second neighbor.
        weight: Weight of the second neighbor.
        unit: The weight 1.
    """

    first: NDArray[np.generic]
    second: NDArray[np.generic]
    weight: NDArray[np.int16]
    unit: int


def _axis(layer: ResizeLinear, names: tuple[str, str, str], size: int, step: int) -> _Axis:
    first, second, weight = (
        np.asarray(layer.constants[name], np.int64).reshape(-1) for name in names
    )
    if min(first.min(), second.min()) < 0 or max(first.max(), second.max()) >= size:
        raise InternalError(f"'{layer.name}' reads outside its image")
    common = math.gcd(_UNIT, *weight.tolist())
    return _Axis(
        _offsets(first * step),
        _offsets(second * step),
        (weight // common).astype(np.int16),
        _UNIT // common,
    )


def _offsets(places: NDArray[np.int64]) -> NDArray[np.generic]:
    """Offsets in the narrowest type that holds them."""
    return places.astype(np.uint16 if places.max() < 1 << 16 else np.int32)
