"""ADD and SUB of int8 as sums of whole multiples, where that gives the same for all pairs.

The functions bring both operands to a scale of 20 bits below the point, which takes factors of 31
bits. Adders of NPUs multiply what they read by 16-bit integers. The ratio of the two scales is
therefore written as a fraction of such integers: the best one is off by less than the square of its
denominator, far less than what lies between two results. That every pair of int8 gives the very
same result is tried out; where some pair does not, the sum takes the long way of
:mod:`intaglio.targets.tosa.emitters.arithmetic`.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.targets.integer_graph import required
from intaglio.targets.tosa.emitters.arithmetic import Operand, emit_sum
from intaglio.targets.tosa.emitters.common import Stage, as_rank, finish, stage_of
from intaglio.targets.tosa.scope import Emitter, Scope
from intaglio.transforms.fixed_point import rescale_double, rescale_single

#: Largest factor of an operand.
_LARGEST = (1 << 15) - 1
#: Shift that belongs to a factor: RESCALE has none below 2, and centered int8 are below 2^14.
_SHIFT = 15
#: Largest denominators of the fractions that are tried; coarser ones meet ties more often.
_BOUNDS = (_LARGEST, 1 << 11, 1 << 7)
_LEAST_SHIFT, _MOST_SHIFT = 2, 62

_CODES = np.arange(-128, 128, dtype=np.int64)


class WholeSum(NamedTuple):
    """A sum of whole multiples: ``rescale(first * a + second * b)``.

    Attributes:
        first: Factor of the first operand, less its zero point.
        second: Factor of the second.
        multiplier: Of the sum, in Q31.
        shift: Its total right shifts.
        double: Whether it rounds twice.
    """

    first: int
    second: int
    multiplier: int
    shift: int
    double: bool


def whole_sum(first: Operand, second: Operand, sign: int, stage: Stage) -> WholeSum | None:
    """The sum of whole multiples that is the function, None where none was found.

    Args:
        first: First operand.
        second: Second operand.
        sign: 1 for their sum, -1 for their difference.
        stage: How the function rescales what it adds, and rounds throughout.
    """
    wanted = _stepped(_on_fine_scale(first, stage), _on_fine_scale(second, stage), sign, stage)
    if not (first.multiplier and second.multiplier and int(stage.multiplier[0])):
        return None
    for one, other in _fractions(_factor(first) / _factor(second)):
        real = Fraction(int(stage.multiplier[0]), 1 << int(stage.shift[0])) * _factor(first) / one
        multiplier, shift = _fixed(real)
        if not _LEAST_SHIFT <= shift <= _MOST_SHIFT:
            continue
        multiples = [(_CODES - first.zero_point) * one, (_CODES - second.zero_point) * other]
        if max(int(np.abs(m).max()) for m in multiples) * 2 >= 1 << (shift - 1):
            continue
        for double in (False, True):
            tried = _stage(multiplier, shift, stage, double)
            if np.array_equal(_stepped(multiples[0], multiples[1], sign, tried), wanted):
                return WholeSum(one, other, multiplier, shift, double)
    return None


def _factor(operand: Operand) -> Fraction:
    """What an operand less its zero point is multiplied by."""
    return Fraction(operand.multiplier << operand.left, 1 << operand.shift)


def _on_fine_scale(operand: Operand, stage: Stage) -> NDArray[np.int64]:
    """What the function makes of each int8 from -128 up before it adds."""
    rescale = rescale_double if stage.double else rescale_single
    data = (_CODES - operand.zero_point) << operand.left
    return np.asarray(rescale(data, operand.multiplier, operand.shift), np.int64)


def _stepped(
    first: NDArray[np.int64], second: NDArray[np.int64], sign: int, stage: Stage
) -> NDArray[np.int64]:
    """The rescaled sum of all pairs: [256, 256]."""
    rescale = rescale_double if stage.double else rescale_single
    total = first[:, None] + sign * second[None]
    found = rescale(total, int(stage.multiplier[0]), int(stage.shift[0])) + stage.zero_point
    return np.asarray(np.clip(found, *stage.limits), np.int64)


def _stage(multiplier: int, shift: int, stage: Stage, double: bool) -> Stage:
    """A rescale with the ends of another."""
    factor, places = np.array([multiplier]), np.array([shift])
    return Stage(factor, places, stage.zero_point, stage.limits, double)


def _fractions(ratio: Fraction) -> Iterator[tuple[int, int]]:
    """The best 16-bit fractions near a ratio, with both sides as large as they can be."""
    for bound in _BOUNDS:
        near = ratio if ratio <= 1 else 1 / ratio
        small = near.limit_denominator(bound)
        if small:
            times = _LARGEST // small.denominator
            pair = (small.numerator * times, small.denominator * times)
            yield pair if ratio <= 1 else pair[::-1]


def _fixed(real: Fraction) -> tuple[int, int]:
    """A positive scale as a multiplier in [2^30, 2^31) and a total right shift."""
    shift = 30 - (real.numerator.bit_length() - real.denominator.bit_length())
    multiplier = round(real * Fraction(2) ** shift)
    while multiplier >= 1 << 31:
        shift -= 1
        multiplier = round(real * Fraction(2) ** shift)
    while multiplier < 1 << 30:
        shift += 1
        multiplier = round(real * Fraction(2) ** shift)
    return multiplier, shift


def aligned(scope: Scope, value: ir.Value, rank: int) -> tuple[str, tuple[int, ...]]:
    """An int8 operand with ones in front of its shape, and that shape; constants are written so."""
    shape = scope.shape(value)
    full = (1,) * (rank - len(shape)) + shape
    array = scope.array(value)
    if array is not None and len(shape) < rank:
        return scope.constant(str(value.name), array.reshape(full)), full
    return as_rank(scope, scope.name(value), shape, rank, "int8"), full


def _sum(scope: Scope, node: ir.Node) -> None:
    stage = stage_of(scope, node)
    left = scope.number(node.inputs[4])
    first, second = (
        Operand(
            scope.number(node.inputs[2 + place]),
            left,
            scope.number(node.inputs[5 + 2 * place]),
            scope.number(node.inputs[6 + 2 * place]),
        )
        for place in (0, 1)
    )
    adds = node.op_type.startswith("Add")
    found = whole_sum(first, second, 1 if adds else -1, stage)
    if found is None:
        emit_sum(scope, node)
        return
    value = node.outputs[0]
    rank = len(scope.shape(value))
    multiples = [
        _multiple(scope, required(node.inputs[place]), rank, operand.zero_point, factor)
        for place, (operand, factor) in enumerate(zip((first, second), found[:2], strict=True))
    ]
    total = scope.intermediate(f"{value.name}_sum", scope.shape(value), "int32")
    scope.operator("ADD" if adds else "SUB", multiples, total)
    finish(scope, total, value, _stage(found.multiplier, found.shift, stage, found.double))


def _multiple(scope: Scope, value: ir.Value, rank: int, zero_point: int, factor: int) -> str:
    """A whole multiple of an operand less its zero point."""
    name, shape = aligned(scope, value, rank)
    target = scope.intermediate(f"{name}_multiple", shape, "int32")
    return scope.rescale(
        name, target, dtypes=("int8", "int32"), zero_points=(zero_point, 0),
        multiplier=factor << _SHIFT, shift=_SHIFT,
    )  # fmt: skip


EMITTERS: dict[str, Emitter] = dict.fromkeys(
    ("AddDouble", "AddSingle", "SubDouble", "SubSingle"), _sum
)
