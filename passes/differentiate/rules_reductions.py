"""Gradients of sums, means and extremes over axes, and of global pooling.

A sum hands its gradient to every element, a mean ``1 / n`` of it. An extreme hands it to the
elements that reach it, evenly if several do.
"""

from __future__ import annotations

import onnx_ir as ir

from intaglio.passes.canonicalize.editing import constant, integer, ints, operand
from intaglio.passes.differentiate.builder import dimensions
from intaglio.passes.differentiate.context import Context
from intaglio.passes.differentiate.refusing import Undifferentiable

Found = list[ir.Value | None]


def reduce_sum(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """The upstream, broadcast."""
    axes = _axes(node)
    return [context.expand_like(_kept(context, node, upstream, axes), _data(node))]


def reduce_mean(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """The upstream divided by the number of elements, broadcast."""
    axes, data = _axes(node), _data(node)
    kept = _kept(context, node, upstream, axes)
    share = context.op("Div", kept, context.count(data, axes)) if axes else kept
    return [context.expand_like(share, data)]


def reduce_extreme(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """ReduceMax and ReduceMin: shared by the elements equal to the result."""
    axes, data = _axes(node), _data(node)
    result = _kept(context, node, node.outputs[0], axes)
    hit = context.to_float(context.op("Equal", data, result))
    total = context.op("ReduceSum", hit, context.integers(axes), keepdims=1)
    share = context.op("Div", _kept(context, node, upstream, axes), total) if axes else upstream
    return [context.op("Mul", hit, share)]


def global_average(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """A mean over the spatial axes."""
    data = _data(node)
    share = context.op("Div", upstream, context.count(data, _spatial(data)))
    return [context.expand_like(share, data)]


def global_maximum(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """A maximum over the spatial axes."""
    data = _data(node)
    hit = context.to_float(context.op("Equal", data, node.outputs[0]))
    total = context.op("ReduceSum", hit, context.integers(_spatial(data)), keepdims=1)
    return [context.op("Mul", hit, context.op("Div", upstream, total))]


def _data(node: ir.Node) -> ir.Value:
    data = node.inputs[0]
    assert data is not None  # ONNX asks for it
    return data


def _spatial(data: ir.Value) -> list[int]:
    return list(range(2, len(dimensions(data))))


def _axes(node: ir.Node) -> list[int]:
    """The axes that are reduced, counted from the front."""
    rank = len(dimensions(_data(node)))
    given = operand(node, 1)
    if given is not None:
        array = constant(given)
        if array is None:
            raise Undifferentiable("its axes are not a constant")
        listed = [int(axis) for axis in array.reshape(-1)]
    else:
        listed = ints(node, "axes", []) or []
    if not listed:
        return [] if integer(node, "noop_with_empty_axes", 0) else list(range(rank))
    return sorted(axis % rank for axis in listed)


def _kept(context: Context, node: ir.Node, value: ir.Value, axes: list[int]) -> ir.Value:
    """``value``, shaped as the result, with the reduced axes as 1."""
    if integer(node, "keepdims", 1) or not axes:
        return value
    return context.op("Unsqueeze", value, context.integers(axes))
