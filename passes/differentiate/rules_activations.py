"""Gradients of functions of one element: ``dx = f'(x) dy``.

Where the slope follows from the result, the result is read and not the input: it is stored for
the next layer anyway. At a corner the slope is that of the flat side (Relu, Clip, HardSigmoid) or
of the side below (LeakyRelu), as PyTorch has it; Abs has 0 there.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from intaglio.passes.canonicalize.editing import number, operand, text
from intaglio.passes.differentiate.context import Context, Rule

Found = list[ir.Value | None]


def _scaled(context: Context, value: ir.Value | None, factor: float) -> ir.Value:
    return context.op("Mul", value, context.number(factor))


def _plus(context: Context, value: ir.Value | None, term: float) -> ir.Value:
    return context.op("Add", value, context.number(term))


def relu(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """1 where the result is positive, else 0."""
    zero = context.number(0.0)
    return [context.op("Where", context.op("Greater", node.outputs[0], zero), upstream, zero)]


def leaky_relu(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """1 where positive, else alpha; with alpha > 0 the result has the sign of the input."""
    alpha = number(node, "alpha", 0.01)
    read = node.outputs[0] if alpha > 0 else node.inputs[0]
    positive = context.op("Greater", read, context.number(0.0))
    return [context.op("Where", positive, upstream, _scaled(context, upstream, alpha))]


def thresholded_relu(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """1 above alpha, else 0."""
    alpha = context.number(number(node, "alpha", 1.0))
    above = context.op("Greater", node.inputs[0], alpha)
    return [context.op("Where", above, upstream, context.number(0.0))]


def clip(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """1 strictly between the bounds, else 0."""
    inside: ir.Value | None = None
    for index, comparison in ((1, "Greater"), (2, "Less")):
        bound = operand(node, index)
        if bound is not None:
            within = context.op(comparison, node.outputs[0], bound)
            inside = within if inside is None else context.op("And", inside, within)
    if inside is None:
        return [upstream]
    return [context.op("Where", inside, upstream, context.number(0.0))]


def sigmoid(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """``y (1 - y)``."""
    result = node.outputs[0]
    slope = context.op("Mul", result, context.op("Sub", context.number(1.0), result))
    return [context.op("Mul", upstream, slope)]


def tanh(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """``1 - y^2``."""
    result = node.outputs[0]
    square = context.op("Mul", result, result)
    return [context.op("Mul", upstream, context.op("Sub", context.number(1.0), square))]


def hard_sigmoid(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """The factor alpha strictly between 0 and 1, else 0."""
    result, zero = node.outputs[0], context.number(0.0)
    above = context.op("Greater", result, zero)
    inside = context.op("And", above, context.op("Less", result, context.number(1.0)))
    scaled = _scaled(context, upstream, number(node, "alpha", 0.2))
    return [context.op("Where", inside, scaled, zero)]


def hard_swish(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """``x / 3 + 1/2`` strictly between -3 and 3, 0 below, 1 above."""
    data = node.inputs[0]
    line = _plus(context, _scaled(context, data, 1 / 3), 0.5)
    above = context.op("GreaterOrEqual", data, context.number(3.0))
    slope = context.op("Where", above, context.number(1.0), line)
    below = context.op("LessOrEqual", data, context.number(-3.0))
    slope = context.op("Where", below, context.number(0.0), slope)
    return [context.op("Mul", upstream, slope)]


def exponential(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """The result itself."""
    return [context.op("Mul", upstream, node.outputs[0])]


def logarithm(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """``1 / x``."""
    return [context.op("Div", upstream, node.inputs[0])]


def square_root(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """``1 / (2 y)``."""
    return [context.op("Div", _scaled(context, upstream, 0.5), node.outputs[0])]


def absolute(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """The sign of x."""
    return [context.op("Mul", upstream, context.op("Sign", node.inputs[0]))]


def negative(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """-1."""
    return [context.op("Neg", upstream)]


def reciprocal(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """``-y^2``."""
    result = node.outputs[0]
    square = context.op("Mul", result, result)
    return [context.op("Neg", context.op("Mul", upstream, square))]


def sine(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """The cosine."""
    return [context.op("Mul", upstream, context.op("Cos", node.inputs[0]))]


def cosine(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """Minus the sine."""
    slope = context.op("Sin", node.inputs[0])
    return [context.op("Neg", context.op("Mul", upstream, slope))]


def softplus(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """The logistic function."""
    return [context.op("Mul", upstream, context.op("Sigmoid", node.inputs[0]))]


def softsign(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """``1 / (1 + |x|)^2``."""
    root = _plus(context, context.op("Abs", node.inputs[0]), 1.0)
    return [context.op("Div", upstream, context.op("Mul", root, root))]


def _exponential_unit(scale: float, alpha: float, rate: float) -> Rule:
    """``scale * x`` above 0, else ``scale * alpha * (exp(rate x) - 1)``.

    Below, the slope ``scale alpha rate exp(rate x)`` is ``rate (y + scale alpha)``.
    """

    def rule(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
        above = upstream if scale == 1.0 else _scaled(context, upstream, scale)
        slope = _scaled(context, _plus(context, node.outputs[0], scale * alpha), rate)
        below = context.op("Mul", upstream, slope)
        positive = context.op("Greater", node.inputs[0], context.number(0.0))
        return [context.op("Where", positive, above, below)]

    return rule


def elu(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """``alpha (exp(x) - 1)`` below 0."""
    return _exponential_unit(1.0, number(node, "alpha", 1.0), 1.0)(context, node, upstream)


def celu(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """``alpha (exp(x / alpha) - 1)`` below 0."""
    alpha = number(node, "alpha", 1.0)
    return _exponential_unit(1.0, alpha, 1 / alpha)(context, node, upstream)


def selu(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """``gamma x`` above 0, ``gamma alpha (exp(x) - 1)`` below; the defaults are ONNX's."""
    alpha = number(node, "alpha", 1.67326319217681884765625)
    gamma = number(node, "gamma", 1.05070102214813232421875)
    return _exponential_unit(gamma, alpha, 1.0)(context, node, upstream)


