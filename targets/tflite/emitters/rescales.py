"""Every Rescale: the end of a product, or QUANTIZE where it stands alone."""

from __future__ import annotations

import onnx_ir as ir

from intaglio.errors import InternalError
from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.tflite.emitters.activations import (
    RELUS,
    Ending,
    Limits,
    Relu,
    activation_limits,
    clamp,
)
from intaglio.targets.tflite.emitters.convolutions import (
    CONVOLUTIONS,
    TRANSPOSED,
    accumulator,
    emit_convolution,
    limits,
)
from intaglio.targets.tflite.emitters.features import refuse_means
from intaglio.targets.tflite.emitters.multipliers import (
    expect_scale,
    expect_zero_point,
    require_rounding,
)
from intaglio.targets.tflite.emitters.options import options
from intaglio.targets.tflite.emitters.products import PRODUCTS, emit_product
from intaglio.targets.tflite.emitters.scope import Emitter, Scope, required
from intaglio.targets.tflite.emitters.table_sums import TABLE_SUMS, emit_table_sums
from intaglio.targets.tflite.emitters.transposed import emit_transposed
from intaglio.transforms.scales import TensorQuantization


def _rescale(scope: Scope, node: ir.Node) -> None:
    sums = accumulator(scope, node.inputs[0])
    operator = "" if sums.node is None else sums.node.op_type
    if operator in CONVOLUTIONS:
        refuse_means(scope, node, sums.node)
        emit_convolution(scope, node, sums)
    elif operator in TRANSPOSED:
        emit_transposed(scope, node, sums)
    elif operator in PRODUCTS:
        emit_product(scope, node, sums)
    elif operator in TABLE_SUMS:
        emit_table_sums(scope, node, sums.node, sums.bias)
    elif operator in ("Sub", "Cast") and sums.bias is None:
        _quantize(scope, node, sums.node)
    else:
        raise RefusedError(
            f"no TFLite operator rescales the result of {operator or 'an input'}",
            "layers that train have 16-bit weights: use targets c, onnx-integer and tosa"
            if operator.endswith("8By16")
            else None,
        )


def _quantize(scope: Scope, node: ir.Node, centering: ir.Node | None) -> None:
    """QUANTIZE, from one quantization to another."""
    if centering is None:
        raise InternalError("nothing to quantize")
    zero_point: ir.Value | None = None
    cast: ir.Node | None = centering
    if centering.op_type == "Sub":
        zero_point = centering.inputs[1]
        cast = required(centering.inputs[0]).producer()
    if cast is None or cast.op_type != "Cast":
        raise RefusedError("no TFLite operator rescales such a difference")
    scope.claim(cast)
    source, value = required(cast.inputs[0]), node.outputs[0]
    meaning, output = scope.quantization(source), scope.quantization(value)
    if zero_point is not None or meaning.zero_point[0] != 0:
        expect_zero_point(scope, zero_point, meaning)
    expect_zero_point(scope, node.inputs[3], output)
    bounds = limits(scope, node)
    if meaning == output and bounds != (output.minimum, output.maximum):
        clamp(scope, scope.index(source), value, bounds)
        return
    relu = _relu(scope, node, meaning, output, bounds)
    if relu is not None:
        inputs, outputs = [scope.index(source)], [scope.result(value)]
        scope.operator(relu.operator, inputs, outputs, None, relu.versions[1])
        return
    require_rounding(scope, node, "requantize", meaning.dtype)
    expect_scale(scope, "requantize", node.inputs[1:3], meaning.scale, output.scale[0])
    ending = Ending(scope, value, bounds, fuses=False)
    version = 2 if output.dtype == "int16" else 1
    chosen = options("QuantizeOptions")
    scope.operator("QUANTIZE", [scope.index(source)], [ending.target], chosen, version)
    ending.finish()


def _relu(
    scope: Scope,
    node: ir.Node,
    meaning: TensorQuantization,
    output: TensorQuantization,
    bounds: Limits,
) -> Relu | None:
    """The operator that rescales int16 so and clamps to just these bounds."""
    if (meaning.dtype, output.dtype) != ("int16", "int16"):
        return None
    if bounds == (output.minimum, output.maximum):
        return None
    try:
        require_rounding(scope, node, "relu", meaning.dtype)
        expect_scale(scope, "relu", node.inputs[1:3], meaning.scale, output.scale[0])
    except RefusedError:
        return None
    for relu in RELUS:
        if relu.rescales(scope.profile) and activation_limits(relu.activation, output) == bounds:
            return relu
    return None


EMITTERS: dict[str, Emitter] = dict.fromkeys(
    ("RescaleDouble", "RescaleReal", "RescaleSingle", "RescaleWide"), _rescale
)
