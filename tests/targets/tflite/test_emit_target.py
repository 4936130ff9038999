"""The target: files, header, specs, refusals before anything is written, and running them."""

from __future__ import annotations

import re

import numpy as np
import pytest

from intaglio.border import border_quantization, border_specs
from intaglio.errors import RecipeError
from intaglio.passes.layout.to_channels_last import ToChannelsLast
from intaglio.targets.base import Prepared
from intaglio.targets.tflite import target as target_module
from intaglio.targets.tflite.resolver import MICRO_OPERATORS, require_micro, resolver_header
from intaglio.targets.tflite.target import Tflite
from tests.passes.lower.float_graphs import Graph
from tests.property.lowering_checks import Options, convert, run

pytest.importorskip("tflite_micro")


@pytest.fixture(scope="module")
def prepared():
    graph = Graph()
    graph.normal("w", 6, 4, 3, 3)
    graph.normal("b", 6)
    graph.op("Conv", ["x", "w", "b"], "c", pads=[1, 1, 1, 1])
    graph.op("Softplus", ["c"], "s")
    graph.op("GlobalAveragePool", ["s"], "g")
    graph.op("Flatten", ["g"], "y")
    proto = graph.model({"x": ["N", 4, 9, 8]})
    feeds = {"x": np.random.default_rng(0).standard_normal((1, 4, 9, 8)).astype(np.float32)}
    return prepare(convert(proto, feeds, Options()).integer)


def prepare(integer):
    model = ToChannelsLast()(integer).model
    quantization = border_quantization(model)
    return Prepared(
        {"model": model},
        "tflm",
        "integer",
        {"model": border_specs(model.graph.inputs, quantization)},
        {"model": border_specs(model.graph.outputs, quantization)},
    )


@pytest.fixture(scope="module")
def written(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    [artifact] = Tflite().emit(prepared, folder)
    return folder, artifact


def test_nothing_is_refused(prepared):
    assert Tflite().check(prepared) == []


def test_the_artifact_describes_the_file(written):
    folder, artifact = written
    data = (folder / artifact.path).read_bytes()
    assert artifact.path == "tflite/model.tflite"
    assert (artifact.bytes, artifact.arithmetic) == (len(data), "tflm")
    [image] = artifact.inputs
    assert (image.name, image.shape, image.dtype, image.layout) == (
        "x",
        (1, 9, 8, 4),
        "int8",
        "NHWC",
    )
    assert image.scale is not None
    assert artifact.outputs[0].shape == (1, 6)


def test_the_header_registers_each_operator_once(written):
    folder, _ = written
    text = (folder / "tflite/model_ops.h").read_text()
    calls = re.findall(r"resolver\.(\w+)\(\)", text)
    assert calls == ["AddAdd", "AddCast", "AddConv2D", "AddGather", "AddMean", "AddReshape"]
    assert f"MicroMutableOpResolver<{len(calls)}>" in text


def test_the_header_states_the_smallest_arena(written):
    folder, artifact = written
    text = (folder / "tflite/model_ops.h").read_text()
    [size] = re.findall(r"#define INTAGLIO_MODEL_ARENA_BYTES (\d+)", text)
    measured = {m.name: m.value for m in Tflite().measure(artifact, folder)}
    assert int(size) == measured["arena_minimum_bytes"]


def test_without_tflite_micro_the_header_says_how_to_get_the_arena(
    written, monkeypatch, prepared, tmp_path
):
    monkeypatch.setattr(target_module, "installed_runtimes", lambda: ("litert",))
    Tflite().emit(prepared, tmp_path)
    text = (tmp_path / "tflite/model_ops.h").read_text()
    assert "tflite-micro" in text
    assert "#define INTAGLIO_MODEL_ARENA_BYTES" not in text


def test_a_second_run_writes_the_same_bytes(prepared, written, tmp_path):
    folder, artifact = written
    [again] = Tflite().emit(prepared, tmp_path)
    assert again.sha256 == artifact.sha256
    for name in ("model.tflite", "model_ops.h"):
        first, second = (root / "tflite" / name for root in (folder, tmp_path))
        assert first.read_bytes() == second.read_bytes()


def test_the_opened_file_computes_the_graph(prepared, written):
    folder, artifact = written
    model = prepared.models["model"]
    x = np.random.default_rng(5).integers(-128, 128, (1, 9, 8, 4), np.int8)
    with Tflite().open(artifact, folder, "tflm") as session:
        found = session.run({"x": x}).outputs
    np.testing.assert_array_equal(found["y"], run(model, {"x": x})["y"])


def test_the_report_counts_operators_and_names_what_is_looked_up(written):
    folder, artifact = written
    report = Tflite().report(artifact, folder)
    assert report["operators"]["CONV_2D"] == 1
    assert sum(report["operators"].values()) == 6
    assert report["looked_up"] == ["s"]


def test_the_runtime_of_the_profile_comes_first(written):
    _, artifact = written
    first = Tflite().runtimes(artifact)[0]
    assert (first.name, first.arithmetic) == ("tflm", "tflm")


def test_an_unknown_runtime_is_refused(written):
    folder, artifact = written
    with pytest.raises(RecipeError, match="no-such-runtime"):
        Tflite().open(artifact, folder, "no-such-runtime")


def test_what_is_refused_is_known_before_anything_is_written():
    graph = Graph()
    graph.op("AveragePool", ["x"], "y", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    proto = graph.model({"x": [1, 2, 8, 8]})
    feeds = {"x": np.ones((1, 2, 8, 8), np.float32)}
    [refusal] = Tflite().check(prepare(convert(proto, feeds, Options()).integer))
    assert (refusal.node, refusal.operator) == ("n_y", "AveragePoolInteger")
    assert refusal.remedy


def test_capabilities_cite_kernels():
    rows = Tflite().capabilities()
    assert rows
    for row in rows:
        assert row.operator
        assert row.dtypes
        assert row.source


def test_a_header_for_litert_names_what_tflite_micro_lacks():
    text = resolver_header("net-2", ["GELU", "CONV_2D", "CONV_2D"], None)
    assert "// TFLite Micro has no GELU." in text
    assert "MicroMutableOpResolver<1>" in text
    assert "IntaglioNet2Register" in text


@pytest.mark.parametrize("operator", sorted(MICRO_OPERATORS))
def test_methods_are_named_after_their_operators(operator):
    method = MICRO_OPERATORS[operator].removeprefix("Add").lower()
    assert method == operator.replace("_", "").lower()
    require_micro(operator, "int8")
