"""Corners of the operators: each unit right to the LSB, or refused by name with the reason."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from intaglio.errors import RecipeError, UnsupportedError
from intaglio.passes.annotations import all_values, set_precision, set_range
from intaglio.passes.lower.to_integer import ToInteger
from intaglio.passes.operators import is_constant, is_float
from intaglio.passes.quantize.plan_tensors import PlanTensors
from tests.passes.lower.corner_graphs import ACCEPTED, REFUSED, chain, normal, one
from tests.passes.lower.float_graphs import GRAPHS, Graph
from tests.property.lowering_checks import Options, canonical, check, convert, run

SYMBOLS = {"N": 3, "H": 6, "W": 7}


def feeds_of(model, absolute=False):
    rng = np.random.default_rng(0)
    feeds = {}
    for value in model.graph.input:
        kind = value.type.tensor_type
        shape = [SYMBOLS[d.dim_param] if d.dim_param else d.dim_value for d in kind.shape.dim]
        if kind.elem_type == onnx.TensorProto.FLOAT:
            array = rng.normal(0, 1.2, shape).astype(np.float32)
            feeds[value.name] = np.abs(array) if absolute else array
        else:
            feeds[value.name] = rng.integers(0, 3, shape)
    return feeds


@pytest.mark.parametrize("io", ["integer", "float"])
@pytest.mark.parametrize("activations", ["int8", "int16", "uint8"])
@pytest.mark.parametrize("name", ACCEPTED)
def test_corner_is_right(name, activations, io):
    model = ACCEPTED[name]()
    if name.startswith("gemm"):
        model = canonical(model)  # there are many ways to write a Gemm, and one to quantize it
    assert check(model, feeds_of(model), Options(activations=activations, io=io)) is not None


@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize("name", REFUSED)
def test_corner_is_refused(name, activations):
    build, words = REFUSED[name]
    model = build()
    with pytest.raises(UnsupportedError) as caught:
        convert(model, feeds_of(model), Options(activations=activations))
    assert words in str(caught.value)
    assert {r.node for r in caught.value.refusals} <= {n.name for n in model.graph.node}


@pytest.mark.parametrize(
    "name",
    ["conv", "gemm", "average_pool", "softmax_channels", "resize_linear", "global_average_pool"],
)
@pytest.mark.parametrize("activations", ["int8", "int16"])
def test_empty_batch_gives_an_empty_result(name, activations):
    model = GRAPHS[name][0]()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    del model.graph.value_info[:]
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "N"
    feeds = {"x": feeds_of(model)["x"]}
    integer = convert(model, feeds, Options(activations=activations)).integer
    empty = feeds["x"][:0].astype(activations)
    assert run(integer, {"x": empty})["y"].shape[0] == 0


NAMES = [
    {"c": "x_scale", "r": "x_quantized"},
    {"r": "x_dequantized", "c": "y_float"},
    {"w": "x_zero_point", "b": "y_scale"},
    {"w": "y_quantized", "r": "y_weight", "b": "y_bias"},
    {"r": "y_products", "c": "y_multiplier"},
    {"c": "int8_0", "r": "float32_1.0", "w": "w_int8"},
    {"r": "y_2", "c": "y_shape"},
    {"x": "in put:0", "y": "a/b\nc'\"{}"},
    {"x": "π", "y": "出力"},
    {"r": "r" * 5000},
]


@pytest.mark.parametrize("activations", ["int8", "uint8"])
@pytest.mark.parametrize("names", NAMES, ids=lambda names: "-".join(names.values())[:30])
def test_names_that_passes_would_like_to_take_are_taken_already(names, activations):
    model = chain(("Conv", normal(3, 2, 3, 3), normal(3)), ("Relu",), ("Sigmoid",))
    usual = {"p0_0": "w", "p0_1": "b", "v0": "c", "v1": "r"}
    graph = model.graph
    for node in graph.node:
        node.input[:] = [names.get(usual.get(n, n), usual.get(n, n)) for n in node.input]
        node.output[:] = [names.get(usual.get(n, n), usual.get(n, n)) for n in node.output]
        node.name = f"{node.output[0]}_QuantizeLinear"
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = names.get(usual.get(value.name, value.name), usual.get(value.name, value.name))
    for io in ("integer", "float"):
        options = Options(activations=activations, io=io)
        assert check(model, feeds_of(model), options) is not None


def test_outputs_are_made_under_their_names_without_a_copy():
    model = GRAPHS["conv_relu"][0]()
    integer = convert(model, feeds_of(model), Options()).integer
    assert [n.op_type for n in integer.graph] == ["ConvInteger", "Add", "RescaleDouble"]


def test_split_is_made_once():
    model = GRAPHS["split"][0]()
    integer = convert(model, feeds_of(model), Options()).integer
    assert [n.op_type for n in integer.graph] == ["Split"]
    assert [v.name for v in integer.graph.outputs] == ["y", "y2"]


def test_square_root_of_numbers_that_may_be_negative_is_refused():
    model = one("Sqrt", [2, 3, 4])
    feeds = {"x": np.linspace(0.0, 2.0, 24, dtype=np.float32).reshape(2, 3, 4)}
    assert check(model, feeds, Options()) is not None
    # 16-bit tensors are symmetric: their negative half says nothing about the numbers.
    assert check(model, feeds, Options(activations="int16")) is not None
    quantized = convert(model, feeds, Options()).quantized
    zero = quantized.graph.initializers["x_zero_point"]
    zero.const_value = ir.tensor(np.array(0, np.int8), name=zero.name)
    with pytest.raises(UnsupportedError, match=r"Sqrt is not defined at -"):
        ToInteger()(quantized)


def test_sums_that_could_overflow_are_refused():
    many = 70_000
    model = one("ReduceMean", [1, many], np.array([1]))
    with pytest.raises(UnsupportedError, match="does not fit int32"):
        convert(model, feeds_of(model), Options(activations="int16"))
    # Not one of the operators that quantize.insert_qdq proves.
    model = one("MatMul", [1, 1, many], np.ones((many, 2), np.float32))
    with pytest.raises(UnsupportedError, match="which int32 cannot hold"):
        convert(model, feeds_of(model, absolute=True), Options())
    with pytest.raises(UnsupportedError, match="16-bit kernel"):
        convert(model, feeds_of(model), Options(activations="int16"))
    g = Graph()
    g.op("MatMul", ["x", "z"], "y")
    model = g.model({"x": [1, 1, 2 * many], "z": [1, 2 * many, 2]})
    with pytest.raises(UnsupportedError, match="does not fit int32"):
        convert(model, feeds_of(model), Options())


def test_wide_rescale_refuses_scales_its_kernel_does_not_have():
    model = GRAPHS["conv"][0]()
    quantized = convert(model, feeds_of(model), Options(activations="int16")).quantized
    scale = quantized.graph.initializers["y_scale"]
    scale.const_value = ir.tensor(np.float32(1e-12), name=scale.name)
    with pytest.raises(UnsupportedError, match="far too small"):
        ToInteger()(quantized)


def test_clip_by_a_computed_bound_is_refused():
    g = Graph()
    g.op("Clip", ["x", "z"], "y")
    model = g.model({"x": [2, 3], "z": []})
    with pytest.raises(UnsupportedError, match="Clip"):
        convert(model, feeds_of(model), Options())


def test_chosen_precision_wins_over_the_default_either_way():
    model = ir.from_proto(GRAPHS["conv_relu"][0]())
    for value in all_values(model):
        if is_float(value) and not is_constant(value):
            set_range(value, -1.0, 3.0)
    [x] = model.graph.inputs
    set_precision(x, "int8")
    PlanTensors(PlanTensors.Config(activations="int16"))(model)
    notes = {v.name: v.metadata_props["intaglio.quantization"] for v in (x, model.graph.outputs[0])}
    assert '"int8"' in notes["x"]
    assert '"int16"' in notes["y"]


def test_range_that_is_not_finite_is_an_error_with_a_remedy():
    model = ir.from_proto(GRAPHS["relu"][0]())
    for value in all_values(model):
        set_range(value, float("-inf"), 1.0)
    with pytest.raises(RecipeError, match="cannot be quantized"):
        PlanTensors()(model)
