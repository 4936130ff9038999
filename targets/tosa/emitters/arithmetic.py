"""ADD, SUB, MUL, MAXIMUM, MINIMUM and PRelu: int32 between rescales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.targets.integer_graph import required
from intaglio.targets.tosa.emitters.common import (
    as_rank,
    finish,
    rounds_twice,
    stage_of,
    widened,
)
from intaglio.targets.tosa.scope import PROPAGATE, UNIT, Emitter, Scope
from intaglio.targets.tosa.writer import Field
from intaglio.transforms.fixed_point import rescale_double, rescale_single


def _operands(scope: Scope, node: ir.Node) -> tuple[list[str], list[tuple[int, ...]]]:
    """Both operands with as many dimensions as the result."""
    rank = len(scope.shape(node.outputs[0]))
    names, shapes = [], []
    for operand in node.inputs[:2]:
        value = required(operand)
        shape = scope.shape(value)
        names.append(as_rank(scope, scope.name(value), shape, rank, "int8"))
        shapes.append((1,) * (rank - len(shape)) + shape)
    return names, shapes


def _sum(scope: Scope, node: ir.Node) -> None:
    double = rounds_twice(node)
    left = scope.number(node.inputs[4])
    names, shapes = _operands(scope, node)
    scaled = []
    for place, (name, shape) in enumerate(zip(names, shapes, strict=True)):
        point = scope.number(node.inputs[2 + place])
        factor = scope.number(node.inputs[5 + 2 * place])
        shift = scope.number(node.inputs[6 + 2 * place])
        scaled.append(_scaled(scope, name, shape, (point, left, factor, shift), double))
    value = node.outputs[0]
    total = scope.intermediate(f"{value.name}_sum", scope.shape(value), "int32")
    scope.operator("ADD" if node.op_type.startswith("Add") else "SUB", scaled, total)
    finish(scope, total, value, stage_of(scope, node))


def _scaled(
    scope: Scope,
    name: str,
    shape: Sequence[int],
    numbers: tuple[int, int, int, int],
    double: bool,
) -> str:
    """(x - zero point) << left, rescaled: in one RESCALE where that gives the same for all x."""
    point, left, factor, shift = numbers
    target = scope.intermediate(f"{name}_scaled", shape, "int32")
    if _is_one_step(numbers, double):
        return scope.rescale(
            name, target, dtypes=("int8", "int32"), zero_points=(point, 0),
            multiplier=factor, shift=shift - left, double=double,
        )  # fmt: skip
    shifted = scope.intermediate(f"{name}_shifted", shape, "int32")
    scope.rescale(
        name, shifted, dtypes=("int8", "int32"), zero_points=(point, 0),
        multiplier=UNIT[0], shift=UNIT[1] - left,
    )  # fmt: skip
    return scope.rescale(
        shifted, target, dtypes=("int32", "int32"), multiplier=factor, shift=shift, double=double
    )


def _is_one_step(numbers: tuple[int, int, int, int], double: bool) -> bool:
    point, left, factor, shift = numbers
    if shift - left < 2:
        return False
    x = np.arange(-128, 128, dtype=np.int64) - point
    rescale = rescale_double if double else rescale_single
    return np.array_equal(rescale(x << left, factor, shift), rescale(x, factor, shift - left))


def _product(scope: Scope, node: ir.Node) -> None:
    names, shapes = _operands(scope, node)
    wide = [
        widened(scope, name, shape, scope.number(node.inputs[2 + place]))
        for place, (name, shape) in enumerate(zip(names, shapes, strict=True))
    ]
    value = node.outputs[0]
    product = scope.intermediate(f"{value.name}_product", scope.shape(value), "int32")
    multiply(scope, wide[0], wide[1], product)
    finish(scope, product, value, stage_of(scope, node))


def multiply(scope: Scope, first: str, second: str, target: str, shift: int = 0) -> str:
    """Appends MUL of int32: ``(a * b + 2^(shift - 1)) >> shift``, or the product itself."""
    return scope.operator("MUL", [first, second, scope.constant("places", [shift], "int8")], target)


def _extreme(scope: Scope, node: ir.Node) -> None:
    """MAXIMUM and MINIMUM, which TOSA has for int32."""
    value = node.outputs[0]
    rank = len(scope.shape(value))
    operator = "MAXIMUM" if node.op_type.startswith("Max") else "MINIMUM"
    current, shape = "", (1,) * rank
    for place, operand in enumerate(map(required, node.inputs)):
        own = scope.shape(operand)
        full = (1,) * (rank - len(own)) + own
        name = as_rank(scope, scope.name(operand), own, rank, "int8")
        name = widened(scope, name, full, 0)
        shape = tuple(np.broadcast_shapes(shape, full))
        if place:
            target = scope.intermediate(f"{value.name}_{place}", shape, "int32")
            name = scope.operator(operator, [current, name], target, [Field(0, "enum", PROPAGATE)])
        current = name
    scope.rescale(current, scope.result(value), dtypes=("int32", "int8"))


def _prelu(scope: Scope, node: ir.Node) -> None:
    """Both branches in full, and SELECT."""
    slope = scope.numbers(node.inputs[2])
    source, value = required(node.inputs[0]), node.outputs[0]
    shape = scope.shape(source)
    double, limits = rounds_twice(node), stage_of(scope, node).limits
    zero_point = scope.number(node.inputs[-3])
    centered = widened(scope, scope.name(source), shape, scope.number(node.inputs[1]))
    factors = scope.constant(f"{value.name}_slope", _of_rank(slope, len(shape)), "int32")
    sloped = multiply(
        scope, centered, factors, scope.intermediate(f"{value.name}_sloped", shape, "int32")
    )
    branches = []
    for name, data, at in (("below", sloped, 5), ("above", centered, 3)):
        target = scope.intermediate(f"{value.name}_{name}", shape, "int8")
        scope.rescale(
            data, target, dtypes=("int32", "int8"), zero_points=(0, zero_point),
            multiplier=scope.number(node.inputs[at]), shift=scope.number(node.inputs[at + 1]),
            double=double,
        )  # fmt: skip
        branches.append(target)
    zero = scope.constant("zero", np.zeros((1,) * len(shape), np.int32))
    negative = scope.intermediate(f"{value.name}_negative", shape, "bool")
    scope.operator("GREATER", [zero, centered], negative)
    clamps = limits != (-128, 127)
    target = (
        scope.intermediate(f"{value.name}_chosen", shape, "int8") if clamps else scope.result(value)
    )
    scope.operator("SELECT", [negative, *branches], target)
    if clamps:
        scope.clamp(target, scope.result(value), "int8", *limits)


def _of_rank(array: NDArray[Any], rank: int) -> NDArray[Any]:
    return array.reshape((1,) * (rank - array.ndim) + array.shape)


EMITTERS: dict[str, Emitter] = {
    **dict.fromkeys(("AddDouble", "AddSingle", "SubDouble", "SubSingle"), _sum),
    **dict.fromkeys(("MulDouble", "MulSingle"), _product),
    **dict.fromkeys(("MaxInteger", "MinInteger", "Max", "Min"), _extreme),
    **dict.fromkeys(("PReluDouble", "PReluSingle"), _prelu),
}
