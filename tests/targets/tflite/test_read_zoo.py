"""Models that others trained: read, they compute what the runtimes compute on the files."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from intaglio.errors import UnsupportedError
from intaglio.passes.annotations import get_layout, get_quantization, get_source_value
from intaglio.passes.lower.shift_unsigned import ShiftUnsigned
from intaglio.passes.lower.to_integer import ToInteger
from intaglio.targets.tflite.read import read_tflite
from intaglio.targets.tflite.sessions import TfliteSession
from tests.helpers import open_session
from tests.targets.tflite.one_operator import feed, run_read

FLOAT = (
    "emlearn_mnist_cnn_fp32",
    "hello_world_float",
    "ic_resnet8_float",
    "mobilenet_v1_0.25_224_float",
    "qualcomm_kws_saved_model_float",
    "ultraface_RFB-320_nopost",
    "vww_96_float",
)
INT8 = (
    "emlearn_mnist_cnn_int8",
    "hello_world_int8",
    "ic_resnet8_int8",
    "kws_ref_model_int8",
    "micro_speech_quantized",
    "person_detect_qdim_fixed",
    "vww_96_int8",
)


def read(zoo, name):
    """A model with the sizes that its file states in place of open ones."""
    path = zoo / f"{name}.tflite"
    model = read_tflite(path)
    shapes = {
        str(value.name): [d if isinstance(d, int) else 1 for d in value.shape]
        for value in model.graph.inputs
    }
    return read_tflite(path, shapes)


def named(model, arrays):
    return {str(v.name): array for v, array in zip(model.graph.inputs, arrays, strict=True)}


@pytest.mark.parametrize("name", FLOAT)
def test_a_float_model_computes_what_litert_computes(zoo, name):
    model = read(zoo, name)
    inputs = feed(model, seed=3, low=-1, high=1)
    session = TfliteSession(zoo / f"{name}.tflite", "litert-reference")
    expected = session.run(named(model, inputs)).outputs
    session.close()
    for value, found in zip(model.graph.outputs, run_read(model, inputs), strict=True):
        wanted = expected[str(value.name)]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=3e-5 * np.abs(wanted).max())


@pytest.mark.parametrize(("profile", "runtime"), [("tflm", "tflm"), ("litert", "litert-reference")])
@pytest.mark.parametrize("name", INT8)
def test_an_int8_model_keeps_its_bits(zoo, name, profile, runtime):
    """Every inner tensor, too."""
    model = read(zoo, name)
    inputs = feed(model, seed=5)
    ToInteger(ToInteger.Config(profile=profile))(model)
    inner = {
        value: get_source_value(value)
        for node in model.graph
        for value in node.outputs
        if get_source_value(value) and get_quantization(value)
    }
    session = TfliteSession(zoo / f"{name}.tflite", runtime)
    expected = session.run(named(model, inputs), inner=list(inner.values()))
    session.close()
    results = dict(zip(*run_inner(model, list(inner), inputs), strict=True))
    for value in model.graph.outputs:
        np.testing.assert_array_equal(results[value.name], expected.outputs[str(value.name)])
    compared = 0
    for value, source in inner.items():
        wanted = expected.inner.get(source)
        if wanted is None:
            continue
        found = results[value.name]
        if found.ndim == 4:
            # Channels come first where a convolution or a pooling made it.
            last = found.transpose(0, 2, 3, 1)
            found = last if np.array_equal(last, wanted) else found
        np.testing.assert_array_equal(found, wanted, err_msg=source)
        compared += 1
    assert compared >= len(inner) // 3


def run_inner(model, values, inputs):
    """Names and results of the outputs and of some inner values."""
    extended = model.clone()
    wanted = {value.name for value in values}
    have = {value.name for value in extended.graph.outputs}
    for node in extended.graph:
        extended.graph.outputs.extend(
            value for value in node.outputs if value.name in wanted - have
        )
    return [value.name for value in extended.graph.outputs], run_read(extended, inputs)


def test_the_known_trap_is_repaired_with_a_warning(zoo):
    trap, fixed = read(zoo, "person_detect"), read(zoo, "person_detect_qdim_fixed")
    assert "quantized_dimension" in trap.metadata_props["intaglio.warnings"]
    inputs = feed(fixed, seed=2)
    np.testing.assert_array_equal(*run_read(trap, inputs), *run_read(fixed, inputs))


def test_custom_operators_are_refused_with_their_names(zoo):
    with pytest.raises(UnsupportedError) as caught:
        read_tflite(zoo / "audio_preprocessor_int8.tflite")
    found = {refusal.operator for refusal in caught.value.refusals}
    assert len(found) == 9
    assert {"SignalWindow version 1", "SignalPCAN version 1"} <= found


def test_the_unsigned_model_becomes_a_signed_one(zoo):
    name = "coral_mobilenet_v1_0.25_128_quant"
    model = read(zoo, name)
    [x] = feed(model, seed=1)
    ShiftUnsigned()(model)
    ToInteger(ToInteger.Config(profile="litert"))(model)
    [found] = run_read(model, [(x.astype(np.int16) - 128).astype(np.int8)])
    session = TfliteSession(zoo / f"{name}.tflite", "litert-reference")
    [wanted] = session.run({"input": x}).outputs.values()
    session.close()
    # The average of unsigned integers is rounded in another direction at ties below 128.
    difference = found.astype(int) + 128 - wanted
    assert np.abs(difference).max() <= 1
    assert np.count_nonzero(difference) <= difference.size // 50


def test_the_segmentation_model_with_its_custom_operator(zoo):
    model = read(zoo, "selfie_segmentation")
    assert [node.op_type for node in model.graph].count("ConvTranspose") == 1
    assert model.metadata_props["intaglio.source_dtype"] == "float16"
    assert not {"Cast", "DequantizeLinear"} & {node.op_type for node in model.graph}
    [mask] = run_read(model, feed(model, low=0, high=1))
    assert mask.shape == (1, 256, 256, 1)
    assert mask.min() >= 0
    assert mask.max() <= 1


def test_borders_keep_the_order_of_the_file(zoo):
    model = read(zoo, "vww_96_float")
    [x] = model.graph.inputs
    assert (list(x.shape), get_layout(x)) == ([1, 96, 96, 3], "NHWC")


def test_onnxruntime_takes_every_quantized_model(zoo):
    for name in INT8:
        assert open_session(read(zoo, name)) is not None


def test_sources_are_the_tensors_of_the_file(zoo):
    model = read(zoo, "ic_resnet8_int8")
    assert isinstance(model, ir.Model)
    session = TfliteSession(zoo / "ic_resnet8_int8.tflite", "tflm")
    names = {entry.name for entry in session.table.tensors}
    session.close()
    used = {
        get_source_value(value)
        for node in model.graph
        for value in node.outputs
        if node.op_type == "DequantizeLinear"
    }
    assert len(used & names) > 30
