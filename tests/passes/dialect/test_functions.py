"""The set of functions: signatures, integers only, and how a model is given those it uses."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from intaglio.errors import InternalError
from intaglio.passes.dialect.functions import (
    DOMAIN,
    FUNCTION_NAMES,
    OPSET,
    SPECIFICATIONS,
    VERSION,
    add_functions,
    function,
)
from tests.passes.dialect.one_node import make_session, run, scalars

OUTPUT_STAGE = ["zero_point", "minimum", "maximum"]
RESCALE = ["acc", "multiplier", "shift", *OUTPUT_STAGE]
SUM = [
    "a", "b", "a_zero_point", "b_zero_point", "left_shift", "a_multiplier", "a_shift",
    "b_multiplier", "b_shift", "multiplier", "shift", *OUTPUT_STAGE,
]  # fmt: skip
MUL = ["a", "b", "a_zero_point", "b_zero_point", "multiplier", "shift", *OUTPUT_STAGE]
MEAN = ["x", "axes", "offset", "multiplier", "shift", *OUTPUT_STAGE]
PRELU = [
    "x", "x_zero_point", "slope", "positive_multiplier", "positive_shift", "negative_multiplier",
    "negative_shift", *OUTPUT_STAGE,
]  # fmt: skip
STEP = ["w", "g", "multiplier", "shift", "step_shift", "limit"]
CONV = ["dilations", "group", "kernel_shape", "pads", "strides"]
CONV_TRANSPOSE = ["dilations", "group", "output_padding", "pads", "strides"]

#: Inputs and attributes: targets lower by name and position, so these are a contract.
SIGNATURES = {
    "RescaleDouble": (RESCALE, ["to"]),
    "RescaleSingle": (RESCALE, ["to"]),
    "RescaleWide": (RESCALE, ["to"]),
    "RescaleReal": (["acc", "mantissa", "shift", *OUTPUT_STAGE], ["to"]),
    "AddDouble": (SUM, ["to"]),
    "AddSingle": (SUM, ["to"]),
    "SubDouble": (SUM, ["to"]),
    "SubSingle": (SUM, ["to"]),
    "MulDouble": (MUL, ["to"]),
    "MulSingle": (MUL, ["to"]),
    "PReluDouble": (PRELU, ["to"]),
    "PReluSingle": (PRELU, ["to"]),
    "MeanDouble": (MEAN, ["to", "keepdims"]),
    "MeanSingle": (MEAN, ["to", "keepdims"]),
    "SumDouble": (MEAN, ["to", "keepdims"]),
    "SumSingle": (MEAN, ["to", "keepdims"]),
    "AbsDouble": (["x", "multiplier", "shift", *OUTPUT_STAGE], ["to"]),
    "AbsSingle": (["x", "multiplier", "shift", *OUTPUT_STAGE], ["to"]),
    "MaxInteger": (["a", "b"], []),
    "MinInteger": (["a", "b"], []),
    "ReduceMaxInteger": (["x", "axes"], ["keepdims"]),
    "ReduceMinInteger": (["x", "axes"], ["keepdims"]),
    "Table": (["x", "table"], []),
    "TableChannelwise": (["x", "table"], []),
    "TableInterpolated": (["x", "table"], []),
    "AdditiveLut": (
        ["x", "tables"],
        [
            "kernel_shape",
            "strides",
            "pads",
            "dilations",
            "group",
            "shift",
            "mask",
            "low",
            "pad_value",
        ],
    ),
    "CellStem": (["image", "weights", "bias"], ["strides"]),
    "CellFeatures": (["sums"], ["channels", "shift"]),
    "CellRows": (["features", "taps"], ["group", "shift"]),
    "CellResidual": (["features", "change"], ["shift"]),
    "CellHead": (
        ["image", "change", "sums"],
        ["upscale", "strides", "head_shift", "out_shift"],
    ),
    "BranchIndex": (["image"], ["shift", "mask", "low"]),
    "ReflectBefore": (["x"], ["reach"]),
    "BranchScale": (["features", "scale"], ["low"]),
    "BranchDepthwise": (["features", "tables"], ["low"]),
    "BranchMean": (["acc", "features"], ["count", "low", "high"]),
    "BranchSum": (["a", "b"], []),
    "TurnPair": (["image"], ["perm", "steps"]),
    "TurnedSum": (["image", "upright", "sideways"], ["upscale"]),
    "SigmoidInteger16": (["x", "table", "multiplier", "shift"], []),
    "TanhInteger16": (["x", "table", "multiplier", "shift"], []),
    "ConvInteger16": (["x", "w"], CONV),
    "MatMulInteger16": (["a", "b"], []),
    "MatMulInteger16By16": (["a", "b"], []),
    "ConvInteger8By16": (["x", "w", "x_zero_point"], CONV),
    "MatMulInteger8By16": (["a", "b", "a_zero_point"], []),
    "ConvTransposeInteger": (["x", "w", "x_zero_point"], CONV_TRANSPOSE),
    "ConvTransposeInteger16": (["x", "w"], CONV_TRANSPOSE),
    "AveragePoolInteger": (["x"], ["kernel_shape", "strides", "pads", "ceil_mode"]),
    "MaxPoolInteger16": (["x"], ["kernel_shape", "strides", "dilations", "pads", "ceil_mode"]),
    "DepthToSpaceInteger16": (["x"], ["blocksize", "mode"]),
    "SpaceToDepthInteger16": (["x"], ["blocksize"]),
    "SoftmaxInteger": (["x", "exp_table"], ["axis"]),
    "SoftmaxInteger16": (
        ["x", "exp_table", "reciprocal_table", "multiplier", "shift"],
        ["axis"],
    ),
    "ResizeLinearInteger": (["x", "y0", "y1", "wy", "x0", "x1", "wx"], []),
    "CounterHash": (["index", "seed"], []),
    "PerturbRademacher": (["index", "seed"], []),
    "PerturbBinomial": (["index", "seed"], []),
    "Displace": (["z", "distance"], []),
    "DisplaceWide": (["z", "distance"], []),
    "SignStepNearest": (STEP, []),
    "SignStepNearestWide": (STEP, []),
    "SignStepStochastic": ([*STEP, "index", "seed"], []),
    "SignStepStochasticWide": ([*STEP, "index", "seed"], []),
    "SignStepFloor": (STEP, []),
    "SignStepFloorWide": (STEP, []),
    "CrossEntropyBase2": (["logits", "labels"], ["bits"]),
    "SquaredError": (["logits", "targets"], []),
    "FeatureRanges": (["x"], ["tile"]),
    "FeatureEncode": (["x", "ranges"], ["levels", "tile"]),
    "FeatureDecode": (["x", "ranges"], ["levels", "tile"]),
}

INTEGER_TYPES = {
    onnx.TensorProto.INT8, onnx.TensorProto.INT16, onnx.TensorProto.INT32, onnx.TensorProto.INT64,
    onnx.TensorProto.UINT32, onnx.TensorProto.UINT64,
}  # fmt: skip


def test_signatures_are_the_contract():
    assert set(FUNCTION_NAMES) == set(SIGNATURES)
    for name, (inputs, attributes) in SIGNATURES.items():
        proto = ir.serde.serialize_function(function(name))
        assert list(proto.input) == inputs, name
        declared = [*proto.attribute, *(attribute.name for attribute in proto.attribute_proto)]
        assert sorted(declared) == sorted(attributes), name
        assert len(proto.output) == 1


@pytest.mark.parametrize("name", FUNCTION_NAMES)
def test_bodies_are_standard_integer_onnx(name):
    proto = ir.serde.serialize_function(function(name))
    assert (proto.domain, proto.name) == (DOMAIN, name)
    imports = {entry.domain: entry.version for entry in proto.opset_import}
    assert imports.pop("") == OPSET
    assert imports in ({}, {DOMAIN: VERSION})
    names = [node.name for node in proto.node]
    assert all(names)
    assert len(set(names)) == len(names)
    for node in proto.node:
        if node.domain == DOMAIN:
            assert node.op_type in FUNCTION_NAMES
            continue
        assert node.domain == ""
        for attribute in node.attribute:
            assert attribute.type not in (onnx.AttributeProto.FLOAT, onnx.AttributeProto.FLOATS)
            if attribute.type == onnx.AttributeProto.TENSOR:
                assert attribute.t.data_type in INTEGER_TYPES
            if node.op_type == "Cast" and not attribute.ref_attr_name:
                assert attribute.i in INTEGER_TYPES
        if node.op_type in ("ConstantOfShape", "Constant"):
            # Without a value these would be float.
            assert node.attribute


@pytest.mark.parametrize("name", FUNCTION_NAMES)
def test_documentation_has_every_part_of_the_signature(name):
    specification = SPECIFICATIONS[name]
    text = ir.serde.serialize_function(function(name)).doc_string
    assert text == specification.documentation()
    assert specification.description in text
    assert specification.formula in text
    assert specification.source in text
    for part in (*specification.inputs, *specification.attributes, specification.output):
        assert f"  {part}" in text


def test_each_call_gives_a_fresh_copy():
    first, second = function("Table"), function("Table")
    assert first is not second
    first.name = "Renamed"
    assert function("Table").name == "Table"
    assert second.name == "Table"


def test_an_unknown_function_is_a_bug():
    with pytest.raises(InternalError, match=r"no function intaglio\.Rotate") as caught:
        function("Rotate")
    assert caught.value.remedy


def model_with(*operators):
    """A model with nodes of these operators of the domain; only their types matter here."""
    nodes = [
        helper.make_node(operator, ["x"], [f"y{index}"], name=f"n{index}", domain=DOMAIN)
        for index, operator in enumerate(operators)
    ]
    nodes.append(helper.make_node("Identity", ["x"], ["y"], name="last"))
    info = [helper.make_tensor_value_info(key, onnx.TensorProto.INT8, ["N"]) for key in "xy"]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:])
    return ir.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    )


def functions_of(model):
    return [key[1] for key in model.functions if key[0] == DOMAIN]


def test_functions_are_added_with_those_they_call():
    model = model_with("ConvTransposeInteger16", "AddDouble")
    assert add_functions(model)
    assert set(functions_of(model)) == {
        "ConvTransposeInteger16", "ConvTransposeInteger", "AddDouble", "RescaleDouble"
    }  # fmt: skip
    assert model.graph.opset_imports[DOMAIN] == VERSION


def test_a_second_run_changes_nothing():
    model = model_with("MeanSingle", "Table")
    add_functions(model)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    assert not add_functions(model)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_unused_functions_and_their_import_go():
    model = model_with("MeanSingle")
    add_functions(model)
    stranger = ir.from_proto(
        onnx.parser.parse_function(
            '<domain: "other", opset_import: ["" : 21]> Same (x) => (y) { y = Identity (x) }'
        )
    )
    model.functions[stranger.identifier()] = stranger
    for node in list(model.graph):
        if node.domain == DOMAIN:
            model.graph.remove(node)
    assert add_functions(model)
    assert [key[:2] for key in model.functions] == [("other", "Same")]
    assert DOMAIN not in model.graph.opset_imports
    assert not add_functions(model)


def test_a_model_without_such_nodes_is_left_alone():
    model = model_with()
    assert not add_functions(model)
    assert not model.functions
    assert DOMAIN not in model.graph.opset_imports


def test_calls_from_subgraphs_and_from_other_functions_count():
    model = ir.from_proto(
        onnx.parser.parse_model(
            f"""<ir_version: 10, opset_import: ["" : 21, "{DOMAIN}" : 1, "other" : 1]>
            g (bool c, int8[N] x, int8[256] table) => (int8[N] y)
            {{
              t = other.Looked (x, table)
              y = If <
                then_branch = then () => (int8[N] a) {{ a = {DOMAIN}.Table (t, table) }},
                else_branch = otherwise () => (int8[N] b) {{ b = Identity (t) }}> (c)
            }}
            <domain: "other", opset_import: ["" : 21, "{DOMAIN}" : 1]>
            Looked (x, table) => (y) {{ y = {DOMAIN}.TableChannelwise (x, table) }}
            """
        )
    )
    add_functions(model)
    assert set(functions_of(model)) == {"Table", "TableChannelwise"}


def test_an_unknown_node_of_the_domain_is_a_bug():
    with pytest.raises(InternalError, match=r"no function intaglio\.Twirl"):
        add_functions(model_with("Twirl"))


def test_functions_nest_in_one_graph_without_name_clashes():
    # Two uses of a function that calls another one three times.
    parameters = scalars(
        a_zero_point=1, b_zero_point=2, left_shift=20, a_multiplier=2**30, a_shift=31,
        b_multiplier=2**30, b_shift=31, multiplier=2**30, shift=49, zero_point=3, minimum=-128,
        maximum=127,
    )  # fmt: skip
    x = np.arange(-5, 5, dtype=np.int8)
    names = ", ".join(list(parameters)[:2])
    tail = ", ".join(list(parameters)[2:])
    inputs = ", ".join(f"{value.dtype} {key}" for key, value in parameters.items())
    model = ir.from_proto(
        onnx.parser.parse_model(
            f"""<ir_version: 10, opset_import: ["" : 21, "{DOMAIN}" : 1]>
            g (int8[N] x, {inputs}) => (int8[N] y)
            {{
              t = {DOMAIN}.AddDouble <to = 3> (x, x, {names}, {tail})
              y = {DOMAIN}.AddDouble <to = 3> (t, x, {names}, {tail})
            }}"""
        )
    )
    add_functions(model)
    session = make_session(ir.to_proto(model))
    (result,) = session.run(None, {"x": x, **parameters})
    first = run("AddDouble", {"a": x, "b": x, **parameters}, np.int8, to=3)
    second = run("AddDouble", {"a": first, "b": x, **parameters}, np.int8, to=3)
    np.testing.assert_array_equal(result, second)
