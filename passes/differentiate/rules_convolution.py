"""Gradients of Conv and ConvTranspose: see `correlation.py` for the sums.

ConvTranspose is the transposed map of Conv, so their rules change places: what is the input of
one is the upstream gradient of the other. The gradient of a bias is the sum over batch and space.
"""

from __future__ import annotations

import onnx_ir as ir

from intaglio.passes.canonicalize.editing import ints, operand
from intaglio.passes.differentiate.builder import dimensions
from intaglio.passes.differentiate.context import Context
from intaglio.passes.differentiate.correlation import correlate, spread
from intaglio.passes.differentiate.refusing import Undifferentiable
from intaglio.passes.differentiate.windows import group_of, read_window


def convolution(context: Context, node: ir.Node, upstream: ir.Value) -> list[ir.Value | None]:
    """``dx``: ConvTranspose of the upstream by w; ``dw``: Conv of x by the upstream."""
    data, weight = node.inputs[0], node.inputs[1]
    assert data is not None
    assert weight is not None
    window, group = read_window(node), group_of(node)
    found: list[ir.Value | None] = [None, None, _bias(context, node, upstream)]
    if context.needs(weight):
        found[1] = correlate(context, data, upstream, window, group)
    if context.needs(data):
        found[0] = spread(context, upstream, weight, window, group, data)
    return found


def transposed_convolution(
    context: Context, node: ir.Node, upstream: ir.Value
) -> list[ir.Value | None]:
    """``dx``: Conv of the upstream by w; ``dw``: Conv of the upstream by x."""
    data, weight = node.inputs[0], node.inputs[1]
    assert data is not None
    assert weight is not None
    if "output_shape" in node.attributes:
        raise Undifferentiable(
            "its padding follows from output_shape", "write pads and output_padding instead"
        )
    window, group = read_window(node), group_of(node)
    extra = ints(node, "output_padding", [0] * len(window.kernel)) or []
    if any(more >= stride for more, stride in zip(extra, window.strides, strict=True)):
        raise Undifferentiable("its output_padding is not less than its stride")
    # What output_padding adds at the end is what a Conv with these strides leaves over.
    found: list[ir.Value | None] = [None, None, _bias(context, node, upstream)]
    if context.needs(weight):
        found[1] = correlate(context, upstream, data, window, group)
    if context.needs(data):
        found[0] = context.op(
            "Conv",
            upstream,
            weight,
            group=group,
            kernel_shape=list(window.kernel),
            pads=window.pads,
            strides=list(window.strides),
            dilations=list(window.dilations),
        )
    return found


def _bias(context: Context, node: ir.Node, upstream: ir.Value) -> ir.Value | None:
    if not context.needs(operand(node, 2)):
        return None
    rank = len(dimensions(node.outputs[0]))
    axes = context.integers([0, *range(2, rank)])
    return context.op("ReduceSum", upstream, axes, keepdims=0)
