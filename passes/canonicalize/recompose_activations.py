"""HardSigmoid, HardSwish and Gelu put together from what exporters make of them.

* HardSigmoid: ``Clip(x + 3, 0, 6) / 6`` is ``max(0, min(1, x / 6 + 1 / 2))``.
* HardSwish: ``x * HardSigmoid(x)`` with those constants; the division may also come last.
* Gelu: ``x / 2 * (1 + erf(x / sqrt(2)))``, in any order of the three factors.
* Gelu, tanh form: ``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))``.

Constants count as equal within a relative 1e-4: exporters round them to float16 and back.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import onnx_ir as ir

from intaglio.passes.canonicalize.editing import make_node, number, scalar
from intaglio.passes.rewriting import LocalRule

_TOLERANCE = 1e-4


def activation_rules() -> list[LocalRule]:
    """Fresh instances of every rule, in the order in which to try them."""
    rules: list[LocalRule] = [
        _HardSwishFromClip(False),
        _HardSwishFromClip(True),
        _HardSigmoidFromClip(False),
        _HardSigmoidFromClip(True),
        _HardSwishFromHardSigmoid(),
    ]
    rules += [_ErfGelu(order, divide) for order, divide in itertools.product(range(3), (0, 1))]
    rules += [_TanhGelu(order, power) for order, power in itertools.product(range(3), (0, 1))]
    return rules


class _Activation(LocalRule):
    """Base: compares the constants of a match with what they must be."""

    expected: Mapping[str, float]

    def check(self, found: dict[str, ir.Value]) -> str | None:
        """Every named constant must have its value."""
        numbers = {name: scalar(found.get(name)) for name in self.expected}
        if any(value is None for value in numbers.values()):
            # Another operand order, or constants that are no single numbers: no near miss.
            return ""
        for name, wanted in self.expected.items():
            value = numbers[name]
            if value is None or not math.isclose(value, wanted, rel_tol=_TOLERANCE, abs_tol=1e-6):
                return f"{name} is {value:g}, not {wanted:g}"
        return None

    def _single(
        self, output: ir.Value, found: dict[str, ir.Value], op_type: str, **attributes: Any
    ) -> list[ir.Node]:
        producer = output.producer()
        name = str(producer.name if producer is not None else output.name)
        return [make_node(op_type, [found["x"]], output, name=name, attributes=attributes)]


class _HardSigmoidFromClip(_Activation):
    """``Clip(x + 3, 0, 6) / 6``, or times 1/6."""

    kind: ClassVar[str] = "recompose_hard_sigmoid"
    parts: ClassVar[tuple[str, ...]] = ("Clip", "Add")

    def __init__(self, multiply: bool) -> None:
        self.root = "Mul" if multiply else "Div"
        self.multiply = multiply
        self.expected = _hard_constants(multiply)

    def pattern(self, op: Any, x: Any, bias: Any, low: Any, high: Any, sixth: Any) -> Any:
        clipped = op.Clip(x + bias, low, high)
        return op.Mul(clipped, sixth) if self.multiply else op.Div(clipped, sixth)

    def rewrite(
        self, graph: ir.Graph, output: ir.Value, found: dict[str, ir.Value]
    ) -> list[ir.Node]:
        """One HardSigmoid with alpha 1/6 and beta 1/2."""
        return self._single(output, found, "HardSigmoid", alpha=1 / 6, beta=0.5)


class _HardSwishFromClip(_Activation):
    """``x * Clip(x + 3, 0, 6) / 6`` with the division last."""

    kind: ClassVar[str] = "recompose_hard_swish"
    parts: ClassVar[tuple[str, ...]] = ("Clip", "Add")

    def __init__(self, multiply: bool) -> None:
        self.root = "Mul" if multiply else "Div"
        self.multiply = multiply
        self.expected = _hard_constants(multiply)

    def pattern(self, op: Any, x: Any, bias: Any, low: Any, high: Any, sixth: Any) -> Any:
        product = op.Clip(x + bias, low, high) * x
        return op.Mul(product, sixth) if self.multiply else op.Div(product, sixth)

    def rewrite(
        self, graph: ir.Graph, output: ir.Value, found: dict[str, ir.Value]
    ) -> list[ir.Node]:
        """One HardSwish."""
        return self._single(output, found, "HardSwish")


class _HardSwishFromHardSigmoid(_Activation):
    """``x * HardSigmoid(x)`` with alpha 1/6 and beta 1/2."""

    kind: ClassVar[str] = "recompose_hard_swish"
    root: str = "Mul"
    parts: ClassVar[tuple[str, ...]] = ("HardSigmoid",)

    def pattern(self, op: Any, x: Any) -> Any:
        gate = op.HardSigmoid(x, _allow_other_attributes=True, _outputs=["gate"])
        return gate * x

    def check(self, found: dict[str, ir.Value]) -> str | None:
        """Alpha and beta must be HardSwish's."""
        gate = found["gate"].producer()
        if gate is None:
            return ""
        alpha, beta = number(gate, "alpha", 0.2), number(gate, "beta", 0.5)
        if not math.isclose(alpha, 1 / 6, rel_tol=_TOLERANCE) or beta != 0.5:
            return f"alpha and beta are {alpha:g} and {beta:g}, not 1/6 and 1/2"
        return None

    def rewrite(
        self, graph: ir.Graph, output: ir.Value, found: dict[str, ir.Value]
    ) -> list[ir.Node]:
        """One HardSwish."""
        return self._single(output, found, "HardSwish")


