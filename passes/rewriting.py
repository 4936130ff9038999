"""The one place that touches onnxscript's rewriter and onnx's reference evaluator.

Both are moving targets (onnxscript is 0.x), so passes see only what stands here: a rule that is
a pattern, a check that answers with a reason, and a rewrite; and the evaluation of one node on
constants. Matching is onnxscript's. Replacing is ours, because source names, tensor names and
evidence have to survive it.
"""

from __future__ import annotations

import abc
import functools
import inspect
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx_ir.passes.common import ShapeInferencePass
from onnxscript.rewriter import pattern

from intaglio.passes.base import Change, Skip
from intaglio.passes.canonicalize.editing import remove_dead, replace_output
from intaglio.passes.provenance import inherit_sources, source_name


class LocalRule(abc.ABC):
    """A rewrite of a few nodes that end in one value.

    ``pattern`` is written as if calling the operators: ``op.Relu(x) + op.Mul(y, slope)``. Its
    arguments after ``op`` name what it binds. Additions and multiplications match in any order.

    Attributes:
        kind: Kind of the change in the evidence.
        why: Reason in the evidence.
        root: Operator that the match ends in.
        parts: Other operators that it cannot do without; a graph that lacks one is not searched.
    """

    kind: ClassVar[str]
    why: ClassVar[str] = ""
    root: str
    parts: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def pattern(self, op: Any, *args: Any) -> Any:
        """The nodes to find; arguments are the values to bind."""

    @abc.abstractmethod
    def check(self, found: dict[str, ir.Value]) -> str | None:
        """Why the match must be left alone; empty when it is no candidate; None to go ahead."""

    @abc.abstractmethod
    def rewrite(
        self, graph: ir.Graph, output: ir.Value, found: dict[str, ir.Value]
    ) -> list[ir.Node]:
        """The nodes that take the place; the last one's first output replaces ``output``."""

    @functools.cached_property
    def _variants(self) -> list[Any]:
        """The pattern in every order of its commutative operands."""
        names = list(inspect.signature(self.pattern).parameters)

        def replacement(op: Any, **bindings: Any) -> None:
            return None

        rule = pattern.RewriteRule(_with_signature(self.pattern, names), replacement)
        return list(rule.commute())

    def find(
        self, model: ir.Model, node: ir.Node
    ) -> tuple[dict[str, ir.Value], Sequence[ir.Node]] | str | None:
        """A match that ends in ``node``: its bindings and nodes, why not, or None."""
        reason: str | None = None
        for variant in self._variants:
            match = variant.match(model, model.graph, node, check_nodes_are_removable=False)
            if not match:
                continue
            found = dict(match.bindings)
            failed = self.check(found)
            if failed is None:
                return found, tuple(match.nodes)
            reason = reason or failed or None
        return reason


def _with_signature(function: Any, names: Sequence[str]) -> Any:
    """Gives the rewriter a plain function with the pattern's parameter names."""

    def plain(op: Any, *args: Any) -> Any:
        return function(op, *args)

    plain.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    )
    return plain


def apply_rules(model: ir.Model, rules: Sequence[LocalRule]) -> tuple[list[Change], list[Skip]]:
    """Applies each rule wherever it matches, in graph order, until none does any more.

    Nodes of a match that are used elsewhere stay; the others go.

    Args:
        model: The model; changed in place.
        rules: Tried in order at each node; the first that applies wins.

    Returns:
        The changes, and the candidates left alone with the reason.
    """
    changes: list[Change] = []
    while True:
        done, skips = _apply_once(model, rules)
        changes += done
        if not done:
            return changes, skips


def _apply_once(model: ir.Model, rules: Sequence[LocalRule]) -> tuple[list[Change], list[Skip]]:
    graph = model.graph
    changes: list[Change] = []
    skips: list[Skip] = []
    present = {node.op_type for node in graph}
    useful = [rule for rule in rules if present.issuperset((rule.root, *rule.parts))]
    for node in list(graph) if useful else ():
        for rule in useful:
            if node.graph is None or node.op_type != rule.root:
                continue
            result = rule.find(model, node)
            if isinstance(result, str):
                skips.append(Skip(source_name(node), f"{rule.kind}: {result}"))
            elif result is not None:
                changes.append(_replace(graph, node, rule, *result))
    return changes, skips


def _replace(
    graph: ir.Graph,
    node: ir.Node,
    rule: LocalRule,
    found: dict[str, ir.Value],
    matched: Sequence[ir.Node],
) -> Change:
    chosen = set(matched)
    before = " + ".join(n.op_type for n in graph if n in chosen)
    name = source_name(node)
    new_nodes = rule.rewrite(graph, node.outputs[0], found)
    splice(graph, node, matched, new_nodes)
    after = " + ".join(n.op_type for n in new_nodes)
    return Change(rule.kind, name, before, after, rule.why)


def splice(
    graph: ir.Graph, root: ir.Node, matched: Sequence[ir.Node], new_nodes: Sequence[ir.Node]
) -> None:
    """Puts ``new_nodes`` in the place of ``matched``, whose last node is ``root``."""
    chosen = set(matched)
    inherit_sources(new_nodes, [node for node in graph if node in chosen])
    graph.insert_before(root, new_nodes)
    replace_output(root.outputs[0], new_nodes[-1].outputs[0])
    remove_dead(graph, matched)


def evaluate(node: ir.Node, inputs: Sequence[NDArray[Any] | None]) -> list[NDArray[Any]]:
    """Computes one standard operator on constants, by onnx's reference implementation.

    Args:
        node: The node.
        inputs: Array for each of its inputs, None where an optional one is absent.

    Returns:
        An array for each output.

    Raises:
        ValueError: The operator cannot be evaluated on these inputs; says why.
    """
    proto = ir.to_proto(node)
    feeds: dict[str, NDArray[Any]] = {}
    infos = []
    for name, array in zip(proto.input, inputs, strict=True):
        if array is None or not name or name in feeds:
            continue
        feeds[name] = array
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        infos.append(helper.make_tensor_value_info(name, kind, array.shape))
    outputs = [onnx.ValueInfoProto(name=name) for name in proto.output if name]
    graph = helper.make_graph([proto], "constant", infos, outputs)
    version = node.version or (node.graph.opset_imports.get("", 21) if node.graph else 21)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
    try:
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(model).run(None, feeds)
    except Exception as error:  # the evaluator raises whatever its kernels raise
        raise ValueError(f"{node.op_type}: {error}") from error
    return [np.asarray(result) for result in results]


def infer_shapes(model: ir.Model) -> bool:
    """Infers shapes again after an edit; returns whether any became known or changed."""
    return bool(ShapeInferencePass(check_type=False, strict_mode=False)(model).modified)
