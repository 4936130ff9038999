"""Sums over channels and windows of what a scalar region computes: where a table layer ends.

A convolution with integer weights is such a sum; so is ReduceSum over one of the two axes that a
Reshape has made of the channels. Both are a matrix of integers for each tap.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.canonicalize.editing import (
    constant,
    dims,
    integer,
    ints,
    is_standard,
    operand,
    text,
    used_once,
)
from intaglio.passes.tables.find_scalar_regions import channels


@dataclasses.dataclass(frozen=True, eq=False)
class ChannelSum:
    """A linear map of integers behind a region.

    Attributes:
        source: the region's output, [N, J, ...].
        result: the sum, [N, O, ...].
        weights: int64 [taps, O, J].
        bias: int64 [O].
        kernel: size of the window.
        strides: distance of neighboring windows.
        dilations: distance of the taps of a window.
        nodes: what the sum is made of, in graph order.
        products: multiplications at one position.
        shape_source: the shape operand of a Reshape whose result may have another image shape than
            the source, else None; its entry 1 counts the summed blocks, or the sums.
        summed_axis: the axis of that shape that is summed.
    """

    source: ir.Value
    result: ir.Value
    weights: NDArray[np.int64]
    bias: NDArray[np.int64]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    nodes: tuple[ir.Node, ...]
    products: int = 0
    shape_source: ir.Value | None = None
    summed_axis: int = 0


def no_sum(value: ir.Value) -> ChannelSum | None:
    """A region's output as it is: each result by itself."""
    count, shape = channels(value), value.shape
    if count is None or shape is None:
        return None
    ones = (1,) * (len(shape) - 2)
    return ChannelSum(
        value, value, np.eye(count, dtype=np.int64)[None], np.zeros(count, np.int64), ones, ones,
        ones, (),
    )  # fmt: skip


def find_sum(node: ir.Node) -> ChannelSum | None:
    """The sum that ``node`` ends, or None."""
    if is_standard(node, "Conv"):
        return _convolution(node)
    if is_standard(node, "ReduceSum"):
        return _reduction(node)
    return None


def _convolution(node: ir.Node) -> ChannelSum | None:
    source, weight, bias = node.inputs[0], constant(operand(node, 1)), constant(operand(node, 2))
    if source is None or weight is None or (bias is None and operand(node, 2) is not None):
        return None
    # Padding adds zeros to the sum, which no value of the root may stand for.
    if any(ints(node, "pads", []) or []) or text(node, "auto_pad", "NOTSET") not in _UNPADDED:
        return None
    if (weight != np.round(weight)).any() or (bias is not None and (bias != np.round(bias)).any()):
        return None
    outputs, within = weight.shape[:2]
    group = integer(node, "group", 1)
    if channels(source) != within * group:
        return None
    kernel = tuple(weight.shape[2:])
    matrix = np.zeros((int(np.prod(kernel)), outputs, within * group), np.int64)
    taps = np.moveaxis(weight.astype(np.int64).reshape(outputs, within, -1), 2, 0)
    for output in range(outputs):
        start = output // (outputs // group) * within
        matrix[:, output, start : start + within] = taps[:, output]
    ones = [1] * len(kernel)
    return ChannelSum(
        source,
        node.outputs[0],
        matrix,
        np.zeros(outputs, np.int64) if bias is None else bias.astype(np.int64),
        kernel,
        tuple(ints(node, "strides", ones) or ones),
        tuple(ints(node, "dilations", ones) or ones),
        (node,),
        weight.size,
    )


_UNPADDED = ("NOTSET", "VALID")


def _reduction(node: ir.Node) -> ChannelSum | None:
    """ReduceSum over axis 1 or 2 of channels reshaped to two axes."""
    axes, shaped = constant(operand(node, 1)), node.inputs[0]
    reshape = None if shaped is None else shaped.producer()
    if axes is None or axes.size != 1 or integer(node, "keepdims", 1) or shaped is None:
        return None
    if reshape is None or not is_standard(reshape, "Reshape") or not used_once(shaped):
        return None
    source, sizes, axis = reshape.inputs[0], dims(shaped), int(axes.reshape(()))
    before, count = dims(source), channels(source)
    if source is None or sizes is None or before is None or len(sizes) != len(before) + 1:
        return None
    blocks, within = sizes[1], sizes[2]
    if axis not in (1, 2) or not isinstance(blocks, int) or not isinstance(within, int):
        return None
    if blocks * within != count or sizes[0] is None or sizes[0] != before[0]:
        return None
    place = np.arange(count).reshape(blocks, within)
    outputs = within if axis == 1 else blocks
    matrix = np.zeros((1, outputs, blocks * within), np.int64)
    summed = place.T if axis == 1 else place
    matrix[0, np.arange(outputs)[:, None], summed] = 1
    same = None not in sizes[3:] and sizes[3:] == before[2:]
    shape_source = None if same else reshape.inputs[1]
    if shape_source is not None and _copies(shape_source):
        return None
    ones = (1,) * (len(before) - 2)
    return ChannelSum(
        source,
        node.outputs[0],
        matrix,
        np.zeros(outputs, np.int64),
        ones,
        ones,
        ones,
        (reshape, node),
        0,
        shape_source,
        axis,
    )


def _copies(shape: ir.Value | None) -> bool:
    """Whether a shape may have zeros behind the batch, which mean sizes by their place."""
    parts, maker = [shape], None if shape is None else shape.producer()
    if maker is not None and is_standard(maker, "Concat"):
        parts = list(maker.inputs)
    elif constant(shape) is None:
        return True
    place = 0
    for part in parts:
        array = constant(part)
        if array is None:
            # A computed size: its number of entries is known, or nothing behind it is.
            length = None if part is None or part.shape is None else part.shape[0]
            if not isinstance(length, int):
                return True
            place += length
            continue
        if (array.reshape(-1)[1 if place == 0 else 0 :] == 0).any():
            return True
        place += array.size
    return False
