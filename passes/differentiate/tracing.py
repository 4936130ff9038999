"""Gradients of operators that pick elements, by following where each element goes.

The operator is applied to the numbers 0, 1, 2, ... instead of the values. That says which element
of the input every element of the result is; the gradient is added up there.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from intaglio.passes.differentiate.builder import Size, dimensions
from intaglio.passes.differentiate.context import Context


def scatter(context: Context, places: ir.Value, gradient: ir.Value, target: ir.Value) -> ir.Value:
    """Adds every element of ``gradient`` to an element of zeros in the shape of ``target``.

    Args:
        context: Builder.
        places: For each element of ``gradient`` the number of the element, in row-major order.
        gradient: What to add.
        target: Whose gradient it is.
    """
    flat = context.integers([-1])
    zeros = context.op("Expand", context.number(0.0), length(context, target))
    found = context.op(
        "ScatterElements",
        zeros,
        context.op("Reshape", places, flat),
        context.op("Reshape", gradient, flat),
        axis=0,
        reduction="add",
    )
    return context.reshape_like(found, target)


def length(context: Context, value: ir.Value) -> ir.Value:
    """The number of elements of ``value``, as a list of one int64."""
    sizes: list[Size] = [(value, axis) for axis in range(len(dimensions(value)))]
    known = [context.size(size) for size in sizes]
    product = 1
    for number in known:
        if number is None:
            return context.op("ReduceProd", context.sizes(sizes), keepdims=1)
        product *= number
    return context.integers([product])


def numbering(context: Context, target: ir.Value) -> ir.Value:
    """0, 1, 2, ... in the shape of ``target``, int64."""
    end = context.op("Squeeze", length(context, target))
    zero, one = (context.op("Squeeze", context.integers([n])) for n in (0, 1))
    numbers = context.op("Range", zero, end, one)
    return context.op("Reshape", numbers, context.shape_of(target))


def trace(
    context: Context, node: ir.Node, upstream: ir.Value, others: Sequence[ir.Value | None]
) -> ir.Value:
    """The gradient of the first input of ``node``, which picks elements of it.

    Args:
        context: Builder.
        node: The node; its attributes are taken over.
        upstream: Gradient of the result.
        others: Its further inputs.
    """
    data = node.inputs[0]
    assert data is not None  # ONNX asks for it
    attributes = {key: attribute.value for key, attribute in node.attributes.items()}
    places = context.op(node.op_type, numbering(context, data), *others, **attributes)
    return scatter(context, places, upstream, data)
