"""Gradients of operators that move whole tensors: they move the gradient back."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from intaglio.passes.canonicalize.editing import integer, ints, operand, text
from intaglio.passes.differentiate.broadcasting import sum_to
from intaglio.passes.differentiate.builder import Size, dimensions
from intaglio.passes.differentiate.context import Context
from intaglio.passes.differentiate.refusing import Undifferentiable
from intaglio.passes.operators import constant_array, is_float

Found = list[ir.Value | None]


def same(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """Identity."""
    return [upstream]


def dropout(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """The identity at inference; a random one has no fixed gradient."""
    training = operand(node, 2)
    if training is not None:
        flag = constant_array(training)
        if flag is None or bool(np.any(flag)):
            raise Undifferentiable(
                "it drops elements at random (training_mode)", "export the model for inference"
            )
    return [upstream]


def cast(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """The identity between equal float types."""
    if not is_float(node.inputs[0]) or integer(node, "to", 0) != int(context.dtype):
        raise Undifferentiable("it changes the element type", "keep the model in one float type")
    return [upstream]


def reshape(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """Reshape, Flatten, Squeeze and Unsqueeze: back to the shape of the input."""
    data = node.inputs[0]
    assert data is not None  # ONNX asks for it
    return [context.reshape_like(upstream, data)]


def transpose(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """The inverse permutation."""
    rank = len(dimensions(node.outputs[0]))
    perm = ints(node, "perm", list(range(rank))[::-1]) or []
    inverse = [int(axis) for axis in np.argsort(perm)] if perm else []
    return [context.op("Transpose", upstream, perm=inverse)]


def expand(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """The sum over what was broadcast."""
    data, result = node.inputs[0], node.outputs[0]
    assert data is not None  # ONNX asks for it
    return [sum_to(context, upstream, result, data, [result])]


def concat(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """The operand's slice."""
    axis = integer(node, "axis", 0) % len(dimensions(node.outputs[0]))
    found: Found = []
    before: list[Size] = [0]
    for value in node.inputs:
        assert value is not None  # ONNX asks for it
        if context.needs(value):
            begin = _total(context, before)
            end = _total(context, [*before, (value, axis)])
            found.append(context.op("Slice", upstream, begin, end, context.integers([axis])))
        else:
            found.append(None)
        before.append((value, axis))
    return found


def _total(context: Context, parts: list[Size]) -> ir.Value:
    """The sum of sizes as a list of one number."""
    known = [context.size(part) for part in parts]
    numbers = [number for number in known if number is not None]
    if len(numbers) == len(known):
        return context.integers([sum(numbers)])
    return context.op("ReduceSum", context.sizes(parts), keepdims=1)


def split(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """The gradients of all parts side by side; zeros for a part that nothing reads."""
    parts = [context.gradient(output) for output in node.outputs]
    filled = [
        part if part is not None else context.zeros_like(output)
        for part, output in zip(parts, node.outputs, strict=True)
    ]
    return [context.op("Concat", *filled, axis=integer(node, "axis", 0))]


def depth_to_space(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """SpaceToDepth; in CRD order the channels then stand in another order.

    SpaceToDepth numbers channels as ``block * C + c``, CRD as ``c * blocks + block``.
    """
    size = integer(node, "blocksize", 1)
    found = context.op("SpaceToDepth", upstream, blocksize=size)
    if text(node, "mode", "DCR") == "CRD":
        count = dimensions(node.outputs[0])[1]
        if not isinstance(count, int):
            raise Undifferentiable("its number of channels is not known")
        order = np.arange(size * size * count).reshape(size * size, count).T.reshape(-1)
        found = context.op("Gather", found, context.constant(order.astype(np.int64)), axis=1)
    return [found]


def space_to_depth(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """DepthToSpace in DCR order."""
    return [context.op("DepthToSpace", upstream, blocksize=integer(node, "blocksize", 1))]
