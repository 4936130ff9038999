"""An element-wise function in front of table layers goes into their tables: ``T'[x] = T[g(x)]``.

It then costs nothing: the layers read what the function read. All readers of its result must be
table layers, and the border must have a code that means what it meant before.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import Field

from intaglio.passes.base import EXACT, Change, Outcome, Pass, PassConfig, Semantics, Skip, outcome
from intaglio.passes.canonicalize.editing import add_constant, drop_unused_constants, remove_dead
from intaglio.passes.dialect.functions import add_functions
from intaglio.passes.marks import is_integer
from intaglio.passes.provenance import inherit_sources, source_name
from intaglio.passes.tables.integer_maps import IntegerMap, read_map
from intaglio.passes.tables.placing import OPERATOR, Branch, TableLayer, read_layer

_CODES = np.arange(-128, 128, dtype=np.int64)


class FoldProducersConfig(PassConfig):
    """Options of :class:`FoldProducers`.

    Attributes:
        rows: Most rows that a table may get. A table that is read through a function may need all
            256, whatever it had before; ``tables.prune_rows`` takes away what is not used.
    """

    rows: int = Field(default=256, ge=1, le=256)


@dataclasses.dataclass(frozen=True, eq=False)
class _Folded:
    """A layer as it will be."""

    layer: TableLayer
    branch: Branch
    pad_value: int


class FoldProducers(Pass):
    """Folds tables and rescales into the table layers that alone read them."""

    name: ClassVar[str] = "tables.fold_producers"
    semantics: ClassVar[Semantics] = EXACT
    Config = FoldProducersConfig

    def call(self, model: ir.Model) -> Outcome:
        """Folds from the end of the graph, so that functions behind each other all go."""
        if not is_integer(model):
            return outcome(model, [], [Skip("", "only the integer form has exact tables")])
        graph = model.graph
        changes: list[Change] = []
        skips: list[Skip] = []
        before = after = 0
        for node in reversed(list(graph)):
            if node.graph is not graph:
                continue
            value = node.outputs[0] if node.outputs else None
            readers = [] if value is None else list(value.uses())
            if value is None or not any(use.node.op_type == OPERATOR for use in readers):
                continue
            found = read_map(value)
            if found is None:
                continue
            plan = self._plan(value, found)
            if isinstance(plan, str):
                skips.append(Skip(source_name(node), plan))
                continue
            before += sum(folded.layer.table_bytes for folded in plan)
            after += sum(int(folded.branch.tables.nbytes) for folded in plan)
            for folded in plan:
                _apply(graph, folded, found)
            names = ", ".join(dict.fromkeys(source_name(f.layer.node) for f in plan))
            changes.append(
                Change("fold", source_name(node), node.op_type, "nothing", f"is in {names}")
            )
            remove_dead(graph, found.nodes[::-1])
        if changes:
            drop_unused_constants(graph)
            add_functions(model)
        facts = {"folded": len(changes), "bytes_before": before, "bytes_after": after}
        return outcome(model, changes, skips, facts)

    def _plan(self, value: ir.Value, found: IntegerMap) -> list[_Folded] | str:
        """What becomes of every reader, or why the function stays."""
        if value.is_graph_output():
            return "its result is an output of the model"
        plan: list[_Folded] = []
        for use in value.uses():
            layer = read_layer(use.node) if use.idx == 0 else None
            if layer is None:
                return f"{use.node.op_type} '{source_name(use.node)}' reads it, too"
            folded = _fold(layer, found.results, self.config.rows)
            if isinstance(folded, str):
                return folded
            plan.append(folded)
        return plan


def _fold(layer: TableLayer, results: NDArray[np.int64], most_rows: int) -> _Folded | str:
    """A layer that reads the function's input, or why there is none."""
    branch = layer.branch
    name = source_name(layer.node)
    if branch.shift or branch.mask != -1:
        return f"the index of '{name}' is a part of the bits: f(4h + l) is no sum of f(4h) and l"
    if len(results) not in (1, layer.channels):
        return f"it has {len(results)} channels, '{name}' reads {layer.channels}"
    rows = branch.rows_of(np.broadcast_to(results, (layer.channels, 256)))
    taps, _, outputs = branch.tables.shape
    tables = np.empty((taps, 256, outputs), branch.tables.dtype)
    size = outputs // layer.group
    for tap in range(taps):
        for group in range(layer.group):
            some = slice(group * size, (group + 1) * size)
            channel = layer.channel_of(tap, group)
            tables[tap, :, some] = branch.tables[tap][rows[channel]][:, some]
    low, high = _used(tables)
    if high - low + 1 > most_rows:
        return f"'{name}' would have {high - low + 1} rows; the option allows {most_rows}"
    pad_value = layer.pad_value
    if layer.is_padded:
        border = branch.tables[:, int(branch.rows_of(np.array(pad_value)))]
        same = (tables == border[:, None]).all(axis=(0, 2))
        if not same.any():
            return f"no input gives what stands in the border of '{name}'"
        pad_value = int(_CODES[np.flatnonzero(same)[0]])
    kept = np.ascontiguousarray(tables[:, low : high + 1])
    return _Folded(layer, Branch(kept, 0, -1, low - 128), pad_value)


def _used(tables: NDArray[np.integer]) -> tuple[int, int]:
    """First and last row that the clamp of the index cannot make up for."""
    differs = (tables[:, 1:] != tables[:, :-1]).any(axis=(0, 2))
    places = np.flatnonzero(differs)
    return (int(places[0]), int(places[-1]) + 1) if places.size else (0, 0)


def _apply(graph: ir.Graph, folded: _Folded, found: IntegerMap) -> None:
    node, branch = folded.layer.node, folded.branch
    old = node.inputs[1]
    name = "tables" if old is None else str(old.name)
    node.replace_input_with(0, found.source)
    node.replace_input_with(1, add_constant(graph, f"{name}_folded", branch.tables))
    for key, number in {"low": branch.low, "pad_value": folded.pad_value}.items():
        node.attributes[key] = ir.AttrInt64(key, number)
    inherit_sources([node], found.nodes)
