"""Reading a model gives the network that was written; other graphs give None."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from intaglio.passes.table_networks.read import is_table_network, read_network
from intaglio.passes.table_networks.write import network_model
from tests.transforms.table_networks.random_networks import centred, reference

NETWORKS = {
    "centred": lambda: centred(1),
    "deep": lambda: centred(2, mixings=5, channels=24, upscale=3),
    "without mixings": lambda: centred(3, mixings=0),
    "shared": lambda: centred(4, mixings=3, shared=True),
    "denoise": lambda: centred(5, stride=2, upscale=2, kernel=6),
    "reference": lambda: reference(6),
    "deep reference": lambda: reference(7, stages=3, upscale=2),
    "without scales": lambda: reference(8, scales=False, stages=2),
    "one branch": lambda: reference(9, lower=False),
}


def assert_same(one, other):
    """Equal values, types and structure, field by field."""
    assert type(one) is type(other)
    if dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


def model_of(name):
    return network_model(NETWORKS[name](), "n")


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_what_was_written_is_read(name):
    network = NETWORKS[name]()
    assert_same(read_network(network_model(network, "n")), network)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_what_went_through_a_file_is_read(name, tmp_path):
    network = NETWORKS[name]()
    ir.save(network_model(network, "n"), tmp_path / "n.onnx")
    assert_same(read_network(ir.load(tmp_path / "n.onnx")), network)


def test_shared_tables_stay_shared():
    network = read_network(model_of("shared"))
    assert len({id(mixing.tables) for mixing in network.mixings}) == 1
    assert network.storage_bytes == NETWORKS["shared"]().storage_bytes
    apart = read_network(model_of("deep"))
    assert len({id(mixing.tables) for mixing in apart.mixings}) == 5


def test_other_models_are_none():
    text = """<ir_version: 10, opset_import: ["" : 21]>
    g (uint8[N, 1, H, W] image) => (uint8[N, 1, H, W] result) { result = Identity (image) }"""
    assert read_network(ir.from_proto(onnx.parser.parse_model(text))) is None
    two = text.replace("image)", "image, uint8[N] other)", 1)
    assert not is_table_network(ir.from_proto(onnx.parser.parse_model(two)))


def changed_attribute(model, operator, name, value):
    node = next(n for n in model.graph if n.op_type == operator)
    node.attributes[name] = ir.Attr(name, ir.AttributeType.INT, value)


@pytest.mark.parametrize(
    ("name", "operator", "attribute", "value"),
    [
        ("centred", "AdditiveLut", "low", -7),
        ("centred", "AdditiveLut", "shift", 1),
        ("centred", "CellRows", "group", 8),
        ("centred", "CellFeatures", "channels", 8),
        ("centred", "CellFeatures", "shift", 25),
        ("centred", "CellHead", "upscale", 2),
        ("reference", "BranchMean", "count", 8),
        ("reference", "BranchMean", "high", 30),
        ("reference", "BranchIndex", "mask", 15),
        ("reference", "BranchIndex", "shift", 1),
        ("reference", "ReflectBefore", "reach", 1),
        ("reference", "TurnedSum", "upscale", 2),
        ("deep reference", "AdditiveLut", "pad_value", 1),
    ],
)
def test_a_graph_that_differs_in_one_number_is_none(name, operator, attribute, value):
    model = model_of(name)
    changed_attribute(model, operator, attribute, value)
    assert read_network(model) is None


def test_a_turn_that_is_none_of_the_four_is_none():
    model = model_of("reference")
    node = next(n for n in model.graph if n.op_type == "TurnPair")
    node.attributes["steps"] = ir.Attr("steps", ir.AttributeType.INTS, [1, -1])
    assert read_network(model) is None


def test_further_nodes_are_none():
    model = model_of("centred")
    model.graph.append(ir.node("Identity", [model.graph.inputs[0]]))
    assert read_network(model) is None


def test_a_residual_from_elsewhere_is_none():
    model = model_of("centred")
    nodes = [n for n in model.graph if n.op_type == "CellResidual"]
    nodes[1].replace_input_with(0, nodes[0].inputs[0])
    assert read_network(model) is None


def test_computed_tables_are_none():
    model = model_of("centred")
    node = next(n for n in model.graph if n.op_type == "AdditiveLut")
    same = ir.node("Identity", [node.inputs[1]])
    model.graph.insert_before(node, same)
    node.replace_input_with(1, same.outputs[0])
    assert read_network(model) is None


def test_branches_of_unlike_constants_are_none():
    model = model_of("reference")
    node = next(n for n in model.graph if n.op_type == "AdditiveLut")
    other = np.array(node.inputs[1].const_value.numpy())
    other[0, 0, 0] ^= 1
    value = ir.Value(name="other", const_value=ir.tensor(other, name="other"))
    model.graph.initializers["other"] = value
    node.replace_input_with(1, value)
    assert read_network(model) is None
