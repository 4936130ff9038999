"""The quantization benchmark: its preparation of models, its scores and its verdicts."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.common import default_shared, open_session
from benchmarks.quantization import run, scoring, tables
from benchmarks.quantization.cases import all_cases
from benchmarks.quantization.ours import Variant
from benchmarks.quantization.prepare import prepare


def fixed_batch_model(path, mix_samples=False):
    """Conv, then Reshape to a constant shape that begins with 1, in operator set 11."""
    weights = np.random.default_rng(0).standard_normal((4, 1, 3, 3)).astype(np.float32)
    shape = np.array([1, -1] if not mix_samples else [-1, 8], np.int64)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"]),
            helper.make_node("Reshape", ["c", "shape"], ["r"]),
            helper.make_node("Softmax", ["r"], ["y"], axis=0 if mix_samples else 1),
        ],
        "fixed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [8 if mix_samples else 1, None])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(shape, "shape")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.save(model, str(path))
    return path


def test_a_fixed_batch_is_freed_and_the_operator_set_raised(tmp_path):
    samples = np.random.default_rng(1).standard_normal((5, 1, 6, 6)).astype(np.float32)
    source = fixed_batch_model(tmp_path / "a.onnx")
    found, free = prepare(source, tmp_path / "b.onnx", samples, free_batch=True)
    assert free
    assert onnx.load(str(found)).opset_import[0].version == 17
    together = open_session(found).run(None, {"x": samples})[0]
    one = open_session(source)
    apart = np.concatenate([one.run(None, {"x": sample[None]})[0] for sample in samples])
    np.testing.assert_allclose(together, apart, rtol=1e-5)


def test_a_batch_that_cannot_be_freed_stays(tmp_path):
    samples = np.random.default_rng(1).standard_normal((5, 1, 6, 6)).astype(np.float32)
    source = fixed_batch_model(tmp_path / "a.onnx", mix_samples=True)
    found, free = prepare(source, tmp_path / "b.onnx", samples, free_batch=True)
    assert not free
    assert onnx.load(str(found)).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


def test_psnr_of_one_step_everywhere():
    target = np.full((20, 20), 100, np.float32)
    output = (target + 1)[None, ..., None] / 255
    assert scoring.psnr(output, target, 2) == pytest.approx(20 * np.log10(255))


def test_the_bootstrap_interval_holds_the_mean_and_shrinks_with_samples():
    generator = np.random.default_rng(0)
    few, many = (generator.standard_normal(n) for n in (50, 5000))
    low, high = scoring.bootstrap([few])
    assert low < few.mean() < high
    narrow_low, narrow_high = scoring.bootstrap([many])
    assert narrow_high - narrow_low < (high - low) / 5


def test_a_variant_is_read_from_text():
    found = Variant.parse("wide: recipe=int16x8; calibrate.observe_ranges.observer=mse")
    assert found == Variant("wide", "int16x8", ("calibrate.observe_ranges.observer=mse",))
    with pytest.raises(ValueError, match="no variant"):
        Variant.parse("quantize.activations=int16")


@pytest.mark.parametrize(
    ("peer", "loss", "holds"),
    [(0.3, 0.35, True), (0.3, 0.45, False), (-0.4, 0.05, True), (-0.4, 0.15, False)],
)
def test_a_verdict_compares_with_the_better_of_peer_and_float(peer, loss, holds):
    def method(mean):
        return {"sets": {"t": {"loss": {"mean": mean}}}}

    data = {
        "sets": {"t": {"samples": 10_000, "metric": "top1", "limit": None}},
        "methods": {"ort-minmax": method(peer), "onnx-qdq default": method(loss)},
    }
    assert [ok for ok, _ in tables.verdicts(data, "t", "onnx-qdq default")] == [holds]


def test_a_run_gives_results_and_a_table(tmp_path):
    case = all_cases(default_shared())["digits"]()
    data = run.measure(case, ["ort-minmax"], [Variant("default")], [0], 60, lambda line: None)
    [name] = data["sets"]
    assert set(data["methods"]) == {"ort-minmax", "onnx-qdq default", "onnx-integer default"}
    for found in data["methods"].values():
        assert found["sets"][name]["agreement"]["mean"] > 95
        assert found["sets"][name]["sqnr_db"]["mean"] > 30
    run.write_json(tmp_path / "digits.json", data)
    assert "intaglio onnx-integer" in tables.write(tmp_path, tmp_path / "tables.md")
