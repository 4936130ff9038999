from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from intaglio.errors import RecipeError, UnsupportedError
from intaglio.passes.annotations import all_values, get_quantization, get_source_value, set_range
from intaglio.passes.lower.integer_only import find_float_tensors
from intaglio.passes.lower.to_integer import ToInteger
from intaglio.passes.operators import is_constant, is_float
from intaglio.passes.provenance import stamp_sources
from intaglio.passes.quantize.insert_qdq import InsertQdq
from intaglio.passes.quantize.isolate_tensors import IsolateTensors
from intaglio.passes.quantize.plan_tensors import PlanTensors
from intaglio.targets.onnx.session import make_session, with_outputs
from tests.passes.lower.float_graphs import GRAPHS

#: LSB of int16: Softmax has an 8-bit kernel, a table of 513 entries bends at its knots, and
#: linear resizing has 10-bit weights and a 10-bit scale.
INT16_LSB = {
    **dict.fromkeys(("softmax", "softmax_channels"), 400),
    **dict.fromkeys(("hard_swish", "hard_sigmoid", "exp", "elu", "sigmoid", "tanh"), 100),
    **dict.fromkeys(("swish", "gelu", "erf_gelu", "concat"), 100),
    **dict.fromkeys(("resize_linear", "resize_linear_asymmetric"), 200),
}


def run(model, feeds, extra=()):
    data = model.SerializeToString() if isinstance(model, onnx.ModelProto) else None
    data = ir.to_proto(model).SerializeToString() if data is None else data
    session = make_session(with_outputs(data, extra), optimize=False, threads=1)
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def random_feeds(model, seed=0):
    rng = np.random.default_rng(seed)
    symbols = {"N": 3, "H": 4, "W": 7}
    return {
        i.name: rng.normal(
            0, 1.2, [d if isinstance(d, int) else symbols[d.value] for d in i.shape]
        ).astype(np.float32)
        for i in model.graph.inputs
    }


def quantize(proto, activations="int8", feeds=None):
    """The quantized form, calibrated by min-max on one random input."""
    model = ir.from_proto(proto)
    stamp_sources(model)
    IsolateTensors()(model)
    feeds = feeds or random_feeds(model)
    values = [v for v in all_values(model) if is_float(v) and not is_constant(v)]
    found = {**run(model, feeds, [v.name for v in values]), **feeds}
    for value in values:
        set_range(value, found[value.name].min(), found[value.name].max())
    PlanTensors(PlanTensors.Config(activations=activations))(model)
    InsertQdq()(model)
    return model, feeds


def lower(model, **options):
    return ToInteger(ToInteger.Config(**options))(model.clone()).model


def integer_outputs(model, feeds):
    quantized = {i.name: get_quantization(i).quantize(feeds[i.name]) for i in model.graph.inputs}
    return run(model, quantized)


@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize("name", GRAPHS)
def test_integers_equal_float_arithmetic_within_its_rounding(name, activations):
    build, allowed = GRAPHS[name]
    model, feeds = quantize(build(), activations)
    integer = lower(model)
    assert find_float_tensors(integer) == []
    onnx.checker.check_model(ir.to_proto(integer))
    if activations == "int16":
        allowed = INT16_LSB.get(name, allowed + 1)
    expected = run(model, feeds)
    actual = integer_outputs(integer, feeds)
    for output in integer.graph.outputs:
        meaning = get_quantization(output)
        codes = meaning.quantize(expected[output.name]).astype(np.int64)
        error = np.abs(codes - actual[output.name])
        assert actual[output.name].shape == codes.shape
        assert error.max() <= allowed, (name, error.max())
        assert actual[output.name].min() != actual[output.name].max()
        assert get_source_value(output) == output.name


@pytest.mark.parametrize("profile", ["tflm", "litert", "tosa-single"])
def test_profiles_differ_only_in_rounding(profile):
    model, feeds = quantize(GRAPHS["conv"][0]())
    reference = integer_outputs(lower(model), feeds)["y"].astype(int)
    other = integer_outputs(lower(model, profile=profile), feeds)["y"].astype(int)
    assert np.abs(reference - other).max() <= 1


def test_float_border_has_the_same_integers_inside():
    model, feeds = quantize(GRAPHS["conv_relu"][0]())
    codes = integer_outputs(lower(model), feeds)["y"]
    bordered = lower(model, io="float")
    meaning = get_quantization(lower(model).graph.outputs[0])
    np.testing.assert_array_equal(run(bordered, feeds)["y"], meaning.dequantize(codes))
    assert find_float_tensors(bordered, border=True) == []
    assert find_float_tensors(bordered) != []


def test_second_run_changes_nothing():
    model, _ = quantize(GRAPHS["conv"][0]())
    first = ToInteger()(model)
    assert first.modified
    assert not ToInteger()(first.model).modified


def test_operator_without_integer_form_is_refused_by_source_name():
    g = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 21]>
        g (float[1,4,6] x) => (float[1,4,6] y) {
          axis = Constant <value = int64 {1}> ()
          y = CumSum (x, axis)
        }"""
    )
    model, _ = quantize(g)
    with pytest.raises(UnsupportedError) as caught:
        lower(model)
    assert caught.value.refusals[0].operator == "CumSum"
    assert "no integer definition" in str(caught.value)


def test_unknown_profile_is_a_recipe_error():
    model, _ = quantize(GRAPHS["relu"][0]())
    with pytest.raises(RecipeError, match="tflm"):
        lower(model, profile="tfml")
