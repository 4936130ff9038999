"""Whole models as networks, and their emitted C against the integer graph, tensor by tensor."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from intaglio.passes.layout.to_channels_last import ToChannelsLast
from intaglio.passes.lower.shift_unsigned import ShiftUnsigned
from intaglio.passes.lower.to_integer import ToInteger
from intaglio.targets.c.grouping import read_network
from intaglio.targets.c.network import Network
from intaglio.targets.tflite.read import read_tflite
from tests.helpers import build_proto
from tests.property.lowering_checks import Options, canonical, convert, run
from tests.targets.c.harness import build
from tests.targets.tflite.emission import random_feeds

SAMPLES = Path(__file__).parents[3] / "sample_models"
SAMPLE_NAMES = ("digits", "fashion", "spoken_digits", "superres")
#: Published int8 files of the zoo.
PUBLISHED = (
    "emlearn_mnist_cnn_int8",
    "hello_world_int8",
    "ic_resnet8_int8",
    "kws_ref_model_int8",
    "micro_speech_quantized",
    "person_detect_qdim_fixed",
    "vww_96_int8",
)
#: What an open dimension of a float model is bound to.
SIZE = 16


@dataclasses.dataclass
class Case:
    """A channels-last integer graph and its layers."""

    model: ir.Model
    network: Network


def of_integer(integer, profile, name="model"):
    """A case from an integer graph, of which nothing may be refused."""
    model = ToChannelsLast()(integer.clone()).model
    grouped = read_network(model, profile, name)
    assert grouped.refusals == ()
    return Case(model, grouped.network)


def of_float(path, options, name="model"):
    """A case from a float model, quantized on random numbers."""
    return _of_proto(_bound(path), options, name)


def _of_proto(model, options, name):
    proto = canonical(model)
    rng = np.random.default_rng(0)
    feeds = {
        value.name: rng.random([d.dim_value for d in value.type.tensor_type.shape.dim], np.float32)
        for value in proto.graph.input
    }
    return of_integer(convert(proto, feeds, options).integer, options.profile, name)


def of_sample(name, **options):
    """A case from a sample model."""
    return of_float(SAMPLES / name / f"{name}.onnx", Options(**options), name)


def of_text(text, options, name="model", **weights):
    """A case from a float graph in ONNX's text form, quantized on random numbers."""
    return _of_proto(build_proto(text, **weights), options, name)


def of_file(path, profile="tflm"):
    """A case from a quantized TFLite file."""
    model = ShiftUnsigned()(read_tflite(path)).model
    integer = ToInteger(ToInteger.Config(profile=profile))(model).model
    return of_integer(integer, profile, path.stem)


def _bound(path):
    """The model with every open dimension bound: the batch to one, the others to SIZE."""
    model = onnx.load(path)
    for value in model.graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.dim_value:
                dim.dim_value = 1 if axis == 0 else SIZE
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    return model


def assert_same_bits(case, variant, seeds, **options):
    """Every tensor of the C code that the graph has, too, holds the same integers."""
    library = build(case.network, variant, **options)
    layers = [layer.output.name for layer in case.network.layers]
    graph = case.model.graph
    inner = [str(v.name) for node in graph for v in node.outputs]
    compared = set()
    for seed in seeds:
        feeds = random_feeds(case.model, seed)
        wanted = run(case.model, feeds, inner)
        shaped = {t.name: feeds[t.name].reshape(t.shape) for t in case.network.inputs}
        outputs, taps = library.run(shaped, layers)
        found = {**taps, **outputs}
        assert {str(v.name) for v in graph.outputs} <= set(found)
        for name in sorted(set(found) & set(wanted)):
            expected = wanted[name].reshape(found[name].shape)
            np.testing.assert_array_equal(found[name], expected, err_msg=name, strict=True)
            compared.add(name)
    # Nearly every layer has a twin; what has none is a copy or a part of an operator.
    assert len(compared) >= 0.6 * len(layers)
