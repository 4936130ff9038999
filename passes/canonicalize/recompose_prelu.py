"""PRelu (and LeakyRelu) put together from what exporters make of it.

With s the slope of the negative side:

* ``Relu(x) + a * (x - |x|)``: for x < 0 the second term is ``2 a x``, so ``s = 2 a``. tf2onnx
  writes ``0.5 * alpha`` as one constant or as a factor of its own.
* ``Relu(x) + a * Relu(-x)``: ``s = -a``. ``Relu(x) - a * Relu(-x)``: ``s = a``.
* ``Relu(x) + a * Min(x, 0)``: ``s = a``.

Slopes become ``[C, 1, ...]``, channels of axis 1; one single number makes a LeakyRelu.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.base import EXACT, Change, Outcome, Pass, Semantics, outcome
from intaglio.passes.canonicalize.editing import (
    add_constant,
    constant,
    dims,
    drop_unused_constants,
    is_standard,
    make_node,
    rank,
    scalar,
)
from intaglio.passes.provenance import source_name
from intaglio.passes.rewriting import LocalRule, apply_rules, splice


class RecomposePRelu(Pass):
    """Finds PRelu in its parts."""

    name: ClassVar[str] = "canonicalize.recompose_prelu"
    semantics: ClassVar[Semantics] = EXACT

    def call(self, model: ir.Model) -> Outcome:
        """Recomposes every PRelu, and brings slopes to one shape."""
        changes, skips = apply_rules(model, [rule() for rule in _RULES])
        changes += _normalize_slopes(model.graph)
        drop_unused_constants(model.graph)
        return outcome(model, changes, skips)


class _PReluRule(LocalRule):
    """Base: ``slope`` gives the negative side's slope from the constants of the match."""

    kind: ClassVar[str] = "recompose_prelu"
    root: str = "Add"
    parts: ClassVar[tuple[str, ...]] = ("Relu", "Mul")
    factor: ClassVar[float]

    def slope(self, found: dict[str, ir.Value]) -> NDArray[np.float64] | None:
        """Product of all constants bound to names that begin with ``a``, and the factor."""
        product = np.asarray(self.factor, np.float64)
        for name, value in found.items():
            if name.startswith("a"):
                array = constant(value)
                if array is None or array.dtype.kind != "f":
                    return None
                product = product * array.astype(np.float64)
        return product

    def check(self, found: dict[str, ir.Value]) -> str | None:
        """Needs a constant slope that does not enlarge x."""
        zero = found.get("zero")
        if zero is not None and scalar(zero) != 0.0:
            return ""
        minus = found.get("minus")
        if minus is not None and scalar(minus) != -1.0:
            return ""
        slope = self.slope(found)
        if slope is None:
            return ""
        if _fitted(slope, found["x"]) is None:
            return "the slope would broadcast the input to a larger shape"
        return None

    def rewrite(
        self, graph: ir.Graph, output: ir.Value, found: dict[str, ir.Value]
    ) -> list[ir.Node]:
        """One PRelu or LeakyRelu."""
        slope = self.slope(found)
        producer = output.producer()
        name = str(producer.name if producer is not None else output.name)
        fitted = None if slope is None else _fitted(slope, found["x"])
        if fitted is None:
            raise ValueError("rewrite without a successful check")
        return [_activation(graph, found["x"], output, fitted, name)]


class _AbsProduct(_PReluRule):
    parts = ("Relu", "Abs", "Sub", "Mul")
    factor = 2.0

    def pattern(self, op: Any, x: Any, a: Any) -> Any:
        return op.Relu(x) + op.Mul(op.Sub(x, op.Abs(x)), a)


class _AbsTwoFactors(_PReluRule):
    parts = ("Relu", "Abs", "Sub", "Mul")
    factor = 2.0

    def pattern(self, op: Any, x: Any, a: Any, a_half: Any) -> Any:
        return op.Relu(x) + op.Mul(op.Mul(op.Sub(x, op.Abs(x)), a), a_half)


class _NegatedRelu(_PReluRule):
    parts = ("Relu", "Neg", "Mul")
    factor = -1.0

    def pattern(self, op: Any, x: Any, a: Any) -> Any:
        return op.Relu(x) + op.Mul(op.Relu(op.Neg(x)), a)


class _NegatedReluByProduct(_PReluRule):
    factor = -1.0

    def pattern(self, op: Any, x: Any, a: Any, minus: Any) -> Any:
        return op.Relu(x) + op.Mul(op.Relu(op.Mul(x, minus)), a)


class _SubtractedRelu(_PReluRule):
    root = "Sub"
    parts = ("Relu", "Neg", "Mul")
    factor = 1.0

    def pattern(self, op: Any, x: Any, a: Any) -> Any:
        return op.Sub(op.Relu(x), op.Mul(op.Relu(op.Neg(x)), a))


class _MinProduct(_PReluRule):
    parts = ("Relu", "Min", "Mul")
    factor = 1.0

    def pattern(self, op: Any, x: Any, a: Any, zero: Any) -> Any:
        return op.Relu(x) + op.Mul(op.Min(x, zero), a)


_RULES: tuple[type[_PReluRule], ...] = (
    _AbsProduct,
    _AbsTwoFactors,
    _NegatedRelu,
    _NegatedReluByProduct,
    _SubtractedRelu,
    _MinProduct,
)


def _fitted(slope: NDArray[np.float64], value: ir.Value) -> NDArray[np.float64] | None:
    """The slope without leading ones, per channel where it can be; None if it does not fit."""
    axes, shape = rank(value), dims(value)
    if slope.size == 1:
        return slope.reshape(())
    if axes is None or shape is None or slope.ndim > axes:
        return None
    full = (1,) * (axes - slope.ndim) + slope.shape
    if any(dim not in (1, known) for dim, known in zip(full, shape, strict=True)):
        return None
    first = next(axis for axis, dim in enumerate(full) if dim != 1)
    return slope.reshape(full[first:])


def _activation(
    graph: ir.Graph, value: ir.Value, output: ir.Value, slope: NDArray[np.float64], name: str
) -> ir.Node:
    if slope.ndim == 0:
        return make_node(
            "LeakyRelu", [value], output, name=name, attributes={"alpha": float(slope)}
        )
    parameter = add_constant(graph, f"{name}_slope", slope.astype(np.float32))
    return make_node("PRelu", [value, parameter], output, name=name)


def _normalize_slopes(graph: ir.Graph) -> list[Change]:
    """Existing PRelu: slope without leading ones; LeakyRelu where it is one number."""
    changes = []
    for node in list(graph):
        if not is_standard(node, "PRelu") or node.inputs[0] is None:
            continue
        slope = constant(node.inputs[1])
        if slope is None or slope.dtype.kind != "f":
            continue
        fitted = _fitted(slope.astype(np.float64), node.inputs[0])
        if fitted is None or (fitted.ndim > 0 and fitted.shape == slope.shape):
            continue
        name, before = source_name(node), f"PRelu {list(slope.shape)}"
        new = _activation(graph, node.inputs[0], node.outputs[0], fitted, str(node.name))
        splice(graph, node, [node], [new])
        changes.append(
            Change("normalize_slope", name, before, f"{new.op_type} {list(fitted.shape)}")
        )
    return changes


__all__ = ["RecomposePRelu"]
