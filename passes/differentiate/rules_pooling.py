"""Gradients of MaxPool and AveragePool over windows.

MaxPool hands each gradient to the element that it took: ONNX's second output says which (the
number of the element in the whole tensor). Windows that overlap add up. AveragePool is a
convolution of every channel by a window of ones, divided by the number of elements that count;
its gradient is the transposed one, channel by channel.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.canonicalize.editing import integer
from intaglio.passes.differentiate.builder import dimensions
from intaglio.passes.differentiate.context import Context
from intaglio.passes.differentiate.correlation import spread
from intaglio.passes.differentiate.refusing import Undifferentiable
from intaglio.passes.differentiate.tracing import scatter
from intaglio.passes.differentiate.windows import Window, read_window, spatial

Found = list[ir.Value | None]


def max_pool(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """Scatters the upstream by the pool's own indices."""
    if integer(node, "storage_order", 0):
        raise Undifferentiable("its indices are column-major (storage_order = 1)")
    data = node.inputs[0]
    assert data is not None  # ONNX asks for it
    return [scatter(context, context.indices_of(node), upstream, data)]


def average_pool(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """Spreads the upstream, divided by the count, over the window."""
    data = node.inputs[0]
    assert data is not None  # ONNX asks for it
    window = read_window(node)
    counted = bool(integer(node, "count_include_pad", 0))
    divided = _divide(context, node, upstream, window, counted)
    window = _reach(node, window)
    axes = range(2, len(dimensions(data)))
    single = context.op(
        "Reshape", divided, context.sizes([-1, 1, *((node.outputs[0], axis) for axis in axes)])
    )
    ones = context.floats(np.ones((1, 1, *window.kernel)))
    return [context.reshape_like(spread(context, single, ones, window, 1, data), data)]


def _reach(node: ir.Node, window: Window) -> Window:
    """With ``ceil_mode`` the last window may reach further than the padding."""
    if not integer(node, "ceil_mode", 0):
        return window
    ends = []
    sizes = zip(spatial(node.inputs[0]), spatial(node.outputs[0]), strict=True)
    for axis, (size, count) in enumerate(sizes):
        if not isinstance(size, int) or not isinstance(count, int):
            raise Undifferentiable(
                "its ceil_mode depends on the size at run time", "give a fixed input shape"
            )
        last = (count - 1) * window.strides[axis] + window.extents[axis]
        ends.append(max(window.ends[axis], last - size - window.begins[axis]))
    return dataclasses.replace(window, ends=tuple(ends))


def _divide(
    context: Context, node: ir.Node, upstream: ir.Value, window: Window, counted: bool
) -> ir.Value:
    """The upstream divided by how many elements each window averages."""
    full = float(np.prod(window.kernel))
    ceil = bool(integer(node, "ceil_mode", 0))
    if not ceil and (counted or not any(window.pads)):
        return context.op("Div", upstream, context.number(full))
    counts: NDArray[np.float64] = np.ones(())
    sizes = list(zip(spatial(node.inputs[0]), spatial(node.outputs[0]), strict=True))
    for axis, (size, count) in enumerate(sizes):
        if not isinstance(size, int) or not isinstance(count, int):
            return _divide_at_run_time(context, node, upstream, window)
        counts = np.multiply.outer(counts, _counts(window, axis, size, count, counted))
    return context.op("Div", upstream, context.floats(counts))


def _counts(window: Window, axis: int, size: int, count: int, counted: bool) -> NDArray[np.float64]:
    """How many elements each window has along one axis; padding counts if ``counted``."""
    steps = np.arange(window.kernel[axis]) * window.dilations[axis]
    starts = np.arange(count) * window.strides[axis] - window.begins[axis]
    places = starts[:, None] + steps
    low = -window.begins[axis] if counted else 0
    high = size + (window.ends[axis] if counted else 0)
    inside = (places >= low) & (places < high)
    return inside.astype(np.float64) @ np.ones(window.kernel[axis])


def _divide_at_run_time(
    context: Context, node: ir.Node, upstream: ir.Value, window: Window
) -> ir.Value:
    """Counts by a convolution of ones, in the size at run time."""
    data = node.inputs[0]
    assert data is not None  # ONNX asks for it
    axes = range(2, len(dimensions(data)))
    shape = context.sizes([1, 1, *((data, axis) for axis in axes)])
    ones = context.op("Expand", context.number(1.0), shape)
    counts = context.op(
        "Conv",
        ones,
        context.floats(np.ones((1, 1, *window.kernel))),
        pads=window.pads,
        strides=list(window.strides),
        dilations=list(window.dilations),
    )
    return context.op("Div", upstream, counts)
