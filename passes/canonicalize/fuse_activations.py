"""Chains of bounds become one: Relu, Clip, Max and Min with a constant are intervals.

``Clip(x, a, b) = min(max(x, a), b)``; Relu is ``Clip(x, 0, inf)``, ``Max(x, c)`` and
``Min(x, c)`` have one bound. An interval behind an interval is the interval whose bounds are the
inner ones clipped by the outer: ``[clip(a; c, d), clip(b; c, d)]``. The result is written as Relu
where it is one, else as Clip.

``Max(x, a * x)`` with a in 0..1 is LeakyRelu (PRelu for a per channel); a LeakyRelu of slope 0 is
a Relu, of slope 1 nothing.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from intaglio.passes.base import EXACT, Change, Outcome, Pass, Semantics, Skip, outcome
from intaglio.passes.canonicalize.editing import (
    add_constant,
    bypass,
    constant,
    drop_unused_constants,
    is_standard,
    make_node,
    number,
    operand,
    rank,
    scalar,
)
from intaglio.passes.canonicalize.identities import same_shape
from intaglio.passes.operators import sole_consumer
from intaglio.passes.provenance import source_name
from intaglio.passes.rewriting import LocalRule, apply_rules, splice

_Interval = tuple[float, float]
_RELU: _Interval = (0.0, math.inf)


class FuseActivations(Pass):
    """Merges consecutive bounds."""

    name: ClassVar[str] = "canonicalize.fuse_activations"
    semantics: ClassVar[Semantics] = EXACT

    def call(self, model: ir.Model) -> Outcome:
        """Merges until nothing changes."""
        graph = model.graph
        changes, _ = apply_rules(model, [_LeakyFromMax()])
        while True:
            skips: list[Skip] = []
            count = len(changes)
            for node in list(graph):
                if node.graph is not None:
                    _simplify(graph, node, changes, skips)
            if len(changes) == count:
                break
        drop_unused_constants(graph)
        return outcome(model, changes, skips)


def _interval(node: ir.Node | None) -> tuple[ir.Value, _Interval] | None:
    """The data and the bounds of a node that clamps, else None."""
    if node is None or not is_standard(node, "Relu", "Clip", "Max", "Min"):
        return None
    source = node.inputs[0]
    if source is None or source.dtype != ir.DataType.FLOAT:
        return None
    if node.op_type == "Relu":
        return source, _RELU
    if node.op_type == "Clip":
        return _clip_interval(node, source)
    if len(node.inputs) != 2:
        return None
    for index in (0, 1):
        data, bound = node.inputs[index], scalar(node.inputs[1 - index])
        if data is None or bound is None or constant(data) is not None:
            continue
        if not same_shape(data, node.outputs[0]):
            return None
        return data, (bound, math.inf) if node.op_type == "Max" else (-math.inf, bound)
    return None


def _clip_interval(node: ir.Node, source: ir.Value) -> tuple[ir.Value, _Interval] | None:
    bounds = [-math.inf, math.inf]
    for index in (1, 2):
        if operand(node, index) is not None:
            bound = scalar(operand(node, index))
            if bound is None:
                return None
            bounds[index - 1] = bound
    # With crossed bounds, Clip gives the upper one everywhere.
    return source, (min(bounds[0], bounds[1]) if bounds[0] > bounds[1] else bounds[0], bounds[1])


def _crossed(node: ir.Node) -> bool:
    low, high = scalar(operand(node, 1)), scalar(operand(node, 2))
    return is_standard(node, "Clip") and low is not None and high is not None and low > high


def _simplify(graph: ir.Graph, node: ir.Node, changes: list[Change], skips: list[Skip]) -> None:
    if is_standard(node, "LeakyRelu"):
        _simplify_leaky(graph, node, changes)
        return
    outer = _interval(node)
    if outer is None or _crossed(node):
        return
    source, bounds = outer
    producer = source.producer()
    inner = _interval(producer)
    if inner is not None and producer is not None and not _crossed(producer):
        data, first = inner
        merged = (_clamp(first[0], bounds), _clamp(first[1], bounds))
        name = source_name(node)
        if merged == first:
            if bypass(node, source):
                changes.append(
                    Change("fuse_activations", name, node.op_type, "nothing", "bounded already")
                )
            return
        if sole_consumer(source) is None:
            skips.append(
                Skip(name, f"{node.op_type} stays: the {producer.op_type} before is used elsewhere")
            )
            return
        before = f"{producer.op_type} + {node.op_type}"
        new = _bounded(graph, data, node.outputs[0], merged, str(node.name))
        splice(graph, node, [producer, node], [new])
        changes.append(Change("fuse_activations", name, before, _shown(new, merged)))
        return
    plain = _plain_type(bounds)
    if node.op_type != plain:
        name, before = source_name(node), node.op_type
        new = _bounded(graph, source, node.outputs[0], bounds, str(node.name))
        splice(graph, node, [node], [new])
        changes.append(Change("fuse_activations", name, before, _shown(new, bounds)))


def _clamp(value: float, bounds: _Interval) -> float:
    return min(max(value, bounds[0]), bounds[1])


def _plain_type(bounds: _Interval) -> str:
    return "Relu" if bounds == _RELU else "Clip"


def _shown(node: ir.Node, bounds: _Interval) -> str:
    return node.op_type if node.op_type == "Relu" else f"Clip [{bounds[0]:g}, {bounds[1]:g}]"


def _bounded(
    graph: ir.Graph, data: ir.Value, output: ir.Value, bounds: _Interval, name: str
) -> ir.Node:
    if bounds == _RELU:
        return make_node("Relu", [data], output, name=name)
    parameters = [
        None
        if math.isinf(bound)
        else add_constant(graph, f"{name}_{end}", np.asarray(bound, np.float32))
        for bound, end in zip(bounds, ("min", "max"), strict=True)
    ]
    if parameters[1] is None:
        parameters.pop()
    return make_node("Clip", [data, *parameters], output, name=name)


def _simplify_leaky(graph: ir.Graph, node: ir.Node, changes: list[Change]) -> None:
    alpha, name, source = number(node, "alpha", 0.01), source_name(node), node.inputs[0]
    if source is None:
        return
    if alpha == 1.0 and bypass(node, source):
        changes.append(Change("fuse_activations", name, "LeakyRelu", "nothing", "its slope is 1"))
    elif alpha == 0.0:
        new = make_node("Relu", [source], node.outputs[0], name=str(node.name))
        splice(graph, node, [node], [new])
        changes.append(Change("fuse_activations", name, "LeakyRelu", "Relu", "its slope is 0"))


class _LeakyFromMax(LocalRule):
    """``Max(x, a * x)`` with every a in 0..1."""

    kind: ClassVar[str] = "leaky_from_max"
    root: str = "Max"
    parts: ClassVar[tuple[str, ...]] = ("Mul",)

    def pattern(self, op: Any, x: Any, a: Any) -> Any:
        return op.Max(x, op.Mul(x, a))

    def find(
        self, model: ir.Model, node: ir.Node
    ) -> tuple[dict[str, ir.Value], tuple[ir.Node, ...]] | str | None:
        """Max is symmetric, which the rewriter's commuting does not cover."""
        if not is_standard(node, "Max") or len(node.inputs) != 2:
            return None
        for data, other in (node.inputs, reversed(node.inputs)):
            product = None if other is None else other.producer()
            if data is None or product is None or not is_standard(product, "Mul"):
                continue
            for index in (0, 1):
                factor = product.inputs[1 - index]
                if product.inputs[index] is data and constant(factor) is not None:
                    found = {"x": data, "a": factor} if factor is not None else {}
                    if self.check(found) is None:
                        return found, (product, node)
        return None

    def check(self, found: dict[str, ir.Value]) -> str | None:
        """The slope must be in 0..1 and one number or one a channel."""
        slope, axes = constant(found["a"]), rank(found["x"])
        if slope is None or axes is None or not ((slope >= 0) & (slope <= 1)).all():
            return "its slope is not within 0 and 1"
        if slope.ndim > axes or slope.dtype.kind != "f":
            return "its slope has more dimensions than the data"
        shape = (1,) * (axes - slope.ndim) + slope.shape
        if slope.size > 1 and (axes < 2 or shape[1] != slope.size):
            return "its slope is not per channel"
        return None

    def rewrite(
        self, graph: ir.Graph, output: ir.Value, found: dict[str, ir.Value]
    ) -> list[ir.Node]:
        """LeakyRelu, or PRelu."""
        slope, axes = constant(found["a"]), rank(found["x"]) or 2
        producer = output.producer()
        name = str(producer.name if producer is not None else output.name)
        if slope is None:
            raise ValueError("rewrite without a successful check")
        if slope.size == 1:
            alpha = float(slope.reshape(()))
            return [
                make_node("LeakyRelu", [found["x"]], output, name=name, attributes={"alpha": alpha})
            ]
        shaped = slope.reshape((-1,) + (1,) * (axes - 2)).astype(np.float32)
        parameter = add_constant(graph, f"{name}_slope", shaped)
        return [make_node("PRelu", [found["x"], parameter], output, name=name)]
