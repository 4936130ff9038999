"""The gradient of broadcasting: the sum over what was broadcast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.differentiate.builder import dimensions
from intaglio.passes.differentiate.context import Context


def unbroadcast(context: Context, gradient: ir.Value, node: ir.Node, index: int) -> ir.Value:
    """Sums ``gradient``, shaped as the result of ``node``, to the shape of input ``index``."""
    target = node.inputs[index]
    assert target is not None  # only wanted gradients come here
    others = [value for i, value in enumerate(node.inputs) if i != index and value is not None]
    return sum_to(context, gradient, node.outputs[0], target, others)


def sum_to(
    context: Context,
    gradient: ir.Value,
    result: ir.Value,
    target: ir.Value,
    others: Sequence[ir.Value],
) -> ir.Value:
    """Sums ``gradient``, shaped as ``result``, to the shape of ``target``.

    Where sizes are known only at run time and it is not clear whether they are 1, the axes to
    sum over are found at run time.

    Args:
        context: Builder.
        gradient: What to sum.
        result: What ``target`` was broadcast to.
        target: The operand.
        others: The other operands: where all of them have size 1, ``target`` was not broadcast.
    """
    whole, known = dimensions(result), dimensions(target)
    leading = len(whole) - len(known)
    axes = list(range(leading))
    for axis, dim in enumerate(known, leading):
        if (dim is not None and dim == whole[axis]) or _stays(others, axis - len(whole)):
            continue
        if dim != 1:
            return _sum_at_run_time(context, gradient, result, target, leading)
        axes.append(axis)
    if not axes:
        return gradient
    keep = len(axes) > leading
    total = context.op("ReduceSum", gradient, context.integers(axes), keepdims=int(keep))
    return context.reshape_like(total, target) if keep and leading else total


def _stays(others: Sequence[ir.Value], axis: int) -> bool:
    """Whether every other operand has size 1, or no axis, at ``axis`` (from the end)."""
    return all(len(dimensions(other)) < -axis or dimensions(other)[axis] == 1 for other in others)


def _sum_at_run_time(
    context: Context, gradient: ir.Value, result: ir.Value, target: ir.Value, leading: int
) -> ir.Value:
    shape = context.shape_of(target)
    if leading:
        shape = context.op("Concat", context.integers([1] * leading), shape, axis=0)
    differs = context.op("Not", context.op("Equal", shape, context.shape_of(result)))
    axes = context.op("Reshape", context.op("NonZero", differs), context.integers([-1]))
    total = context.op("ReduceSum", gradient, axes, keepdims=1, noop_with_empty_axes=1)
    return context.op("Reshape", total, context.shape_of(target))


def along(context: Context, array: NDArray[Any], axis: int, rank: int) -> ir.Value:
    """A list of floats as a constant that broadcasts along ``axis`` of ``rank``."""
    shape = [1] * rank
    shape[axis] = -1
    return context.floats(array.reshape(shape))


def channels(context: Context, value: ir.Value, rank: int) -> ir.Value:
    """A vector as ``[C, 1, ...]``, which broadcasts along axis 1 of ``rank`` axes."""
    return context.op("Reshape", value, context.integers([-1] + [1] * (rank - 2)))
