"""Recognizes a table network in a model: the inverse of :mod:`.write`."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.table_networks.matching import (
    GraphReader,
    NoMatchError,
    integer,
    integers,
    present,
    require,
    require_attributes,
)
from intaglio.passes.table_networks.read_branches import read_reference
from intaglio.transforms.table_networks.centred import LOWEST, CentredNetwork, Mixing, Window
from intaglio.transforms.table_networks.reference import ReferenceNetwork


def read_network(model: ir.Model) -> CentredNetwork | ReferenceNetwork | None:
    """Reads the network that a model is.

    Args:
        model: Any model.

    Returns:
        The network, its constants shared where those of the graph are, or None where the graph is
        not such a network, or not only that.
    """
    graph = model.graph
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        return None
    reader = GraphReader()
    image, result = graph.inputs[0], graph.outputs[0]
    network: CentredNetwork | ReferenceNetwork
    try:
        if reader.is_made_by(result, "CellHead"):
            network = _read_centred(reader, image, result)
        else:
            network = read_reference(reader, image, result)
        require(len(reader.visited) == len(graph))
    except (NoMatchError, ValueError):
        # ValueError: sizes or types that no network has.
        return None
    return network


def is_table_network(model: ir.Model) -> bool:
    """Whether a model is a table network and nothing else."""
    return read_network(model) is not None


def _read_centred(reader: GraphReader, image: ir.Value, result: ir.Value) -> CentredNetwork:
    head = reader.maker(result, "CellHead")
    require(head.inputs[0] is image)
    head_window, features, head_tables = _table_layer(reader, head.inputs[1])
    mixings: list[Mixing] = []
    while reader.is_made_by(features, "CellResidual"):
        node = reader.maker(features, "CellResidual")
        window, before, tables = _table_layer(reader, node.inputs[1])
        require(before is node.inputs[0])
        mixings.append(Mixing(window, tables, integer(node, "shift")))
        features = before
    first = reader.maker(features, "CellFeatures")
    require(first.inputs[0] is head.inputs[2])
    stem = reader.maker(head.inputs[2], "CellStem")
    require(stem.inputs[0] is image)
    stride = _side(integers(stem, "strides"))
    require(_side(integers(head, "strides")) == stride)
    network = CentredNetwork(
        stem_weights=reader.constant(stem.inputs[1], "taps"),
        stem_bias=reader.constant(stem.inputs[2]),
        stem_shift=integer(first, "shift"),
        mixings=tuple(reversed(mixings)),
        head_window=head_window,
        head_tables=head_tables,
        head_shift=integer(head, "head_shift"),
        out_shift=integer(head, "out_shift"),
        stride=stride,
        upscale=integer(head, "upscale"),
    )
    require(integer(first, "channels") == network.channels)
    return network


def _table_layer(
    reader: GraphReader, change: ir.Value | None
) -> tuple[Window, ir.Value, NDArray[Any]]:
    """Window, the features that it reads, and the tables."""
    lookup = reader.maker(change, "AdditiveLut")
    require_attributes(lookup, low=LOWEST)
    rows = reader.maker(lookup.inputs[0], "CellRows")
    taps = reader.constant(rows.inputs[1], "taps")
    require(integer(rows, "group") == taps.shape[0])
    features = present(rows.inputs[0])
    window = Window(taps, integer(rows, "shift"))
    return window, features, reader.constant(lookup.inputs[1])


def _side(sizes: tuple[int, ...]) -> int:
    require(len(sizes) == 2 and sizes[0] == sizes[1])
    return sizes[0]
