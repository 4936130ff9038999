"""Whole models, emitted: every tensor of the file has the bits of the integer graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.helpers import ZOO_FLOAT
from tests.property.lowering_checks import Options, canonical
from tests.targets.tflite.emission import assert_same_bits, emit_float

pytest.importorskip("tflite_micro")

SAMPLES = Path(__file__).parents[3] / "sample_models"
SIZE = 16
#: Those that take a few seconds; the long tests have all.
SMALL = sorted(
    set(ZOO_FLOAT)
    - {"pytorch_super_resolution_tutorials", "ultraface_RFB-320_nopost", "yunet_n_320_320"}
)


def bound(path: Path) -> onnx.ModelProto:
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


def check(path: Path, options: Options) -> None:
    proto = canonical(bound(path))
    rng = np.random.default_rng(0)
    feeds = {
        value.name: rng.random([d.dim_value for d in value.type.tensor_type.shape.dim], np.float32)
        for value in proto.graph.input
    }
    emission = emit_float(proto, feeds, options)
    assert emission.emitted.refusals == ()
    assert_same_bits(emission, range(2))


@pytest.mark.parametrize("profile", ["tflm", "litert"])
@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize("name", ["digits", "fashion", "spoken_digits", "superres"])
def test_a_sample_model_computes_the_bits_of_its_graph(name, activations, profile):
    options = Options(activations=activations, profile=profile)
    check(SAMPLES / name / f"{name}.onnx", options)


@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize("name", SMALL)
def test_a_zoo_model_computes_the_bits_of_its_graph(zoo, name, activations):
    check(zoo / f"{name}.onnx", Options(activations=activations))


@pytest.mark.long
@pytest.mark.parametrize("profile", ["tflm", "litert"])
@pytest.mark.parametrize("name", ZOO_FLOAT)
def test_every_zoo_model_computes_the_bits_of_its_graph(zoo, name, profile):
    check(zoo / f"{name}.onnx", Options(profile=profile))
