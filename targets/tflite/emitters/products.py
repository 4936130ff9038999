"""FULLY_CONNECTED and BATCH_MATMUL."""

from __future__ import annotations

import onnx_ir as ir

from intaglio.errors import InternalError
from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.tflite.emitters.activations import Ending
from intaglio.targets.tflite.emitters.convolutions import (
    Accumulator,
    Weighted,
    bias_tensor,
    check_arithmetic,
    limits,
    weight_tensor,
    weighted,
)
from intaglio.targets.tflite.emitters.multipliers import (
    expect_scale,
    expect_zero_point,
    require_rounding,
)
from intaglio.targets.tflite.emitters.options import options
from intaglio.targets.tflite.emitters.scope import Scope, required
from intaglio.targets.tflite.emitters.transposes import reshape

PRODUCTS = frozenset({"MatMulInteger", "MatMulInteger16", "MatMulInteger16By16"})


def emit_product(scope: Scope, rescale: ir.Node, sums: Accumulator) -> None:
    """FULLY_CONNECTED with a constant weight, else BATCH_MATMUL."""
    node = sums.node
    if node is None:
        raise InternalError("no product")
    weight = scope.array(node.inputs[1])
    if weight is None or weight.ndim > 2:
        _batched(scope, rescale, node, sums)
        return
    parts = weighted(scope, required(node.inputs[0]), rescale, node, sums.bias)
    check_arithmetic(scope, "fully_connected", rescale, parts)
    _connected(scope, rescale, node, parts)


def _connected(scope: Scope, rescale: ir.Node, node: ir.Node, parts: Weighted) -> None:
    value = rescale.outputs[0]
    shape, result = scope.shape(parts.source), scope.shape(value)
    codes = parts.weight.reshape(parts.weight.shape[0], -1).T
    channels, depth = codes.shape
    weight = weight_tensor(scope, node, parts, codes, 0)
    bias = bias_tensor(scope, parts, channels, str(value.name))
    ending = Ending(scope, value, limits(scope, rescale))
    data, target = scope.index(parts.source), ending.target
    if len(shape) == 1:
        flat = scope.intermediate("row", (1, depth), parts.meaning, parts.meaning.dtype)
        reshape(scope, data, flat, (1, depth))
        data, shape = flat, (1, depth)
    full = (*shape[:-1], channels)
    if full != result:
        meaning = scope.quantization(value)
        target = scope.intermediate(f"{value.name}_rows", full, meaning, meaning.dtype)
    keep = len(shape) != 2
    version = 7 if parts.meaning.dtype == "int16" else 5 if keep else 4
    chosen = options(
        "FullyConnectedOptions", fusedActivationFunction=ending.activation, keepNumDims=keep
    )
    scope.operator("FULLY_CONNECTED", [data, weight, bias], [target], chosen, version)
    if target != ending.target:
        reshape(scope, target, ending.target, result)
    ending.finish()


def _batched(scope: Scope, rescale: ir.Node, node: ir.Node, sums: Accumulator) -> None:
    first, second = required(node.inputs[0]), required(node.inputs[1])
    meanings = [scope.quantization(first), scope.quantization(second)]
    value = rescale.outputs[0]
    output = scope.quantization(value)
    if sums.bias is not None:
        raise RefusedError("BATCH_MATMUL has no bias", "add it by an Add behind the product")
    if meanings[1].per_channel:
        raise RefusedError("a stack of constant matrices has one scale in TFLite")
    if len({meanings[0].dtype, meanings[1].dtype, output.dtype}) > 1:
        raise RefusedError("BATCH_MATMUL has no kernel of mixed widths", "use one width")
    require_rounding(scope, rescale, "batch_matmul", output.dtype)
    for zero_point, meaning in zip(node.inputs[2:], meanings, strict=False):
        expect_zero_point(scope, zero_point, meaning)
    expect_zero_point(scope, rescale.inputs[3], output)
    factors = [meaning.scale[0] for meaning in meanings]
    expect_scale(scope, "batch_matmul", rescale.inputs[1:3], factors, output.scale[0])
    ending = Ending(scope, value, limits(scope, rescale), fuses=False)
    inputs = [scope.index(first), scope.index(second)]
    version = 3 if output.dtype == "int16" else 2
    scope.operator("BATCH_MATMUL", inputs, [ending.target], options("BatchMatMulOptions"), version)
    ending.finish()
