"""Turns sub-graphs with one integer input for each position into tables, and proves that.

A trained table network is float until its tables are made: scalar functions are small networks of
1x1 convolutions, whose rounded results are summed over channels and taps. Such a function of an
8-bit integer is at most 256 rows of entries, and the sum over channels is ``AdditiveLut``. Every
entry is computed by the graph's own operators for every integer that can occur. Ranges are followed
through the graph, so rows that nothing reads are not stored (range pruning), and an element-wise
operator in front of a layer is part of its entries (``T'[x] = T[g(x)]``), unless its result has
fewer levels: then the tables begin behind it.

What is between the layers (means, residuals, scales) stays in float operators on integers, which
are exact below 2^24. Source: TinyLUT (NeurIPS 2024), whose networks this makes tables of.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import Field

from intaglio.passes.base import EXACT as EXACT_SEMANTICS
from intaglio.passes.base import Change, Outcome, Pass, PassConfig, Semantics, Skip, outcome
from intaglio.passes.canonicalize.editing import constant
from intaglio.passes.dialect.functions import add_functions
from intaglio.passes.provenance import source_name
from intaglio.passes.tables.build_tables import build_tables, largest_group, prove_tables
from intaglio.passes.tables.evaluate_region import Entries, NotATableError, evaluate_region
from intaglio.passes.tables.find_scalar_regions import (
    ScalarRegion,
    Traces,
    channels,
    find_traces,
    index_dtype,
    region,
)
from intaglio.passes.tables.find_sums import ChannelSum, find_sum, no_sum
from intaglio.passes.tables.integer_ranges import integer_ranges
from intaglio.passes.tables.place_layers import (
    Layer,
    Placer,
    described,
    layer_name,
    with_window,
)
from intaglio.passes.tables.ranges import EXACT, IntegerRange


class TabulateConfig(PassConfig):
    """Options of ``tables.tabulate_regions``.

    Attributes:
        products_per_entry: Fewest multiplications that each table entry read must replace.
        largest_bytes: Most bytes that the tables of one layer may take.
        accept_near_ties: Whether to take entries so near the boundary of a rounding that float64,
            or another order of the sums, rounds them in another way. The float graph in a runtime
            may then differ from the tables in these entries, which the report counts.
    """

    products_per_entry: float = Field(default=2.0, ge=0)
    largest_bytes: int = Field(default=1 << 20, ge=1)
    accept_near_ties: bool = False


class TabulateRegions(Pass):
    """Tabulates scalar functions of integers and the sums over them, and proves every entry."""

    name: ClassVar[str] = "tables.tabulate_regions"
    semantics: ClassVar[Semantics] = EXACT_SEMANTICS
    Config: ClassVar[type[PassConfig]] = TabulateConfig

    def call(self, model: ir.Model) -> Outcome:
        """Replaces every region that is worth it, the last ones first."""
        work = _Work(model.graph, self.config)
        for node in reversed(list(model.graph)):
            if node.graph is not None and len(node.outputs) == 1:
                work.visit(node)
        if work.changes:
            add_functions(model)
        return outcome(model, work.changes[::-1], work.skips[::-1], work.facts())


class _Work:
    """One run of the pass on one graph."""

    def __init__(self, graph: ir.Graph, config: TabulateConfig) -> None:
        self.config = config
        self.changes: list[Change] = []
        self.skips: list[Skip] = []
        self._layers: list[dict[str, Any]] = []
        self._stored: dict[str, dict[str, Any]] = {}
        self._ranges = integer_ranges(graph)
        self._traces: Traces = find_traces(graph, self._ranges)
        self._order = {node: place for place, node in enumerate(graph)}
        self._placer = Placer(graph)
        self._known: dict[Any, Entries] = {}

    def visit(self, node: ir.Node) -> None:
        """Tabulates what ends in ``node``, if anything does."""
        total = find_sum(node)
        if total is None or self._best_root(total) is None:
            total = no_sum(node.outputs[0])
        if total is None:
            return
        best = self._best_root(total)
        if best is None:
            return
        replaced = [*best.nodes, *total.nodes]
        try:
            self._tabulate(best, total, replaced)
        except NotATableError as reason:
            if self._is_end(total.source, best.root):
                self.skips.append(Skip(source_name(replaced[-1]), str(reason)))

    def _is_end(self, value: ir.Value, root: ir.Value) -> bool:
        """Whether no reader of ``value`` is a function of the same root alone."""
        readers = [use.node.outputs[0] for use in value.uses()]
        return all(root not in self._traces.get(reader, {}) for reader in readers)

    def _best_root(self, total: ChannelSum) -> ScalarRegion | None:
        """The region with the fewest rows; of those with equally many the one that starts first.

        Rows are counted for each channel: a learned scale narrows some more than others.
        """
        roots = [r for r in self._traces.get(total.source, {}) if r is not total.source]
        regions = [region(root, total.source, self._traces, self._order) for root in roots]
        working = [found for found in regions if found.products]
        return min(working, key=lambda found: self._rows(found.root), default=None)

    def _rows(self, root: ir.Value) -> float:
        """Levels of all channels."""
        known = self._ranges[root]
        if not known.finite:
            return float("inf")
        return float(np.broadcast_to(known.levels(), channels(root) or 1).sum())

    def _tabulate(self, found: ScalarRegion, total: ChannelSum, replaced: list[ir.Node]) -> None:
        known, inputs = self._ranges[found.root], channels(found.root)
        dtype = index_dtype(known)
        if inputs is None or dtype is None:
            raise NotATableError("its input has no 8-bit range")
        if not self._ranges[found.output].integer:
            raise NotATableError("its results are not integers: nothing rounds them before the sum")
        group = largest_group(found.owners, total.weights, inputs)
        outputs = total.weights.shape[1]
        read = len(total.weights) * (inputs // group) * outputs
        products = found.products + total.products
        self._weigh(int(known.rows), read, products)
        entries = self._entries(found, known)
        largest = np.abs(entries.values).max(axis=0).astype(np.float64)
        if (np.abs(total.weights) @ largest).sum(axis=0).max(initial=0) > EXACT:
            raise NotATableError("its sums are beyond 2^24, where float32 is not exact")
        tables = build_tables(
            entries.values, found.owners, total.weights, total.bias, inputs, group
        )
        compared = prove_tables(
            tables,
            int(known.lowest),
            group,
            entries.again,
            found.owners,
            total.weights,
            total.bias,
            inputs,
        )
        layer = with_window(
            Layer(
                found.root, dtype, tables, int(known.lowest), group, total.kernel, total.strides,
                total.dilations, (),
            )
        )  # fmt: skip
        held = index_dtype(self._ranges[layer.index])
        if held is None:
            raise NotATableError("the image that its window reads has no 8-bit range")
        layer = dataclasses.replace(layer, dtype=held)
        before, name = described(replaced), layer_name(replaced)
        self._note(name, layer.tables, found, entries, compared, read, products)
        makers = [value.producer() for value in (layer.index, found.root)]
        self._placer.place(layer, total, replaced, [node for node in makers if node is not None])
        self.changes.append(
            Change(
                "tabulate",
                name,
                before,
                f"AdditiveLut with {tables.shape[1]} rows of {outputs}",
                f"{read} entries for {products} products at each position; all "
                f"{entries.values.size} entries and {compared} sums equal",
            )
        )

    def _weigh(self, rows: int, read: int, products: int) -> None:
        """Raises NotATableError where tables do not pay."""
        if products < self.config.products_per_entry * read:
            raise NotATableError(
                f"tables do not pay: {read} entries read for {products} products at each position"
            )
        if rows * read > self.config.largest_bytes:
            raise NotATableError(
                f"its tables would take {rows * read:,} bytes; "
                "raise tables.tabulate_regions.largest_bytes to have them"
            )

    def _entries(self, found: ScalarRegion, known: IntegerRange) -> Entries:
        key = _signature(found, known)
        if key not in self._known:
            self._known[key] = evaluate_region(found, known)
        entries = self._known[key]
        if entries.near_ties and not self.config.accept_near_ties:
            raise NotATableError(
                f"{entries.near_ties} of {entries.values.size} entries lie on the boundary of a "
                "rounding, where runtimes that add in another order differ; "
                "tables.tabulate_regions.accept_near_ties takes those that numpy gives"
            )
        return entries

    def _note(
        self, name: str, tables: NDArray[Any], found: ScalarRegion, entries: Entries,
        compared: int, read: int, products: int,
    ) -> None:  # fmt: skip
        known, inputs = self._ranges[found.root], channels(found.root) or 1
        levels = int(np.broadcast_to(known.levels(), inputs).sum())
        self._layers.append(
            {
                "layer": name,
                "tables": int(tables.shape[0]),
                "rows": int(tables.shape[1]),
                "outputs": int(tables.shape[2]),
                "bytes": int(tables.nbytes),
                "pruned_bytes": levels * read // inputs * int(tables.itemsize),
                "entries_read": read,
                "products_replaced": products,
                "inputs_compared": int(known.rows),
                "entries_compared": int(entries.values.size),
                "sums_compared": compared,
                "near_ties": entries.near_ties,
                "rounding_margin": entries.margin,
            }
        )
        key = f"{tables.shape}{tables.dtype}{hashlib.sha256(tables.tobytes()).hexdigest()}"
        self._stored[key] = self._layers[-1]

    def facts(self) -> dict[str, Any]:
        """The layers in graph order and what they take; equal tables count once."""
        if not self._layers:
            return {}
        return {
            "layers": self._layers[::-1],
            "table_bytes": sum(layer["bytes"] for layer in self._stored.values()),
            "pruned_bytes": sum(layer["pruned_bytes"] for layer in self._stored.values()),
            "entries_compared": sum(layer["entries_compared"] for layer in self._layers),
            "sums_compared": sum(layer["sums_compared"] for layer in self._layers),
        }


def _signature(found: ScalarRegion, known: IntegerRange) -> Any:
    """Equal for regions that compute the same: the copies of one module in a graph."""
    places: dict[ir.Value, int] = {found.root: 0}
    parts: list[Any] = []
    for node in found.nodes:
        operands = [
            None if v is None else (v if constant(v) is not None else places[v])
            for v in node.inputs
        ]
        places[node.outputs[0]] = len(places)
        parts.append((node.op_type, str(dict(node.attributes)), tuple(operands)))
    return (tuple(parts), known.grid().tobytes(), str(found.root.dtype), _ranks(found.nodes))


def _ranks(nodes: Sequence[ir.Node]) -> tuple[int, ...]:
    return tuple(len(node.outputs[0].shape or ()) for node in nodes)
