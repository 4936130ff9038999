"""What lies beyond a limit of TOSA is refused, and what lies just within gives the same bits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import intaglio
from intaglio.errors import UnsupportedError
from intaglio.targets.tosa.environment import Environment, open_environment, python_of
from tests.property.lowering_checks import Options, canonical
from tests.targets.tosa.emission import assert_same_bits, emit_float


def model_of(nodes, inputs, outputs=("y",), constants=()) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes],
        "graph",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in dict(constants).items()],
    )
    opset = [helper.make_opsetid("", 21)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10)


def emission_of(proto, profile="tflm"):
    rng = np.random.default_rng(0)
    feeds = {
        value.name: rng.normal(size=[d.dim_value for d in value.type.tensor_type.shape.dim]).astype(
            np.float32
        )
        for value in proto.graph.input
    }
    return emit_float(canonical(proto), feeds, Options(activations="int8", profile=profile))


@pytest.mark.parametrize("scales", [[1, 2, 2, 2], [2, 1, 1, 1], [1, 2, 1, 1]])
def test_samples_and_channels_are_not_resized(scales):
    proto = model_of(
        [("Resize", ["x", "", "s"], ["y"], {"mode": "nearest"})],
        {"x": [1, 3, 5, 4]},
        constants={"s": np.array(scales, np.float32)},
    )
    [refusal] = emission_of(proto).emitted.refusals
    assert "samples or channels" in refusal.reason
    assert "Tile" in refusal.remedy


@pytest.mark.parametrize("profile", ["tflm", "tosa-single"])
def test_a_sum_that_is_clipped_to_next_to_nothing(environment, profile):
    proto = model_of(
        [("Add", ["a", "b"], ["s"]), ("Clip", ["s", "low", "high"], ["y"])],
        {"a": [2, 9], "b": [2, 9]},
        constants={"low": np.float32(0), "high": np.float32(1e-7)},
    )
    emission = emission_of(proto, profile)
    assert not emission.emitted.refusals
    assert_same_bits(emission, range(3))


def test_three_terms_of_shapes_that_stretch_each_other(environment):
    proto = model_of(
        [("Sum", ["a", "b", "c"], ["y"])], {"a": [1, 3, 1], "b": [3, 1], "c": [1, 1, 4]}
    )
    assert_same_bits(emission_of(proto), range(3))


@pytest.mark.parametrize("rank", [6, 7])
def test_six_dimensions_and_no_more(environment, rank):
    shape = [1, 2, 3, 1, 2, 2, 1][:rank]
    proto = model_of(
        [
            ("Reshape", ["x", "shape"], ["r"]),
            ("Transpose", ["r"], ["t"], {"perm": list(range(rank))[::-1]}),
            ("Relu", ["t"], ["y"]),
        ],
        {"x": [1, 24]},
        constants={"shape": np.array(shape, np.int64)},
    )
    emission = emission_of(proto)
    if rank == 6:
        assert_same_bits(emission, range(2))
    else:
        assert "7 dimensions" in emission.emitted.refusals[0].reason


@pytest.mark.parametrize("groups", [2, 65, 130])
def test_many_groups_are_joined_in_steps(environment, groups):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(2 * groups, 2, 1, 1)).astype(np.float32)
    proto = model_of(
        [("Conv", ["x", "w"], ["y"], {"group": groups})],
        {"x": [1, 2 * groups, 2, 3]},
        constants={"w": weight},
    )
    assert_same_bits(emission_of(proto), range(2))


def test_more_than_64_tensors_are_not_joined():
    names = [f"x{number}" for number in range(65)]
    proto = model_of([("Concat", names, ["y"], {"axis": 1})], {key: [1, 2] for key in names})
    [refusal] = emission_of(proto).emitted.refusals
    assert "65 tensors" in refusal.reason


def test_table_layers_take_one_sample(tmp_path):
    rng = np.random.default_rng(0)
    proto = model_of(
        [("Conv", ["x", "w"], ["y"])],
        {"x": [2, 3, 6, 6]},
        constants={"w": rng.normal(size=(2, 3, 3, 3)).astype(np.float32)},
    )
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(UnsupportedError) as caught:
        intaglio.convert(
            tmp_path / "m.onnx", "lut", ["tosa"],
            {"x": rng.normal(size=(8, 3, 6, 6)).astype(np.float32)}, tmp_path / "b",
            sets={"tables.substitute_convolutions.force": True},
        )  # fmt: skip
    assert "one sample" in caught.value.refusals[0].reason


def test_an_environment_made_anew_is_asked_anew(fake_python):
    folder = fake_python("echo 2026.8.0")
    assert open_environment(folder, "it", "none").version == "2026.8.0"
    python = python_of(folder)
    python.unlink()
    python.write_text("#!/bin/sh\necho 2026.9.0\n")
    python.chmod(0o755)
    assert open_environment(folder, "it", "none") == Environment(python, "2026.9.0")
