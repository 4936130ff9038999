"""Gradients of operators of two or more tensors of one shape, after broadcasting.

Each gradient is formed in the shape of the result and summed over what was broadcast. Where a
Max or Min is reached by several operands, they share its gradient evenly.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from intaglio.passes.canonicalize.editing import constant
from intaglio.passes.differentiate.broadcasting import unbroadcast
from intaglio.passes.differentiate.context import Context
from intaglio.passes.differentiate.refusing import Undifferentiable

Found = list[ir.Value | None]


def add(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """``d(a + b) = da + db``; also Sum."""
    return [
        unbroadcast(context, upstream, node, index) if context.needs(value) else None
        for index, value in enumerate(node.inputs)
    ]


def subtract(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """``d(a - b) = da - db``."""
    found: Found = [None, None]
    if context.needs(node.inputs[0]):
        found[0] = unbroadcast(context, upstream, node, 0)
    if context.needs(node.inputs[1]):
        found[1] = context.op("Neg", unbroadcast(context, upstream, node, 1))
    return found


def multiply(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """``d(a b) = b da + a db``."""
    found: Found = [None, None]
    for index in (0, 1):
        if context.needs(node.inputs[index]):
            product = context.op("Mul", upstream, node.inputs[1 - index])
            found[index] = unbroadcast(context, product, node, index)
    return found


def divide(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """``d(a / b) = da / b - (a / b) db / b``."""
    found: Found = [None, None]
    quotient = context.op("Div", upstream, node.inputs[1])
    if context.needs(node.inputs[0]):
        found[0] = unbroadcast(context, quotient, node, 0)
    if context.needs(node.inputs[1]):
        product = context.op("Mul", quotient, node.outputs[0])
        found[1] = context.op("Neg", unbroadcast(context, product, node, 1))
    return found


def power(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """``d(a ^ e) = e a^(e - 1) da`` for a constant exponent; 0 where ``e = 0``."""
    exponent = constant(node.inputs[1])
    if exponent is None:
        raise Undifferentiable("its exponent is not a constant")
    exponent = exponent.astype(np.float64)
    lower = np.where(exponent == 0, 0.0, exponent - 1)
    if lower.size == 1 and float(lower.reshape(())) == 1.0:
        root = node.inputs[0]
    else:
        root = context.op("Pow", node.inputs[0], context.floats(lower))
    slope = context.op("Mul", context.floats(exponent), root)
    return [unbroadcast(context, context.op("Mul", upstream, slope), node, 0)]


def extreme(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """Max and Min: to the operands that are equal to the result."""
    hits = [context.to_float(context.op("Equal", value, node.outputs[0])) for value in node.inputs]
    total = hits[0] if len(hits) == 1 else context.op("Sum", *hits)
    share = context.op("Div", upstream, total)
    return [
        unbroadcast(context, context.op("Mul", share, hit), node, index)
        if context.needs(value)
        else None
        for index, (value, hit) in enumerate(zip(node.inputs, hits, strict=True))
    ]


def choose(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """Where: to the operand that was chosen."""
    condition, zero = node.inputs[0], context.number(0.0)
    found: Found = [None, None, None]
    if context.needs(node.inputs[1]):
        chosen = context.op("Where", condition, upstream, zero)
        found[1] = unbroadcast(context, chosen, node, 1)
    if context.needs(node.inputs[2]):
        chosen = context.op("Where", condition, zero, upstream)
        found[2] = unbroadcast(context, chosen, node, 2)
    return found


def prelu(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """``x`` where positive, else ``slope * x``; at 0 the slope counts."""
    data, slope = node.inputs[0], node.inputs[1]
    zero = context.number(0.0)
    positive = context.op("Greater", data, zero)
    found: Found = [None, None]
    if context.needs(data):
        below = context.op("Mul", upstream, slope)
        found[0] = context.op("Where", positive, upstream, below)
    if context.needs(slope):
        product = context.op("Mul", upstream, data)
        below = context.op("Where", positive, zero, product)
        found[1] = unbroadcast(context, below, node, 1)
    return found
