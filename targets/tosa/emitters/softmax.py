"""Softmax of int8, operator by operator: :mod:`intaglio.passes.dialect.softmax` in TOSA.

The exponentials are a GATHER from a table of int32, the reciprocal of their sum three steps of
Newton's rule in MULs of Q31. NPUs without GATHER leave it to the host.

RESCALE wants its input below ``2^(shift - 1)``, so what is large is shifted by other operators.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from intaglio.targets.integer_graph import required
from intaglio.targets.tosa.emitters.arithmetic import multiply
from intaglio.targets.tosa.emitters.common import reduced, widened
from intaglio.targets.tosa.emitters.tables import look_up
from intaglio.targets.tosa.scope import PROPAGATE, Emitter, Scope
from intaglio.targets.tosa.writer import Field

_SLOPE, _INTERCEPT, _UNIT = -1010580540, 1515870810, 1 << 29
_STEPS = 3
_LARGEST = 2**31 - 1


class _Rows:
    """Appends operators on int32 whose results have one of two shapes: all places, or a row each.

    Args:
        scope: The file.
        name: What intermediate results are called after.
        shape: Of all places.
        axis: Along which a row lies.
    """

    def __init__(self, scope: Scope, name: str, shape: tuple[int, ...], axis: int) -> None:
        self._scope, self._name = scope, name
        self.whole = shape
        self.row = tuple(1 if place == axis else size for place, size in enumerate(shape))

    def constant(self, number: int) -> str:
        """A number as a tensor of the same rank."""
        return self._scope.constant("number", np.full((1,) * len(self.whole), number), "int32")

    def target(self, word: str, whole: bool, dtype: str = "int32") -> str:
        """A tensor for a result."""
        shape = self.whole if whole else self.row
        return self._scope.intermediate(f"{self._name}_{word}", shape, dtype)

    def op(
        self,
        operator: str,
        inputs: list[str],
        *,
        whole: bool = False,
        fields: tuple[Field, ...] = (),
    ) -> str:
        """Appends an operator."""
        target = self.target(operator.lower(), whole)
        return self._scope.operator(operator, inputs, target, fields)

    def times(self, first: str, second: str, *, whole: bool = False) -> str:
        """Appends the product of two numbers in Q31, rounded."""
        return multiply(self._scope, first, second, self.target("product", whole), 31)

    def right(self, data: str, places: str, *, rounds: bool) -> str:
        """Appends a right shift of all places."""
        fields = (Field(0, "bool", rounds),)
        return self.op("ARITHMETIC_RIGHT_SHIFT", [data, places], whole=True, fields=fields)


def _softmax(scope: Scope, node: ir.Node) -> None:
    source, value = required(node.inputs[0]), node.outputs[0]
    shape = scope.shape(source)
    axis = node.attributes.get_int("axis", -1) % len(shape)
    rows = _Rows(scope, str(value.name), shape, axis)
    table = scope.numbers(node.inputs[1]).astype(np.int32)
    wide = widened(scope, scope.name(source), shape, 0)
    peak = reduced(scope, "REDUCE_MAX", wide, shape, axis, "int32")
    difference = rows.op("SUB", [peak, wide], whole=True)
    exponential = look_up(scope, difference, shape, table, rows.target("exponential", True))
    term = rows.right(exponential, rows.constant(12), rounds=True)
    total = reduced(scope, "REDUCE_SUM", term, shape, axis, "int32")
    # The sum shifted left until its bit 30 is set: 11 less the bits that it has over one.
    headroom = rows.op("SUB", [rows.op("CLZ", [total]), rows.constant(1)])
    reciprocal = _reciprocal(rows, rows.op("LOGICAL_LEFT_SHIFT", [total, headroom]), scope)
    probability = rows.times(exponential, reciprocal, whole=True)
    # (p + 2^(s - 1)) >> s with s = 23 + the bits over one = 34 - headroom: by s - 1, at most 31
    # since p is below 2^31, and by one more, which rounds.
    places = rows.op("SUB", [rows.constant(33), headroom])
    bounded = rows.op("MINIMUM", [places, rows.constant(31)], fields=(Field(0, "enum", PROPAGATE),))
    floor = rows.right(probability, bounded, rounds=False)
    code = rows.right(floor, rows.constant(1), rounds=True)
    scope.rescale(code, scope.result(value), dtypes=("int32", "int8"), zero_points=(0, -128))


def _reciprocal(rows: _Rows, half: str, scope: Scope) -> str:
    """1 / x in Q31 for x in [1, 2), of which half is given."""
    estimate = rows.op("ADD", [rows.constant(_INTERCEPT), rows.times(half, rows.constant(_SLOPE))])
    for _ in range(_STEPS):
        error = rows.op("SUB", [rows.constant(_UNIT), rows.times(half, estimate)])
        quarter = rows.times(estimate, error)
        step = rows.op("LOGICAL_LEFT_SHIFT", [quarter, rows.constant(2)])
        estimate = rows.op("ADD", [estimate, step])
    # Twice that, saturated.
    most = rows.constant((1 << 30) - 1)
    bounded = rows.op("MINIMUM", [estimate, most], fields=(Field(0, "enum", PROPAGATE),))
    doubled = rows.op("LOGICAL_LEFT_SHIFT", [bounded, rows.constant(1)])
    above = scope.operator("GREATER", [estimate, most], rows.target("above", False, "bool"))
    return rows.op("SELECT", [above, rows.constant(_LARGEST), doubled])


EMITTERS: dict[str, Emitter] = {"SoftmaxInteger": _softmax}
