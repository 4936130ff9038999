"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR; what their rules do not give is a GATHER."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.nearest_resize import nearest_places as places_of
from intaglio.targets.nearest_resize import require_same_ends
from intaglio.targets.tflite.emitters.moves import gather
from intaglio.targets.tflite.emitters.multipliers import expect_equal
from intaglio.targets.tflite.emitters.options import options
from intaglio.targets.tflite.emitters.scope import Emitter, Scope
from intaglio.targets.tflite.emitters.transposes import reshape
from intaglio.transforms.resize import linear_neighbors, nearest_places

#: Coordinate modes of the kernels: the two flags, and what positions they mean in ONNX.
_MODES = {
    (False, False): "asymmetric",
    (False, True): "half_pixel",
    (True, False): "align_corners",
}
_AXES = (1, 2)


def _linear(scope: Scope, node: ir.Node) -> None:
    source, value = scope.outside(node.inputs[0]), scope.behind(node.outputs[0])
    meaning = scope.quantization(value)
    expect_equal(scope.quantization(source), meaning)
    before, after = scope.shape(source)[1:3], scope.shape(value)[1:3]
    taps = [scope.numbers(v) for v in node.inputs[1:7]]
    flags = next((f for f, mode in _MODES.items() if _same_taps(before, after, mode, taps)), None)
    if flags is None:
        raise RefusedError(
            "its sampling positions are not those of a TFLite kernel",
            "use half_pixel, asymmetric or align_corners coordinates",
        )
    version = 4 if meaning.dtype == "int16" else 3 if flags[1] else 2
    chosen = options("ResizeBilinearOptions", alignCorners=flags[0], halfPixelCenters=flags[1])
    inputs = [scope.index(source), scope.parameter("size", after)]
    scope.operator("RESIZE_BILINEAR", inputs, [scope.result(value)], chosen, version)


def _same_taps(
    before: tuple[int, ...], after: tuple[int, ...], mode: str, taps: list[NDArray[np.int64]]
) -> bool:
    for axis in (0, 1):
        wanted = linear_neighbors(before[axis], after[axis], mode)
        lower, upper, weight = taps[3 * axis : 3 * axis + 3]
        pairs = ((wanted.lower, lower), (wanted.upper, upper), (wanted.weight, weight))
        if not all(np.array_equal(first, second) for first, second in pairs):
            return False
    return True


def _nearest(scope: Scope, node: ir.Node) -> None:
    source, value = scope.outside(node.inputs[0]), scope.behind(node.outputs[0])
    meaning = scope.quantization(value)
    expect_equal(scope.quantization(source), meaning)
    before, after = scope.shape(source), scope.shape(value)
    require_same_ends(before, after)
    places = [places_of(node, before[a], after[a]) for a in _AXES]
    for flags, mode in _MODES.items():
        kernel = [nearest_places(before[a], after[a], mode) for a in _AXES]
        if all(np.array_equal(a, b) for a, b in zip(kernel, places, strict=True)):
            version = 4 if meaning.dtype == "int16" else 3 if any(flags) else 2
            chosen = options(
                "ResizeNearestNeighborOptions", alignCorners=flags[0], halfPixelCenters=flags[1]
            )
            inputs = [scope.index(source), scope.parameter("size", after[1:3])]
            result = [scope.result(value)]
            scope.operator("RESIZE_NEAREST_NEIGHBOR", inputs, result, chosen, version)
            return
    _gathered(scope, source, value, places)


def _gathered(
    scope: Scope, source: ir.Value, value: ir.Value, places: list[NDArray[np.int64]]
) -> None:
    meaning, shape = scope.quantization(value), list(scope.shape(source))
    data = scope.index(source)
    changing = [(axis, p) for axis, p in zip(_AXES, places, strict=True) if len(p) != shape[axis]]
    if not changing:
        reshape(scope, data, scope.result(value), scope.shape(value))
    for axis, positions in changing:
        shape[axis] = len(positions)
        last = axis == changing[-1][0]
        name = f"{value.name}_rows"
        target = (
            scope.result(value) if last else scope.intermediate(name, shape, meaning, meaning.dtype)
        )
        gather(scope, data, positions, axis, target, meaning.dtype)
        data = target


EMITTERS: dict[str, Emitter] = {"ResizeLinearInteger": _linear, "Resize": _nearest}
