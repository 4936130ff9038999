"""ADD, SUB, MUL, MAXIMUM, MINIMUM and ABS of 16 bits."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from intaglio.errors import InternalError
from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.tflite.emitters.activations import Ending
from intaglio.targets.tflite.emitters.convolutions import limits
from intaglio.targets.tflite.emitters.multipliers import (
    expect_equal,
    expect_multiplier,
    expect_scale,
    expect_zero_point,
    require_rounding,
)
from intaglio.targets.tflite.emitters.options import options
from intaglio.targets.tflite.emitters.scope import Emitter, Scope, required
from intaglio.transforms.scales import TensorQuantization

_SAME_WIDTH = "give its inputs and its output the same width"


def _operands(scope: Scope, node: ir.Node) -> tuple[TensorQuantization, ...]:
    """Quantizations of both operands and of the result, all of one width."""
    values = (required(node.inputs[0]), required(node.inputs[1]), node.outputs[0])
    found = tuple(scope.quantization(value) for value in values)
    if len({meaning.dtype for meaning in found}) > 1:
        widths = ", ".join(meaning.dtype for meaning in found)
        raise RefusedError(f"TFLite has no kernel of mixed widths ({widths})", _SAME_WIDTH)
    for zero_point, meaning in zip((*node.inputs[2:4], node.inputs[-3]), found, strict=True):
        expect_zero_point(scope, zero_point, meaning)
    return found


def _sum(scope: Scope, node: ir.Node) -> None:
    """ADD and SUB: both operands on one fine scale."""
    first, second, output = _operands(scope, node)
    require_rounding(scope, node, "add", output.dtype)
    wide = output.dtype == "int16"
    shift = 15 if wide else 20
    if scope.number(node.inputs[4]) != shift:
        raise InternalError(f"'{node.name}' shifts by {scope.number(node.inputs[4])}")
    twice = 2.0 * max(first.scale[0], second.scale[0])
    expect_multiplier(scope, node.inputs[5], node.inputs[6], first.scale[0] / twice)
    expect_multiplier(scope, node.inputs[7], node.inputs[8], second.scale[0] / twice)
    real = twice / (2.0**shift * output.scale[0])
    expect_multiplier(scope, node.inputs[9], node.inputs[10], real)
    ending = Ending(scope, node.outputs[0], limits(scope, node))
    name = "ADD" if node.op_type.startswith("Add") else "SUB"
    # Scales of int16 that are no powers of two came later than those that are.
    version = (3 if name == "ADD" else 5) if wide else 2
    if name == "SUB" and not wide and _broadcasts_far(scope, node):
        version = 3
    chosen = options(
        f"{name.capitalize()}Options",
        fusedActivationFunction=ending.activation,
        potScaleInt16=not wide,
    )
    _binary(scope, node, name, chosen, version, ending)


def _product(scope: Scope, node: ir.Node) -> None:
    """MUL: one rescale of the product."""
    first, second, output = _operands(scope, node)
    require_rounding(scope, node, "mul", output.dtype)
    factors = (first.scale[0], second.scale[0])
    expect_scale(scope, "mul", node.inputs[4:6], factors, output.scale[0])
    ending = Ending(scope, node.outputs[0], limits(scope, node))
    version = (
        4 if output.dtype == "int16" else 3 if factors[0] * factors[1] >= output.scale[0] else 2
    )
    chosen = options("MulOptions", fusedActivationFunction=ending.activation)
    _binary(scope, node, "MUL", chosen, version, ending)


def _binary(
    scope: Scope, node: ir.Node, name: str, chosen: object, version: int, ending: Ending
) -> None:
    inputs = [scope.index(required(value)) for value in node.inputs[:2]]
    scope.operator(name, inputs, [ending.target], chosen, version)
    ending.finish()


def _broadcasts_far(scope: Scope, node: ir.Node) -> bool:
    shapes = [scope.shape(required(value)) for value in node.inputs[:2]]
    return shapes[0] != shapes[1] and max(map(len, shapes)) > 4


def _extreme(scope: Scope, node: ir.Node) -> None:
    """MAXIMUM and MINIMUM of tensors of one scale, two at a time."""
    value = node.outputs[0]
    meaning = scope.quantization(value)
    for operand in node.inputs:
        expect_equal(scope.quantization(required(operand)), meaning)
    name = "MAXIMUM" if node.op_type.startswith("Max") else "MINIMUM"
    shape = scope.shape(required(node.inputs[0]))
    current = scope.index(required(node.inputs[0]))
    for position, operand in enumerate(node.inputs[1:]):
        shape = tuple(np.broadcast_shapes(shape, scope.shape(required(operand))))
        last = position == len(node.inputs) - 2
        target = (
            scope.result(value)
            if last
            else scope.intermediate(f"{value.name}_{position}", shape, meaning, meaning.dtype)
        )
        version = 4 if meaning.dtype == "int16" else 3 if len(shape) > 4 else 2
        inputs = [current, scope.index(required(operand))]
        scope.operator(name, inputs, [target], options("MaximumMinimumOptions"), version)
        current = target


def _abs(scope: Scope, node: ir.Node) -> None:
    """int16 ABS; that of int8 is a table."""
    source, value = required(node.inputs[0]), node.outputs[0]
    meaning, output = scope.quantization(source), scope.quantization(value)
    require_rounding(scope, node, "abs", meaning.dtype)
    expect_zero_point(scope, node.inputs[-3], output)
    expect_scale(scope, "abs", node.inputs[1:3], meaning.scale, output.scale[0])
    if output.dtype != "int16":
        raise RefusedError("ABS has no kernel of mixed widths", _SAME_WIDTH)
    ending = Ending(scope, value, limits(scope, node), fuses=False)
    scope.operator("ABS", [scope.index(source)], [ending.target], options("AbsOptions"), 3)
    ending.finish()


EMITTERS: dict[str, Emitter] = {
    **dict.fromkeys(("AddDouble", "AddSingle", "SubDouble", "SubSingle"), _sum),
    **dict.fromkeys(("MulDouble", "MulSingle"), _product),
    **dict.fromkeys(("AbsDouble", "AbsSingle"), _abs),
    **dict.fromkeys(("MaxInteger", "MinInteger", "Max", "Min"), _extreme),
}
