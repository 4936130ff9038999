"""PRELU of int8, LEAKY_RELU of int16, and PRELU of int16 put together of others."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from intaglio.passes.annotations import get_quantization
from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.tflite.emitters.activations import Ending
from intaglio.targets.tflite.emitters.convolutions import limits
from intaglio.targets.tflite.emitters.multipliers import (
    expect_scale,
    expect_zero_point,
    require_rounding,
)
from intaglio.targets.tflite.emitters.options import options
from intaglio.targets.tflite.emitters.scope import Emitter, Scope, required
from intaglio.transforms.scales import TensorQuantization


def _prelu(scope: Scope, node: ir.Node) -> None:
    source, slope, value = required(node.inputs[0]), required(node.inputs[2]), node.outputs[0]
    meaning, output = scope.quantization(source), scope.quantization(value)
    if meaning.dtype != output.dtype:
        raise RefusedError(
            f"TFLite has no PRELU with {meaning.dtype} input and {output.dtype} output",
            "give its input and its output the same width",
        )
    expect_zero_point(scope, node.inputs[1], meaning)
    expect_zero_point(scope, node.inputs[-3], output)
    slopes = get_quantization(slope)
    if slopes is None:
        _leaky_relu(scope, node, meaning, output)
    elif meaning.dtype == "int8":
        _whole(scope, node, meaning, slopes, output)
    else:
        _parts(scope, node, meaning, slopes, output)


def _whole(
    scope: Scope,
    node: ir.Node,
    meaning: TensorQuantization,
    slopes: TensorQuantization,
    output: TensorQuantization,
) -> None:
    require_rounding(scope, node, "prelu", meaning.dtype)
    factors = (meaning.scale[0], slopes.scale[0])
    expect_scale(scope, "prelu", node.inputs[3:5], factors[:1], output.scale[0])
    expect_scale(scope, "prelu", node.inputs[5:7], factors, output.scale[0])
    ending = Ending(scope, node.outputs[0], limits(scope, node), fuses=False)
    inputs = [scope.index(required(node.inputs[0])), _slope(scope, node, slopes)]
    scope.operator("PRELU", inputs, [ending.target])
    ending.finish()


def _slope(scope: Scope, node: ir.Node, slopes: TensorQuantization) -> int:
    """int8 slopes; those of 9 bits (int8 less a zero point) get a zero point again."""
    if slopes.dtype == "int8":
        return scope.index(required(node.inputs[2]))
    codes = scope.numbers(node.inputs[2]).astype(np.int64)
    zero_point = max(-128, -128 - int(codes.min()))
    meaning = TensorQuantization("int8", slopes.scale, (zero_point,))
    name = f"{node.outputs[0].name}_slope"
    return scope.constant(name, (codes + zero_point).astype(np.int8), meaning)


def _leaky_relu(
    scope: Scope, node: ir.Node, meaning: TensorQuantization, output: TensorQuantization
) -> None:
    """The slope is part of the multiplier, and positive."""
    require_rounding(scope, node, "leaky_relu", meaning.dtype)
    if scope.number(node.inputs[2]) != 1:
        raise RefusedError("LEAKY_RELU has no negative slope", "keep this tensor at int8")
    expect_scale(scope, "leaky_relu", node.inputs[3:5], meaning.scale, output.scale[0])
    multiplier, shift = scope.number(node.inputs[5]), scope.number(node.inputs[6])
    ratio = meaning.scale[0] / output.scale[0]
    # The only float32 that gives these 31 bits, if any does.
    alpha = float(np.float32(float(np.ldexp(float(multiplier), -shift)) / ratio))
    factors = (meaning.scale[0], alpha)
    expect_scale(scope, "leaky_relu", node.inputs[5:7], factors, output.scale[0])
    ending = Ending(scope, node.outputs[0], limits(scope, node), fuses=False)
    chosen = options("LeakyReluOptions", alpha=alpha)
    source = scope.index(required(node.inputs[0]))
    scope.operator("LEAKY_RELU", [source], [ending.target], chosen, 2)
    ending.finish()


def _parts(
    scope: Scope,
    node: ir.Node,
    meaning: TensorQuantization,
    slopes: TensorQuantization,
    output: TensorQuantization,
) -> None:
    """int16 has no PRELU: ``RELU(x) + MINIMUM(x, 0) * slope``, all on the output's scale.

    One summand is always zero, and a sum of equal scales is exact, so this is the same.
    """
    require_rounding(scope, node, "relu", meaning.dtype)
    require_rounding(scope, node, "mul", meaning.dtype)
    factors = (meaning.scale[0], slopes.scale[0])
    expect_scale(scope, "relu", node.inputs[3:5], factors[:1], output.scale[0])
    expect_scale(scope, "mul", node.inputs[5:7], factors, output.scale[0])
    source, value = required(node.inputs[0]), node.outputs[0]
    data, shape = scope.index(source), scope.shape(value)
    above, below, sloped = (
        scope.intermediate(f"{value.name}_{part}", shape, of, "int16")
        for part, of in (("above", output), ("below", meaning), ("sloped", output))
    )
    scope.operator("RELU", [data], [above], None, 3)
    zero = scope.constant("zero", np.zeros((1,) * len(shape), np.int16), meaning)
    scope.operator("MINIMUM", [data, zero], [below], options("MaximumMinimumOptions"), 4)
    codes = scope.numbers(node.inputs[2]).astype(np.int16)
    wide = TensorQuantization("int16", slopes.scale, slopes.zero_point)
    slope = scope.constant(f"{value.name}_slope", codes, wide)
    scope.operator("MUL", [below, slope], [sloped], options("MulOptions"), 4)
    ending = Ending(scope, value, limits(scope, node))
    chosen = options("AddOptions", fusedActivationFunction=ending.activation, potScaleInt16=False)
    scope.operator("ADD", [above, sloped], [ending.target], chosen, 3)
    ending.finish()


EMITTERS: dict[str, Emitter] = dict.fromkeys(("PReluDouble", "PReluSingle"), _prelu)