def _hard_constants(multiply: bool) -> dict[str, float]:
    return {"bias": 3.0, "low": 0.0, "high": 6.0, "sixth": 1 / 6 if multiply else 6.0}


def _halved(op: Any, x: Any, gate: Any, half: Any, order: int) -> Any:
    """``x * gate * half`` in the three orders in which two Mul can stand."""
    if order == 0:
        return (x * gate) * half
    if order == 1:
        return (x * half) * gate
    return x * (gate * half)


class _ErfGelu(_Activation):
    """Gelu by the error function."""

    kind: ClassVar[str] = "recompose_gelu"
    root: str = "Mul"
    parts: ClassVar[tuple[str, ...]] = ("Erf", "Add")

    def __init__(self, order: int, divide: int) -> None:
        self.order, self.divide = order, divide
        root = math.sqrt(2.0) if divide else math.sqrt(0.5)
        self.expected = {"root": root, "one": 1.0, "half": 0.5}

    def pattern(self, op: Any, x: Any, root: Any, one: Any, half: Any) -> Any:
        inner = op.Div(x, root) if self.divide else x * root
        return _halved(op, x, op.Erf(inner) + one, half, self.order)

    def rewrite(
        self, graph: ir.Graph, output: ir.Value, found: dict[str, ir.Value]
    ) -> list[ir.Node]:
        """One Gelu."""
        return self._single(output, found, "Gelu")


class _TanhGelu(_Activation):
    """Gelu by the hyperbolic tangent."""

    kind: ClassVar[str] = "recompose_gelu"
    root: str = "Mul"
    parts: ClassVar[tuple[str, ...]] = ("Tanh", "Add")

    def __init__(self, order: int, power: int) -> None:
        self.order, self.power = order, power
        self.expected = {
            "root": math.sqrt(2.0 / math.pi),
            "small": 0.044715,
            "one": 1.0,
            "half": 0.5,
            **({"three": 3.0} if power else {}),
        }

    def pattern(
        self, op: Any, x: Any, root: Any, small: Any, one: Any, half: Any, three: Any
    ) -> Any:
        cube = op.Pow(x, three) if self.power else (x * x) * x
        inner = (x + cube * small) * root
        return _halved(op, x, op.Tanh(inner) + one, half, self.order)

    def rewrite(
        self, graph: ir.Graph, output: ir.Value, found: dict[str, ir.Value]
    ) -> list[ir.Node]:
        """One Gelu with ``approximate="tanh"``."""
        return self._single(output, found, "Gelu", approximate="tanh")