def error_function(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """``2 / sqrt(pi) exp(-x^2)``."""
    data = node.inputs[0]
    bell = context.op("Exp", context.op("Neg", context.op("Mul", data, data)))
    return [context.op("Mul", upstream, _scaled(context, bell, 2 / math.sqrt(math.pi)))]


def gelu(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """``x Phi(x)``: ``Phi(x) + x phi(x)``, or the derivative of the approximation by tanh.

    With ``t = tanh(u)``, ``u = sqrt(2/pi) (x + 0.044715 x^3)`` the approximation is
    ``x (1 + t) / 2`` and its slope ``(1 + t) / 2 + x (1 - t^2) u' / 2``.
    """
    data = node.inputs[0]
    square = context.op("Mul", data, data)
    if text(node, "approximate", "none") == "tanh":
        root = math.sqrt(2 / math.pi)
        cubic = _plus(context, _scaled(context, square, 0.044715 * root), root)
        t = context.op("Tanh", context.op("Mul", data, cubic))
        rise = _plus(context, _scaled(context, square, 3 * 0.044715 * root), root)
        flat = context.op("Sub", context.number(1.0), context.op("Mul", t, t))
        second = context.op("Mul", data, context.op("Mul", flat, rise))
        slope = _scaled(context, context.op("Add", _plus(context, t, 1.0), second), 0.5)
    else:
        erf = context.op("Erf", _scaled(context, data, math.sqrt(0.5)))
        cumulative = _scaled(context, _plus(context, erf, 1.0), 0.5)
        bell = context.op("Exp", _scaled(context, square, -0.5))
        density = _scaled(context, bell, 1 / math.sqrt(2 * math.pi))
        slope = context.op("Add", cumulative, context.op("Mul", data, density))
    return [context.op("Mul", upstream, slope)]


def mish(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """``x t`` with ``t = tanh(softplus(x))``: ``t + x (1 - t^2) sigmoid(x)``."""
    data = node.inputs[0]
    t = context.op("Tanh", context.op("Softplus", data))
    flat = context.op("Sub", context.number(1.0), context.op("Mul", t, t))
    second = context.op("Mul", context.op("Mul", data, flat), context.op("Sigmoid", data))
    return [context.op("Mul", upstream, context.op("Add", t, second))]
