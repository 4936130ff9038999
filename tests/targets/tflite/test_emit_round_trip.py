"""Published int8 files, read and emitted again: the same bits, no transposes, not larger."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from intaglio.passes.layout.to_channels_last import ToChannelsLast
from intaglio.passes.lower.shift_unsigned import ShiftUnsigned
from intaglio.passes.lower.to_integer import ToInteger
from intaglio.recipe import load_recipe
from intaglio.registry import load_pass
from intaglio.targets.tflite.emit import emit
from intaglio.targets.tflite.read import read_tflite
from intaglio.targets.tflite.sessions import TfliteSession
from tests.targets.tflite.emission import Emission, assert_same_bits

pytest.importorskip("tflite_micro")

PUBLISHED = (
    "emlearn_mnist_cnn_int8",
    "hello_world_int8",
    "ic_resnet8_int8",
    "kws_ref_model_int8",
    "micro_speech_quantized",
    "person_detect_qdim_fixed",
    "vww_96_int8",
)
LARGEST = 1.03


def emission_of(path: Path) -> Emission:
    model: ir.Model = read_tflite(path, {})
    for step in load_recipe("int8").steps:
        if step.pass_name.startswith("canonicalize."):
            model = load_pass(step.pass_name)()(model).model
    for step in (ShiftUnsigned(), ToInteger(), ToChannelsLast()):
        model = step(model).model
    return Emission(model, emit(model, "tflm"), "tflm")


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_file_comes_back_as_it_was(zoo, tmp_path, name):
    path = zoo / f"{name}.tflite"
    emission = emission_of(path)
    assert emission.emitted.refusals == ()
    assert "TRANSPOSE" not in emission.emitted.operators
    assert len(emission.emitted.data) <= LARGEST * path.stat().st_size
    again = tmp_path / "again.tflite"
    again.write_bytes(emission.emitted.data)
    with TfliteSession(path, "tflm") as old, TfliteSession(again, "tflm") as new:
        for seed in range(3):
            sample = old.sample(seed)
            renamed = dict(zip(new.sample(), sample.values(), strict=True))
            first, second = old.run(sample).outputs, new.run(renamed).outputs
            for a, b in zip(first.values(), second.values(), strict=True):
                np.testing.assert_array_equal(a, b, strict=True)
    assert_same_bits(emission, range(1))
