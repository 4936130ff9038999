"""Makes tables smaller by what no producer can emit; every output stays the same, bit for bit.

Rows at either end that no input reaches go. A table column that is one number for all that its
channel can hold is that number in the bias. Rows that only some channels reach become copies of
their neighbors there, which the emitted C does not store. Entries that fit 8 bits get 8 bits.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.base import EXACT, Change, Outcome, Pass, Semantics, Skip, outcome
from intaglio.passes.canonicalize.editing import (
    add_constant,
    constant,
    drop_unused_constants,
    fresh_name,
    make_node,
    rank,
    replace_output,
)
from intaglio.passes.marks import is_integer
from intaglio.passes.provenance import inherit_sources, source_name
from intaglio.passes.tables.placing import OPERATOR, TableLayer, table_layers
from intaglio.passes.tables.reachable import Reachable, used_rows


@dataclasses.dataclass(frozen=True, eq=False)
class _Pruned:
    """Tables that are left of a layer.

    Attributes:
        tables: The tables.
        low: Index of their first row.
        bias: What the constant columns add to each output.
        constants: How many columns that were.
    """

    tables: NDArray[Any]
    low: int
    bias: NDArray[np.int64]
    constants: int


class PruneRows(Pass):
    """Takes rows and constants out of table layers."""

    name: ClassVar[str] = "tables.prune_rows"
    semantics: ClassVar[Semantics] = EXACT

    def call(self, model: ir.Model) -> Outcome:
        """Prunes every table layer, in place."""
        if not is_integer(model):
            return outcome(model, [], [Skip("", "only the integer form has exact tables")])
        graph = model.graph
        reachable = Reachable(graph)
        changes: list[Change] = []
        rows: list[dict[str, Any]] = []
        for layer in list(table_layers(graph)):
            used = used_rows(reachable, layer.node)
            pruned = None if used is None else _prune(layer, used)
            now = layer.branch.tables if pruned is None else pruned.tables
            name = source_name(layer.node)
            rows.append(
                {
                    "layer": name,
                    "rows_before": layer.branch.tables.shape[1],
                    "rows": now.shape[1],
                    "bytes_before": layer.table_bytes,
                    "bytes": int(now.nbytes),
                    "constants": 0 if pruned is None else pruned.constants,
                }
            )
            if pruned is not None:
                _apply(graph, layer, pruned)
                changes.append(Change("prune", name, _words(layer.branch.tables), _words(now)))
        if changes:
            drop_unused_constants(graph)
        facts = {
            "bytes_before": sum(row["bytes_before"] for row in rows),
            "bytes": sum(row["bytes"] for row in rows),
            "constants": sum(row["constants"] for row in rows),
            "layers": rows,
        }
        return outcome(model, changes, facts=facts)


def _words(tables: NDArray[Any]) -> str:
    taps, rows, outputs = tables.shape
    return f"{taps} x {rows} x {outputs} {tables.dtype.name}"


def _prune(layer: TableLayer, used: NDArray[np.bool_]) -> _Pruned | None:
    """What is left of a layer; None where nothing can go.

    Args:
        layer: The layer.
        used: bool ``[taps, groups, rows]``: what it can read.
    """
    tables = layer.branch.tables
    taps, rows, outputs = tables.shape
    # [taps, rows, groups, outputs of a group], in the same order as `used`.
    split = tables.reshape(taps, rows, layer.group, -1).copy()
    reach = used.transpose(0, 2, 1)
    first, last = reach.argmax(axis=1), rows - 1 - reach[:, ::-1].argmax(axis=1)
    # Rows in front of the first that is used become that one, and so behind the last.
    clamped = np.clip(np.arange(rows)[None, :, None], first[:, None], last[:, None])
    split = np.take_along_axis(split, clamped[..., None], axis=1)
    known = np.take_along_axis(split, first[:, None, :, None], axis=1)
    is_constant = ((split == known) | ~reach[..., None]).all(axis=1)
    taken = np.where(is_constant, known[:, 0], 0).astype(np.int64)
    split = np.where(is_constant[:, None], 0, split).astype(tables.dtype)
    left = split.reshape(taps, rows, outputs)
    differs = np.flatnonzero((left[:, 1:] != left[:, :-1]).any(axis=(0, 2)))
    start, end = (int(differs[0]), int(differs[-1]) + 1) if differs.size else (0, 0)
    left = np.ascontiguousarray(left[:, start : end + 1])
    limits = np.iinfo(np.int8)
    if not left.size or limits.min <= left.min() <= left.max() <= limits.max:
        left = left.astype(np.int8)
    if left.dtype == tables.dtype and left.shape == tables.shape and np.array_equal(left, tables):
        return None
    return _Pruned(
        left, layer.branch.low + start, taken.sum(axis=0).reshape(-1), int((taken != 0).sum())
    )


def _apply(graph: ir.Graph, layer: TableLayer, pruned: _Pruned) -> None:
    node = layer.node
    old = node.inputs[1]
    name = "tables" if old is None else str(old.name)
    node.replace_input_with(1, add_constant(graph, f"{name}_pruned", pruned.tables))
    node.attributes["low"] = ir.AttrInt64("low", pruned.low)
    if pruned.bias.any():
        _add_bias(graph, node, pruned.bias, len(layer.kernel))


def _add_bias(graph: ir.Graph, node: ir.Node, bias: NDArray[np.int64], images: int) -> None:
    """Adds to the bias behind a layer, or puts one there."""
    shaped = bias.reshape(-1, *(1,) * images)
    adding = _bias_behind(node.outputs[0])
    if adding is not None:
        old = constant(adding.inputs[1])
        total = shaped + np.asarray(old, np.int64)
        if total.ndim == shaped.ndim and total.shape == shaped.shape:
            name = str(adding.inputs[1].name) if adding.inputs[1] is not None else "bias"
            added = add_constant(graph, f"{name}_pruned", total.astype(np.int32))
            adding.replace_input_with(1, added)
            return
    result = node.outputs[0]
    number = add_constant(graph, f"{result.name}_constants", shaped.astype(np.int32))
    added_node = make_node(
        "Add", [result, number], result, name=fresh_name(graph, f"{node.name}_bias")
    )
    inherit_sources([added_node], [node])
    users = list(result.uses())
    graph.insert_after(node, added_node)
    if result.is_graph_output():
        added_node.replace_input_with(0, None)
        replace_output(result, added_node.outputs[0])
        added_node.replace_input_with(0, result)
        return
    for use in users:
        use.node.replace_input_with(use.idx, added_node.outputs[0])


def _bias_behind(sums: ir.Value) -> ir.Node | None:
    """The Add of a constant that alone reads ``sums``, perhaps behind other table layers."""
    uses = list(sums.uses())
    while len(uses) == 1 and not sums.is_graph_output():
        node = uses[0].node
        if node.op_type != "Add" or node.domain not in ("", "ai.onnx"):
            return None
        if uses[0].idx == 0 and constant(node.inputs[1]) is not None:
            return node
        others = [value for value in node.inputs if value is not sums and value is not None]
        if len(others) != 1 or not _is_layer(others[0].producer()):
            return None
        sums = node.outputs[0]
        uses = list(sums.uses())
    return None


def _is_layer(node: ir.Node | None) -> bool:
    return node is not None and node.op_type == OPERATOR and rank(node.inputs[1]) == 3
