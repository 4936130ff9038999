"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR.

The nearest element of output ``x`` is, in float32, ``s = in / out``:

* by default ``floor(x * s)``: ONNX's ``asymmetric`` with ``floor``;
* with half_pixel_centers ``floor((x + 0.5) * s)``: ``half_pixel`` with ``round_prefer_ceil``;
* with align_corners ``round(x * (in - 1) / (out - 1))``, half up: ``align_corners`` with the same.

ONNX runtimes divide by ``out / in`` instead, and where a position falls on the border between two
elements the last bit decides. Where that can happen, the Resize is written as two Gathers. Source
of the formulas: ``GetNearestNeighbor`` of TensorFlow Lite's reference kernels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from intaglio.targets.tflite.operators.arguments import Size, integers, moving, vector
from intaglio.targets.tflite.scope import Operator, Reader, Scope
from intaglio.transforms.resize import nearest_places

# With sizes of a smaller product no rounding of float32 reaches the next border.
_SAFE_PRODUCT = 1 << 19
# An axis this long is no picture.
_LONGEST = 1 << 20


def read_resize(scope: Scope, operator: Operator) -> None:
    """Both resizes, of H and W in NHWC."""
    value = moving(scope, operator, operator.inputs[0])
    dims = scope.shape(value)
    size = integers(scope, operator, 1, "sizes")
    if len(dims) != 4 or len(size) != 2 or min(size) < 1 or 0 in dims:
        raise scope.damaged(f"makes {size} of {list(dims)}")
    if max(size) >= _LONGEST or any(isinstance(d, int) and d >= _LONGEST for d in dims[1:3]):
        scope.refuse(operator, f"it makes {size} of {list(dims)}", "resize in parts")
    mode = coordinate_mode(scope, operator)
    if operator.name == "RESIZE_BILINEAR":
        result = _resized(scope, value, dims, size, {"mode": "linear"}, mode)
        scope.give(operator.outputs[0], result)
        return
    known = [d for d in dims[1:3] if isinstance(d, int)]
    if len(known) < 2 or all(map(onnx_agrees, known, size, [mode, mode])):
        rounding = "floor" if mode == "asymmetric" else "round_prefer_ceil"
        attributes = {"mode": "nearest", "nearest_mode": rounding}
        scope.give(operator.outputs[0], _resized(scope, value, dims, size, attributes, mode))
        return
    rows, columns = (nearest_places(d, new, mode) for d, new in zip(known, size, strict=True))
    found = scope.node("Gather", [value, rows], {"axis": 1})
    found = scope.node("Gather", [found, columns], {"axis": 2})
    scope.give(operator.outputs[0], found)


def coordinate_mode(scope: Scope, operator: Operator) -> str:
    """ONNX's name of how a resize maps coordinates.

    Raises:
        InputError: It is said in two ways; the runtimes take no such file either.
    """
    if operator.options.alignCorners and operator.options.halfPixelCenters:
        raise scope.damaged("has both align_corners and half_pixel_centers")
    if operator.options.alignCorners:
        return "align_corners"
    return "half_pixel" if operator.options.halfPixelCenters else "asymmetric"


def onnx_agrees(size: int, new: int, mode: str) -> bool:
    """Whether ONNX's Resize surely finds the places of :func:`nearest_places`.

    Runtimes compute positions in float32, each in its own order. They agree where no position falls
    on the border between two elements, or where ``new / size`` is a float32 number: dividing by it
    is then exact on borders. ``align_corners`` divides whole numbers, which is exact there, too.

    Args:
        size: Elements of the axis.
        new: Elements after resizing.
        mode: As for :func:`nearest_places`.
    """
    x = np.arange(new, dtype=np.int64)
    if mode == "align_corners" and new > 1:
        numerator, denominator = 2 * x * (size - 1) + new - 1, 2 * (new - 1)
    elif mode == "half_pixel":
        numerator, denominator = (2 * x + 1) * size, 2 * new
    else:
        numerator, denominator = x * (size if mode == "asymmetric" else 0), new
    places = np.minimum(numerator // denominator, size - 1)
    if not np.array_equal(places, nearest_places(size, new, mode)):
        return False
    if mode == "align_corners":
        return True
    ratio = float(np.float32(new) / np.float32(size))
    if Fraction(ratio) == Fraction(new, size):
        return True
    on_border = (numerator % denominator == 0) & (numerator > 0)
    return not on_border.any() and size * new < _SAFE_PRODUCT


def _resized(
    scope: Scope,
    value: ir.Value,
    dims: Sequence[Size],
    size: Sequence[int],
    attributes: Mapping[str, str],
    mode: str,
) -> ir.Value:
    stated: dict[str, object] = {**attributes, "coordinate_transformation_mode": mode}
    batch, channels = dims[0], dims[3]
    if isinstance(batch, int) and isinstance(channels, int):
        sizes = vector([batch, channels, *size])
    else:
        sizes, stated["axes"] = vector(size), [2, 3]
    first = scope.channels_first(value)
    return scope.channels_last(scope.node("Resize", [first, None, None, sizes], stated))


READERS: Mapping[str, Reader] = MappingProxyType(
    {"RESIZE_BILINEAR": read_resize, "RESIZE_NEAREST_NEIGHBOR": read_resize}
)
