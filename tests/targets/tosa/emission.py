"""Emits graphs and compares what the reference model computes with the integer graph."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from intaglio.passes.layout.to_channels_last import ToChannelsLast
from intaglio.targets.base import spec_of, static_specs
from intaglio.targets.tosa.emit import Emitted, emit
from intaglio.targets.tosa.session import TosaSession
from tests.property.lowering_checks import Options, convert, run
from tests.targets.tflite.emission import Arrays, random_feeds


@dataclasses.dataclass
class Emission:
    """A channels-last graph and its file."""

    model: ir.Model
    emitted: Emitted


def emit_float(proto: onnx.ModelProto, feeds: Arrays, options: Options) -> Emission:
    """Quantizes a float graph on ``feeds``, lowers it and emits it."""
    model = ToChannelsLast()(convert(proto, feeds, options).integer.clone()).model
    return Emission(model, emit(model, options.profile))


def open_file(data: bytes, model: ir.Model) -> TosaSession:
    """The file in the reference model."""
    inputs, outputs = (
        static_specs([spec_of(value) for value in values])
        for values in (model.graph.inputs, model.graph.outputs)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tosa"
        path.write_bytes(data)
        return TosaSession(path, inputs, outputs)


def assert_same_bits(emission: Emission, seeds: range) -> int:
    """Every tensor of the file that the graph has, too, holds the same integers; their number."""
    graph = emission.model.graph
    inner = [str(v.name) for node in graph for v in node.outputs]
    compared = 0
    with open_file(emission.emitted.data, emission.model) as session:
        own = [name for name in inner if name in session.file.tensors]
        for seed in seeds:
            feeds = random_feeds(emission.model, seed)
            wanted = {**run(emission.model, feeds, inner), **feeds}
            result = session.run(feeds, inner=own)
            found = {**result.inner, **result.outputs}
            assert {str(v.name) for v in graph.outputs} <= set(found)
            for name in sorted(set(found) & set(wanted)):
                np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
                compared += found[name].size
    return compared
