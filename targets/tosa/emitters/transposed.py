"""TRANSPOSE_CONV2D: groups and dilations become one kernel with zeros in it.

TOSA's operator has neither. A kernel with zeros between its taps is a dilated one, and one with
zeros between the channels of different groups is a grouped one: the sums are the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.errors import InternalError
from intaglio.targets.tflite.emitters.attributes import integers
from intaglio.targets.tflite.emitters.convolutions import Accumulator
from intaglio.targets.tosa.emitters.common import INT32, cut, finish, stage_of
from intaglio.targets.tosa.emitters.parameters import (
    bias_of,
    kept_in_range,
    reach_of,
    zero_point_of,
)
from intaglio.targets.tosa.scope import Scope
from intaglio.targets.tosa.writer import Field


def emit_transposed(scope: Scope, rescale: ir.Node, sums: Accumulator) -> None:
    """Appends a TRANSPOSE_CONV2D and its rescale.

    Args:
        scope: The file.
        rescale: The node behind the sums.
        sums: The convolution and its bias.
    """
    node = sums.node
    if node is None:
        raise InternalError("no convolution")
    source, value = scope.outside(node.inputs[0]), rescale.outputs[0]
    shape, result = scope.shape(source), scope.shape(value)
    point, stage = zero_point_of(scope, node, 3), stage_of(scope, rescale)
    kernel = whole_kernel(
        scope.numbers(node.inputs[1]),
        node.attributes.get_int("group", 1),
        integers(node, "dilations", [1, 1]),
        point,
    )
    strides = integers(node, "strides", [1, 1])
    pads = integers(node, "pads", [0, 0, 0, 0])
    # More than a kernel less one place is no padding of TOSA's: it is cut off afterwards.
    padding, start, grown = [], [0, 0, 0, 0], list(result)
    for axis in (0, 1):
        size = kernel.shape[axis + 2]
        full = (shape[axis + 1] - 1) * strides[axis] + size
        before = max(-pads[axis], 1 - size)
        after = max(result[axis + 1] - full + pads[axis], 1 - size)
        start[axis + 1] = before + pads[axis]
        grown[axis + 1] = full + before + after
        padding += [before, after]
    name = f"{value.name}_sums"
    weight = np.ascontiguousarray(kernel.transpose(1, 2, 3, 0))
    centered = weight.reshape(result[3], -1).astype(np.int64) - point
    bias = kept_in_range(bias_of(sums, result[3]), centered, stage)
    inputs = [
        scope.name(source),
        scope.constant(f"{name}_kernel", weight, "int8"),
        scope.constant(f"{name}_bias", bias),
        scope.constant("input_zero_point", [zero_point_of(scope, node, 2)], "int8"),
        scope.constant("weight_zero_point", [point], "int8"),
    ]
    fields = [Field(0, "ints", padding), Field(1, "ints", strides), Field(3, "enum", INT32)]
    made = scope.intermediate(name, grown, "int32")
    scope.operator("TRANSPOSE_CONV2D", inputs, made, fields)
    if tuple(grown) != result:
        made = cut(scope, made, start, result, scope.intermediate(f"{name}_cut", result, "int32"))
    finish(scope, made, value, stage, reach=reach_of(bias, centered))


def whole_kernel(
    weight: NDArray[Any], group: int, dilations: list[int], zero: int
) -> NDArray[np.int8]:
    """The kernel of one group without dilations that has the same sums.

    Args:
        weight: ``[in, out of a group, h, w]``.
        group: Number of groups.
        dilations: Distances of its taps.
        zero: The integer that stands for zero.

    Returns:
        ``[in, out, h', w']``.
    """
    taken, made, *taps = weight.shape
    sides = [(size - 1) * step + 1 for size, step in zip(taps, dilations, strict=True)]
    kernel = np.full((taken, made * group, *sides), zero, np.int8)
    depth = taken // group
    for index in range(group):
        rows = slice(index * depth, (index + 1) * depth)
        columns = slice(index * made, (index + 1) * made)
        kernel[rows, columns, :: dilations[0], :: dilations[1]] = weight[rows]
    return kernel
