"""The gradient of Resize.

Along each axis Resize is a matrix: row i of ``M`` says what element i of the input gives to each
element of the result. It is found by resizing the identity, which holds for every mode. The
gradient is the upstream times the transposed matrix, axis by axis. Where the sizes are known only
at run time, repeating each element f times is handled: its gradient is the sum over blocks.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.canonicalize.editing import constant, integer, ints, number, operand, text
from intaglio.passes.differentiate.builder import dimensions
from intaglio.passes.differentiate.context import Context
from intaglio.passes.differentiate.refusing import Undifferentiable
from intaglio.passes.rewriting import evaluate

Found = list[ir.Value | None]

#: Modes in which an integer factor f repeats every element f times.
_REPEATING = (
    ("half_pixel", "round_prefer_floor"),
    ("half_pixel", "round_prefer_ceil"),
    ("asymmetric", "floor"),
)


def resize(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """By matrices, or by sums over blocks."""
    _refuse_unusual(node)
    factors = _repeats(node)
    if factors is not None:
        return [_sum_blocks(context, node, upstream, factors)]
    found = upstream
    rank = len(dimensions(node.outputs[0]))
    for axis in _axes(node):
        matrix = _matrix(node, axis)
        if not np.array_equal(matrix, np.eye(len(matrix))):
            found = _along(context, found, matrix, axis, rank)
    return [found]


def _refuse_unusual(node: ir.Node) -> None:
    if text(node, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        raise Undifferentiable("it crops (tf_crop_and_resize)", "cut with Slice, then resize")
    if text(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Undifferentiable("its size follows from an aspect ratio", "write the sizes out")


def _axes(node: ir.Node) -> list[int]:
    rank = len(dimensions(node.outputs[0]))
    return [axis % rank for axis in ints(node, "axes", list(range(rank))) or []]


def _numbers(node: ir.Node, index: int) -> NDArray[np.float64] | None:
    """Scales (input 2) or sizes (input 3) for each of the axes."""
    array = constant(operand(node, index))
    return None if array is None or array.size == 0 else array.astype(np.float64)


def _repeats(node: ir.Node) -> list[int] | None:
    """The factor of every axis behind the first two, where Resize repeats elements."""
    mode = (
        text(node, "coordinate_transformation_mode", "half_pixel"),
        text(node, "nearest_mode", "round_prefer_floor"),
    )
    if text(node, "mode", "nearest") != "nearest" or mode not in _REPEATING:
        return None
    data = node.inputs[0]
    assert data is not None  # ONNX asks for it
    before, after = dimensions(data), dimensions(node.outputs[0])
    scales = _numbers(node, 2)
    factors = [1.0] * len(before)
    for place, axis in enumerate(_axes(node)):
        size, target = before[axis], after[axis]
        if scales is not None:
            factors[axis] = float(scales[place])
        elif isinstance(size, int) and isinstance(target, int):
            factors[axis] = target / size
        else:
            return None
    whole = all(factor >= 1 and factor == int(factor) for factor in factors)
    if not whole or factors[:2] != [1.0, 1.0] or len(factors) < 3:
        return None
    return [int(factor) for factor in factors[2:]]


def _sum_blocks(
    context: Context, node: ir.Node, upstream: ir.Value, factors: list[int]
) -> ir.Value:
    mean = context.op("AveragePool", upstream, kernel_shape=factors, strides=factors)
    return context.op("Mul", mean, context.number(float(np.prod(factors))))


def _matrix(node: ir.Node, axis: int) -> NDArray[np.float64]:
    """``[input size, result size]`` along ``axis``."""
    data = node.inputs[0]
    assert data is not None  # ONNX asks for it
    size, target = dimensions(data)[axis], dimensions(node.outputs[0])[axis]
    if size == target and isinstance(size, str):
        return np.eye(1)  # an axis that stays as it is
    scales = _numbers(node, 2)
    place = _axes(node).index(axis)
    if scales is not None and scales[place] == 1.0:
        return np.eye(1)
    if not isinstance(size, int) or not isinstance(target, int):
        raise Undifferentiable(
            "its sizes are known only at run time", "give the model a fixed input shape"
        )
    if size == target and scales is None:
        return np.eye(1)
    return _resized_identity(node, size, target, None if scales is None else scales[place])


def _resized_identity(
    node: ir.Node, size: int, target: int, scale: float | None
) -> NDArray[np.float64]:
    names = ("mode", "coordinate_transformation_mode", "nearest_mode")
    attributes = [
        ir.AttrString(key, text(node, key, "")) for key in names if key in node.attributes
    ]
    if "cubic_coeff_a" in node.attributes:
        attributes.append(ir.AttrFloat32("cubic_coeff_a", number(node, "cubic_coeff_a", -0.75)))
    for key in ("exclude_outside", "antialias"):
        attributes.append(ir.AttrInt64(key, integer(node, key, 0)))
    names_in = ("x", "", "scales" if scale is not None else "", "sizes" if scale is None else "")
    values = [ir.Value(name=name) if name else None for name in names_in]
    single = ir.Node("", "Resize", values, attributes, num_outputs=1, name="identity")
    single.outputs[0].name = "y"
    scales = None if scale is None else np.array([1, scale], np.float32)
    sizes = np.array([size, target], np.int64) if scale is None else None
    try:
        found = evaluate(single, [np.eye(size), None, scales, sizes])[0]
    except ValueError as error:
        raise Undifferentiable(f"its mode is not supported ({error})") from error
    return np.asarray(found, np.float64)


def _along(
    context: Context, value: ir.Value, matrix: NDArray[np.float64], axis: int, rank: int
) -> ir.Value:
    """``value`` times the transposed matrix along ``axis``."""
    if axis == rank - 1:
        return context.op("MatMul", value, context.floats(matrix.T))
    if axis == rank - 2:
        return context.op("MatMul", context.floats(matrix), value)
    perm = list(range(rank))
    perm[axis], perm[-1] = perm[-1], perm[axis]
    last = context.op("Transpose", value, perm=perm)
    product = context.op("MatMul", last, context.floats(matrix.T))
    return context.op("Transpose", product, perm=perm)
