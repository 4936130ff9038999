"""ADD, SUB, MUL, MAXIMUM and MINIMUM: int32 between rescales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.targets.integer_graph import required
from intaglio.targets.tosa.emitters.common import (
    Stage,
    as_rank,
    finish,
    rounds_twice,
    stage_of,
    widened,
)
from intaglio.targets.tosa.scope import PROPAGATE, UNIT, Emitter, Scope
from intaglio.targets.tosa.writer import Field
from intaglio.transforms.fixed_point import rescale_double, rescale_single

#: What is added to a multiplier until both kinds of rounding give the same, nearest first.
_STEPS = (0, *(sign << bit for bit in range(18) for sign in (1, -1)))

#: Smallest shift of a RESCALE.
_LEAST_SHIFT = 2


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


def emit_sum(scope: Scope, node: ir.Node) -> None:
    """Both operands on one fine scale in int32, their sum, and back."""
    double = rounds_twice(node)
    left = scope.number(node.inputs[4])
    operands = [
        Operand(
            scope.number(node.inputs[2 + place]),
            left,
            scope.number(node.inputs[5 + 2 * place]),
            scope.number(node.inputs[6 + 2 * place]),
        )
        for place in (0, 1)
    ]
    stage = stage_of(scope, node)
    sign = 1 if node.op_type.startswith("Add") else -1
    equal = once_rounded(operands, sign, stage) if double else None
    if equal is not None:
        double, stage = False, equal
    names, shapes = _operands(scope, node)
    scaled = [
        _scaled(scope, name, shape, operand, double)
        for name, shape, operand in zip(names, shapes, operands, strict=True)
    ]
    value = node.outputs[0]
    total = scope.intermediate(f"{value.name}_sum", scope.shape(value), "int32")
    scope.operator("ADD" if sign > 0 else "SUB", scaled, total)
    reach = sum(int(np.abs(operand.scaled(double)).max()) for operand in operands)
    finish(scope, total, value, stage, reach=reach)


class Operand(NamedTuple):
    """How an operand of a sum is brought to the scale of both.

    Attributes:
        zero_point: Its zero point.
        left: Places that it is shifted left by, first.
        multiplier: In Q31.
        shift: Total right shifts.
    """

    zero_point: int
    left: int
    multiplier: int
    shift: int

    def scaled(self, double: bool) -> NDArray[np.int64]:
        """What each int8 from -128 up becomes."""
        x = np.arange(-128, 128, dtype=np.int64) - self.zero_point
        if double:
            return rescale_double(x << self.left, self.multiplier, self.shift)
        return rescale_single(x, self.multiplier, self.shift - self.left)


def once_rounded(operands: Sequence[Operand], sign: int, stage: Stage) -> Stage | None:
    """A rescale with single rounding that gives the same result for all 65,536 pairs of int8.

    Single rounding takes one RESCALE for each operand, and NPUs have it in their adder. The two
    kinds of rounding differ in few sums, near ties; another multiplier decides these the other way.

    Args:
        operands: Both operands.
        sign: 1 for their sum, -1 for their difference.
        stage: How the sum is rescaled.

    Returns:
        The rescale, or None where none was found.
    """
    if any(operand.shift - operand.left < _LEAST_SHIFT for operand in operands):
        return None
    twice, once = (
        first[:, None] + sign * second[None]
        for first, second in ([o.scaled(double) for o in operands] for double in (True, False))
    )
    return _equal_once_rounded(twice, once, stage)


def _equal_once_rounded(
    twice: NDArray[np.int64], once: NDArray[np.int64], stage: Stage
) -> Stage | None:
    """A single rounding of ``once`` that equals the double rounding of ``twice``."""
    low, high = (limit - stage.zero_point for limit in stage.limits)
    factor, shift = int(stage.multiplier[0]), int(stage.shift[0])
    wanted = np.clip(rescale_double(twice, factor, shift), low, high)
    for step in _STEPS:
        if 0 <= factor + step < 1 << 31:
            found = np.clip(rescale_single(once, factor + step, shift), low, high)
            if np.array_equal(found, wanted):
                return stage._replace(multiplier=np.array([factor + step]), double=False)
    return None


def _scaled(scope: Scope, name: str, shape: Sequence[int], operand: Operand, double: bool) -> str:
    """(x - zero point) << left, rescaled: in one RESCALE where it rounds once."""
    target = scope.intermediate(f"{name}_scaled", shape, "int32")
    point, left, factor, shift = operand
    if not double and shift - left >= _LEAST_SHIFT:
        return scope.rescale(
            name, target, dtypes=("int8", "int32"), zero_points=(point, 0),
            multiplier=factor, shift=shift - left,
        )  # fmt: skip
    shifted = scope.intermediate(f"{name}_shifted", shape, "int32")
    scope.rescale(
        name, shifted, dtypes=("int8", "int32"), zero_points=(point, 0),
        multiplier=UNIT[0], shift=UNIT[1] - left,
    )  # fmt: skip
    return scope.rescale(
        shifted, target, dtypes=("int32", "int32"), multiplier=factor, shift=shift, double=double
    )


def _product(scope: Scope, node: ir.Node) -> None:
    names, shapes = _operands(scope, node)
    wide = [
        widened(scope, name, shape, scope.number(node.inputs[2 + place]))
        for place, (name, shape) in enumerate(zip(names, shapes, strict=True))
    ]
    value = node.outputs[0]
    product = scope.intermediate(f"{value.name}_product", scope.shape(value), "int32")
    multiply(scope, wide[0], wide[1], product)
    stage = stage_of(scope, node)
    if stage.double:
        points = (scope.number(node.inputs[2]), scope.number(node.inputs[3]))
        first, second = (np.arange(-128, 128, dtype=np.int64) - point for point in points)
        products = np.unique(first[:, None] * second[None])
        stage = _equal_once_rounded(products, products, stage) or stage
    finish(scope, product, value, stage, reach=255**2)


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


EMITTERS: dict[str, Emitter] = {
    **dict.fromkeys(("MulDouble", "MulSingle"), _product),
    **dict.fromkeys(("MaxInteger", "MinInteger", "Max", "Min"), _extreme),
}
