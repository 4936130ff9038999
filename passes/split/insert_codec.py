"""``split.insert_codec``: puts encoder and decoder of the codec where the model is to be cut.

What crosses the cut then is codes: one tensor ``codes``, int8 ``[N, codes]`` in wire order, whose
bytes are the codes of all features one behind the other; with dynamic ranges also ``ranges``. The
whole model computes what device and server compute together.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from intaglio.errors import RecipeError
from intaglio.passes.annotations import (
    get_quantization,
    get_source_value,
    set_source_value,
)
from intaglio.passes.base import APPROXIMATE, Change, Outcome, Pass, Skip, outcome
from intaglio.passes.dialect.functions import add_functions
from intaglio.passes.provenance import inherit_sources
from intaglio.passes.split.codec_graph import CodecWriter
from intaglio.passes.split.codec_graph_decoder import write_decoder
from intaglio.passes.split.codec_graph_encoder import write_encoder
from intaglio.passes.split.cuts import divide, get_cut
from intaglio.passes.split.marks import get_wire, read_codec, set_wire
from intaglio.transforms.split.specification import CodecSpecification, Feature

CODES = "codes"
RANGES = "ranges"

_FIT_AGAIN = "run calibrate.fit_codec on this very model"


class InsertCodec(Pass):
    """Inserts the codec that the model is marked with at its cut."""

    name = "split.insert_codec"
    semantics = APPROXIMATE

    def call(self, model: ir.Model) -> Outcome:
        """Inserts it; a model without a cut and a codec stays as it is."""
        if get_wire(model) is not None:
            return outcome(model, [])
        cut, specification = get_cut(model), read_codec(model)
        if cut is None or specification is None:
            missing = "cut" if cut is None else "codec"
            return outcome(model, [], [Skip("", f"the model has no {missing}")])
        graph = model.graph
        values = [_value(graph, feature, cut) for feature in specification.features]
        device, server = divide(graph, cut)
        nodes, wire, decoded = _write(graph, values, specification)
        _connect(graph, values, decoded, device, nodes, server)
        add_functions(model)
        set_wire(model, wire)
        changes = [
            Change(
                "insert",
                str(value.name),
                f"{feature.elements} elements",
                f"{feature.codes} codes, {feature.side_bytes} bytes of ranges",
                f"{feature.ranges} ranges",
            )
            for feature, value in zip(specification.features, values, strict=True)
        ]
        facts = {"codes": specification.codes, "side_bytes": specification.side_bytes}
        return outcome(model, changes, (), facts)


def _value(graph: ir.Graph, feature: Feature, cut: Sequence[str]) -> ir.Value:
    """The value that ``feature`` speaks of.

    Raises:
        RecipeError: There is none such at the cut, or it is another one than the codec was made
            for.
    """
    found = next((v for node in graph for v in node.outputs if v.name == feature.name), None)
    if found is None or feature.name not in cut:
        raise RecipeError(
            f"the codec's feature '{feature.name}' is not at the cut", remedy=_FIT_AGAIN
        )
    shape = None if found.shape is None else tuple(found.shape)[1:]
    if found.dtype != ir.DataType.INT8 or shape != feature.shape:
        raise RecipeError(
            f"'{feature.name}' is {found.dtype} {found.shape}, and its codec for int8 "
            f"{list(feature.shape)} a sample",
            remedy=_FIT_AGAIN,
        )
    return found


def _write(
    graph: ir.Graph, values: Sequence[ir.Value], specification: CodecSpecification
) -> tuple[list[ir.Node], list[str], list[ir.Value]]:
    """The nodes of the codec, names of what goes over the wire, and the decoded features."""
    shape = values[0].shape
    writer = CodecWriter(graph, 1 if shape is None else shape[0])
    codes: list[ir.Value] = []
    ranges: list[ir.Value] = []
    for value, feature in zip(values, specification.features, strict=True):
        first = len(writer.nodes)
        coded, found = write_encoder(writer, value, feature)
        codes.append(coded)
        ranges += [] if found is None else [found]
        _inherit(writer.nodes[first:], [value])
    first = len(writer.nodes)
    sent = [writer.rename(writer.concat(codes, CODES), CODES)]
    if ranges:
        sent.append(writer.rename(writer.concat(ranges, RANGES), RANGES))
    _inherit(writer.nodes[first:], values)
    decoded, code, side = [], 0, 0
    for value, feature in zip(values, specification.features, strict=True):
        first = len(writer.nodes)
        received = writer.cut(sent[0], 1, code, feature.codes, f"{feature.name}_sent")
        known = None
        if feature.side_bytes:
            known = writer.cut(sent[1], 1, side, feature.side_bytes, f"{feature.name}_sides")
        code, side = code + feature.codes, side + feature.side_bytes
        result = write_decoder(writer, received, known, feature, get_quantization(value))
        source = get_source_value(value)
        if source is not None:
            set_source_value(result, source)
        decoded.append(result)
        _inherit(writer.nodes[first:], [value])
    return writer.nodes, [str(value.name) for value in sent], decoded


def _inherit(nodes: Sequence[ir.Node], values: Sequence[ir.Value]) -> None:
    inherit_sources(nodes, [maker for value in values if (maker := value.producer()) is not None])


def _connect(
    graph: ir.Graph,
    values: Sequence[ir.Value],
    decoded: Sequence[ir.Value],
    device: Sequence[ir.Node],
    codec: Sequence[ir.Node],
    server: Sequence[ir.Node],
) -> None:
    """Lets the server read decoded features, and puts device, codec and server in this order."""
    behind = set(server)
    for value, result in zip(values, decoded, strict=True):
        for reader, index in list(value.uses()):
            if reader in behind:
                reader.replace_input_with(index, result)
    front = set(device)
    rest = [node for node in graph if node not in front]
    graph.remove(rest)
    graph.extend([*codec, *rest])
