"""Gradients of Slice, Pad, Gather and Tile: each element's gradient goes where it came from."""

from __future__ import annotations

import onnx_ir as ir

from intaglio.passes.canonicalize.editing import constant, operand, text
from intaglio.passes.differentiate.builder import dimensions
from intaglio.passes.differentiate.context import Context
from intaglio.passes.differentiate.refusing import Undifferentiable
from intaglio.passes.differentiate.tracing import trace

Found = list[ir.Value | None]

_FAR = 2**31 - 1


def pick(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """Gather and Tile: traced."""
    return [trace(context, node, upstream, node.inputs[1:])]


def slice_(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """Zeros around the upstream where the slice is a constant block of known sizes, else traced."""
    pads = _block(node)
    if pads is None:
        return [trace(context, node, upstream, node.inputs[1:])]
    axes, begins, ends = pads
    amounts = context.integers([*begins, *ends])
    return [context.op("Pad", upstream, amounts, None, context.integers(axes))]


def _block(node: ir.Node) -> tuple[list[int], list[int], list[int]] | None:
    """Axes, and elements cut off before and behind; None where that is not known."""
    data = node.inputs[0]
    assert data is not None  # ONNX asks for it
    sizes = dimensions(data)
    starts, ends = _numbers(node, 1), _numbers(node, 2)
    if starts is None or ends is None:
        return None
    axes = _numbers(node, 3) if operand(node, 3) is not None else list(range(len(starts)))
    steps = _numbers(node, 4) if operand(node, 4) is not None else [1] * len(starts)
    if axes is None or steps is None or any(step != 1 for step in steps):
        return None
    before: list[int] = []
    behind: list[int] = []
    for axis, start, end in zip(axes, starts, ends, strict=True):
        size = sizes[axis]
        if not isinstance(size, int):
            return None
        first = min(max(start + size if start < 0 else start, 0), size)
        last = min(max(end + size if end < 0 else end, 0), size)
        if last < first:
            return None
        before.append(first)
        behind.append(size - last)
    return [axis % len(sizes) for axis in axes], before, behind


def _numbers(node: ir.Node, index: int) -> list[int] | None:
    array = constant(operand(node, index))
    return None if array is None else [int(number) for number in array.reshape(-1)]


def pad(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """Constant mode: the block within (pads of the other sign); other modes are traced."""
    if text(node, "mode", "constant") != "constant":
        return [trace(context, node, upstream, node.inputs[1:])]
    amounts, axes = _numbers(node, 1), operand(node, 3)
    if amounts is None:
        raise Undifferentiable("its pads are not a constant")
    if min(amounts, default=0) < 0:
        opposite = context.integers([-amount for amount in amounts])
        return [context.op("Pad", upstream, opposite, None, axes)]
    half = len(amounts) // 2
    if axes is None:
        axes = context.integers(range(half))
    begins = context.integers(amounts[:half])
    ends = context.integers([-amount if amount else _FAR for amount in amounts[half:]])
    return [context.op("Slice", upstream, begins, ends, axes)]
