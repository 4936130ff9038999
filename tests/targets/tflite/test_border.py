"""Inputs and outputs of files that are run as they stand."""

import numpy as np
import pytest

from intaglio.errors import InputError
from intaglio.running import open_runnable, run_batched
from intaglio.targets.tflite.border import read_border
from intaglio.targets.tflite.schema import schema
from intaglio.targets.tflite.writer import FileBuilder


def _relu_file(path, signature=None):
    builder = FileBuilder("test")
    x = builder.tensor("x", (1, 2, 2, 3), "int8", scale=0.5, zero_point=-3, signature=signature)
    y = builder.tensor("y", (1, 2, 2, 3), "int8", scale=0.25, zero_point=0, signature=signature)
    builder.operator("QUANTIZE", [x], [y], schema.QuantizeOptionsT())
    builder.inputs([x])
    builder.outputs([y])
    path.write_bytes(builder.to_bytes())
    return path


def test_specs_state_type_layout_and_quantization(tmp_path):
    inputs, outputs = read_border(_relu_file(tmp_path / "m.tflite"))
    assert (inputs[0].name, inputs[0].shape, inputs[0].layout) == ("x", (1, 2, 2, 3), "NHWC")
    assert (inputs[0].dtype, inputs[0].scale, inputs[0].zero_point) == ("int8", 0.5, -3)
    assert (outputs[0].scale, outputs[0].zero_point) == (0.25, 0)


def test_open_dimensions_are_question_marks(tmp_path):
    inputs, _ = read_border(_relu_file(tmp_path / "m.tflite", signature=(-1, 2, 2, 3)))
    assert inputs[0].shape == ("?", 2, 2, 3)


def test_a_file_of_others_runs_with_real_numbers(tmp_path):
    session = open_runnable(
        _relu_file(tmp_path / "m.tflite"), runtime="litert-reference", quantize_io=True
    )
    x = np.linspace(-4, 4, 12, dtype=np.float32).reshape(1, 2, 2, 3)
    np.testing.assert_allclose(session.run({"x": x})["y"], x, atol=0.26)


def test_many_samples_run_one_by_one_where_the_runtime_fixes_the_batch(tmp_path):
    pytest.importorskip("tflite_micro")
    path = _relu_file(tmp_path / "m.tflite", signature=(-1, 2, 2, 3))
    x = np.arange(-18, 18, dtype=np.int8).reshape(3, 2, 2, 3)
    found = [run_batched(open_runnable(path, runtime=r), {"x": x}) for r in ("tflm", "litert")]
    assert found[0]["y"].shape == x.shape
    np.testing.assert_array_equal(found[0]["y"], found[1]["y"])
    with pytest.raises(InputError, match="int64"):
        run_batched(open_runnable(path, runtime="tflm"), {"x": x.astype(np.int64)})
