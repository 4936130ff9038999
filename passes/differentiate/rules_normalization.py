"""Gradients of Softmax, LogSoftmax and of BatchNormalization with fixed statistics."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from intaglio.passes.canonicalize.editing import constant, integer, number
from intaglio.passes.differentiate.broadcasting import along, channels
from intaglio.passes.differentiate.builder import dimensions
from intaglio.passes.differentiate.context import Context
from intaglio.passes.differentiate.refusing import Undifferentiable

Found = list[ir.Value | None]


def softmax(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """``dx = y (dy - sum(dy y))`` along the axis."""
    result = node.outputs[0]
    product = context.op("Mul", upstream, result)
    axis = context.integers([integer(node, "axis", -1)])
    total = context.op("ReduceSum", product, axis, keepdims=1)
    return [context.op("Mul", result, context.op("Sub", upstream, total))]


def log_softmax(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """``dx = dy - exp(y) sum(dy)`` along the axis."""
    axis = context.integers([integer(node, "axis", -1)])
    total = context.op("ReduceSum", upstream, axis, keepdims=1)
    share = context.op("Mul", context.op("Exp", node.outputs[0]), total)
    return [context.op("Sub", upstream, share)]


def batch_normalization(context: Context, node: ir.Node, upstream: ir.Value) -> Found:
    """``y = scale (x - mean) / sqrt(variance + epsilon) + shift`` with constant statistics."""
    if integer(node, "training_mode", 0):
        raise Undifferentiable(
            "it normalizes by the batch (training_mode = 1)", "export the model for inference"
        )
    data, scale, shift, mean, variance = node.inputs[:5]
    means, variances = constant(mean), constant(variance)
    if means is None or variances is None:
        raise Undifferentiable("its statistics are not constants")
    rank = len(dimensions(node.outputs[0]))
    epsilon = number(node, "epsilon", 1e-5)
    inverse = 1.0 / np.sqrt(variances.astype(np.float64) + epsilon)
    rest = context.integers([0, *range(2, rank)])
    found: Found = [None, None, None]
    if context.needs(data):
        factor = context.op("Mul", scale, context.floats(inverse))
        found[0] = context.op("Mul", upstream, channels(context, factor, rank))
    if context.needs(scale):
        centred = context.op("Sub", data, along(context, means, 1, rank))
        total = context.op("ReduceSum", context.op("Mul", upstream, centred), rest, keepdims=0)
        found[1] = context.op("Mul", total, context.floats(inverse))
    if context.needs(shift):
        found[2] = context.op("ReduceSum", upstream, rest, keepdims=0)
    return found
