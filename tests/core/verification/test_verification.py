from __future__ import annotations

import json
import tracemalloc

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from intaglio.bundle_files import file_sha256
from intaglio.errors import InputError, RecipeError
from intaglio.verification.verify import verify_bundle
from tests.core.small_bundle import (
    INPUT,
    OUTPUT,
    WEIGHT,
    edit_manifest,
    expected_outputs,
    integer_model,
    some_inputs,
    write_bundle,
)


def pair(report, artifact, reference):
    found = [p for p in report.pairs if (p.artifact, p.reference) == (artifact, reference)]
    assert len(found) == 1, report.pairs
    return found[0]


def test_every_artifact_is_compared_with_the_integer_model_and_the_source(tmp_path):
    report = verify_bundle(write_bundle(tmp_path / "b", samples=some_inputs(8)))
    assert [(p.artifact, p.reference) for p in report.pairs] == [
        ("onnx-qdq", "onnx-integer"),
        ("onnx-qdq", "source"),
        ("onnx-integer", "source"),
    ]
    assert report.ok
    assert report.failures == []


def test_differences_are_those_that_numpy_counts(tmp_path):
    x = some_inputs(2000)
    report = verify_bundle(write_bundle(tmp_path / "b"), inputs={"x": x})
    expected = expected_outputs(x)
    difference = expected["onnx-qdq"] - expected["onnx-integer"]
    assert set(np.unique(difference)) == {-1, 0}
    found = pair(report, "onnx-qdq", "onnx-integer")
    assert found.verdict == "within 1 lsb"
    assert found.max_error_lsb == 1
    assert found.values == difference.size
    assert found.mismatch_fraction == np.mean(difference != 0)
    assert found.histogram == ((-1, np.sum(difference == -1)), (0, np.sum(difference == 0)))
    real = (expected["onnx-integer"] - 5) / 8
    noise = difference / 8
    wanted = 10 * np.log10(np.sum(real**2) / np.sum(noise**2))
    assert found.sqnr_db == pytest.approx(wanted)


def test_the_source_is_compared_in_steps_of_the_output(tmp_path):
    x = some_inputs(500)
    report = verify_bundle(write_bundle(tmp_path / "b"), inputs={"x": x})
    expected = expected_outputs(x)
    ideal = np.rint(expected["source"] * 8) + 5  # not clamped: what is out of range is an error
    difference = expected["onnx-integer"] - ideal
    found = pair(report, "onnx-integer", "source")
    assert found.max_error_lsb == np.abs(difference).max()
    assert found.mismatch_fraction == np.mean(difference != 0)


def test_an_equal_artifact_of_the_same_arithmetic_is_exact(tmp_path):
    bundle = write_bundle(tmp_path / "b", extra={"twin": integer_model()}, leave_out=("onnx-qdq",))
    report = verify_bundle(bundle)
    found = pair(report, "onnx-qdq", "onnx-integer")
    assert found.must_be_exact
    assert (found.verdict, found.max_error_lsb, found.mismatch_fraction) == ("exact", 0, 0)
    assert found.sqnr_db == np.inf
    assert report.ok


def test_one_differing_weight_fails_artifacts_of_one_arithmetic(tmp_path):
    weight = WEIGHT.copy()
    weight[1, 2] += 1
    bundle = write_bundle(
        tmp_path / "b", extra={"twin": integer_model(weight=weight)}, leave_out=("onnx-qdq",)
    )
    report = verify_bundle(bundle)
    assert not report.ok
    assert len(report.failures) == 1
    assert "though both state the arithmetic 'tflm'" in report.failures[0]


def test_a_changed_file_fails_before_anything_runs(tmp_path):
    bundle = write_bundle(tmp_path / "b")
    path = bundle.folder / "onnx-integer" / "model.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    report = verify_bundle(bundle)
    assert not report.ok
    assert "onnx-integer/model.onnx has changed" in report.failures[0]
    assert report.pairs == []
    assert json.loads((bundle.folder / "verify.json").read_text())["ok"] is False


def test_an_artifact_that_cannot_run_is_one_failure_and_the_others_go_on(tmp_path):
    bundle = write_bundle(tmp_path / "b", samples=some_inputs(4))
    path = bundle.folder / "onnx-qdq" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-40])

    def forgive(manifest):
        manifest["artifacts"][0]["sha256"] = file_sha256(path)

    report = verify_bundle(edit_manifest(bundle, forgive))
    assert [f.partition(":")[0] for f in report.failures] == ["onnx-qdq cannot be run"]
    assert pair(report, "onnx-qdq", "onnx-integer").verdict == "failed"
    assert pair(report, "onnx-qdq", "onnx-integer").error
    assert pair(report, "onnx-integer", "source").values == (4 + 67) * 3


def test_a_reference_that_cannot_run_fails_every_pair_with_it(tmp_path):
    bundle = write_bundle(tmp_path / "b")
    path = bundle.folder / "onnx-integer" / "model.onnx"
    path.write_bytes(b"not a model")

    def forgive(manifest):
        manifest["artifacts"][1]["sha256"] = file_sha256(path)

    report = verify_bundle(edit_manifest(bundle, forgive))
    assert len(report.failures) == 1
    assert pair(report, "onnx-qdq", "onnx-integer").verdict == "failed"
    assert pair(report, "onnx-qdq", "source").verdict != "failed"


@pytest.mark.parametrize(
    ("require", "ok"),
    [
        ("exact", False),
        ("lsb=0", False),
        ("lsb=1", True),
        ("sqnr=20", True),
        ("sqnr=90", False),
        (["lsb=1", "sqnr=20"], True),
        (["lsb=1", "sqnr=90"], False),
    ],
)
def test_requirements(tmp_path, require, ok):
    bundle = write_bundle(tmp_path / "b", samples=some_inputs(200))
    report = verify_bundle(bundle, require=require)
    assert report.ok is ok
    assert bool(report.failures) is not ok


def test_a_requirement_with_nothing_to_compare_is_an_error(tmp_path):
    bundle = write_bundle(tmp_path / "b", leave_out=("onnx-integer",))
    with pytest.raises(RecipeError, match="nothing to compare"):
        verify_bundle(bundle, require="exact")


def test_sqnr_is_over_real_samples_only(tmp_path):
    x = some_inputs(50)
    with_generated = verify_bundle(write_bundle(tmp_path / "a", samples=x))
    without = verify_bundle(write_bundle(tmp_path / "b"), inputs={"x": x})
    assert with_generated.inputs["generated"] == 67
    assert without.inputs["generated"] == 0
    for one, other in zip(with_generated.pairs, without.pairs, strict=True):
        assert one.sqnr_db == pytest.approx(other.sqnr_db)
        assert one.values == other.values + 67 * 3


def test_without_samples_generated_inputs_are_enough_and_said_so(tmp_path):
    report = verify_bundle(write_bundle(tmp_path / "b"))
    assert report.ok
    assert report.inputs == {"samples": 0, "generated": 67, "layers": 67}
    assert any("no real samples" in warning for warning in report.warnings)
    assert all(np.isfinite(p.sqnr_db) for p in report.pairs if p.reference == "source")


def test_top1_and_agreement_are_those_of_numpy(tmp_path):
    x = some_inputs(300)
    expected = expected_outputs(x)
    labels = expected["source"].argmax(axis=1)
    labels[:30] = (labels[:30] + 1) % 3  # the float model is wrong in a tenth
    report = verify_bundle(write_bundle(tmp_path / "b"), inputs={"x": x, "labels": labels})
    assert report.metric == "top1"
    assert report.accuracy["source"]["top1"] == pytest.approx(0.9)
    for name in ("onnx-integer", "onnx-qdq"):
        decided = expected[name].argmax(axis=1)
        found = report.accuracy[name]
        assert found["top1"] == np.mean(decided == labels)
        assert found["agreement"] == np.mean(decided == expected["source"].argmax(axis=1))
        assert found["top1_low"] < found["top1"] < found["top1_high"]
        assert found["samples"] == 300


def test_targets_give_psnr_and_mse(tmp_path):
    x = some_inputs(40)
    expected = expected_outputs(x)
    target = (expected["source"] + 0.01).astype(np.float32)
    data = {"x": x, "target": target}
    bundle = write_bundle(tmp_path / "b")
    by_default = verify_bundle(bundle, inputs=data)
    assert by_default.metric == "psnr"
    peak = 1.0 if np.abs(target).max() <= 1 else 255.0
    errors = np.mean((expected["source"] - target) ** 2, axis=1)
    found = by_default.accuracy["source"]
    assert found["psnr_db"] == pytest.approx(np.mean(10 * np.log10(peak**2 / errors)), abs=1e-3)
    mse = verify_bundle(bundle, inputs=data, metric="mse").accuracy
    real = (expected["onnx-integer"] - 5) / 8
    assert mse["onnx-integer"]["mse"] == pytest.approx(np.mean((real - target) ** 2), rel=1e-5)


@pytest.mark.parametrize("metric", ["top1", "psnr", "mse", "bleu"])
def test_a_metric_that_the_data_does_not_allow_is_an_error(tmp_path, metric):
    bundle = write_bundle(tmp_path / "b")
    with pytest.raises(RecipeError, match="metric"):
        verify_bundle(bundle, inputs={"x": some_inputs(4)}, metric=metric)


def test_the_number_of_samples_can_be_limited(tmp_path):
    x = some_inputs(50)
    labels = np.zeros(50, np.int64)
    bundle = write_bundle(tmp_path / "b")
    report = verify_bundle(bundle, inputs={"x": x, "labels": labels}, samples=7)
    assert report.inputs["samples"] == 7
    assert report.accuracy["source"]["samples"] == 7
    assert pair(report, "onnx-integer", "source").values == 21
    with pytest.raises(RecipeError, match="--samples 0"):
        verify_bundle(bundle, samples=0)


def test_inputs_that_do_not_fit_are_an_input_error(tmp_path):
    bundle = write_bundle(tmp_path / "b")
    with pytest.raises(InputError):
        verify_bundle(bundle, inputs={"x": np.zeros((3, 5), np.float32)})
    with pytest.raises(InputError, match="--inputs"):
        verify_bundle(bundle, inputs=tmp_path / "missing.npz")


@pytest.mark.parametrize("batch", ["N", 1, 4])
def test_open_and_fixed_batches_give_the_same_result(tmp_path, batch):
    x = some_inputs(24)
    labels = np.arange(24) % 3
    bundle = write_bundle(tmp_path / "b", batch=batch)
    report = verify_bundle(bundle, inputs={"x": x, "labels": labels})
    expected = expected_outputs(x)
    assert report.inputs["samples"] == 24
    assert pair(report, "onnx-integer", "source").values == 72
    for name in ("source", "onnx-integer"):
        assert report.accuracy[name]["top1"] == np.mean(expected[name].argmax(axis=1) == labels)


@pytest.mark.parametrize("batch", [1, 4])
def test_generated_inputs_fill_fixed_batches(tmp_path, batch):
    report = verify_bundle(write_bundle(tmp_path / "b", batch=batch))
    assert report.ok
    # 67 inputs in batches of 4 take 17 runs, the last of them filled up.
    assert pair(report, "onnx-integer", "source").values == 3 * (67 if batch == 1 else 68)


def test_a_bundle_without_the_float_model_is_compared_within_itself(tmp_path):
    report = verify_bundle(write_bundle(tmp_path / "b", leave_out=("source",)))
    assert [(p.artifact, p.reference) for p in report.pairs] == [("onnx-qdq", "onnx-integer")]
    assert report.layers == []
    assert any("does not keep the float model" in warning for warning in report.warnings)


def test_reports_are_written_and_json_has_the_documented_keys(tmp_path):
    bundle = write_bundle(tmp_path / "b", samples=some_inputs(8))
    report = verify_bundle(bundle)
    text = (bundle.folder / "verify.json").read_text()
    data = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert data == json.loads(json.dumps(report.to_dict()))
    assert {"ok", "pairs", "accuracy", "layers"} <= set(data)
    assert {
        "artifact",
        "reference",
        "verdict",
        "arithmetic",
        "max_error_lsb",
        "mismatch_fraction",
        "sqnr_db",
    } <= set(data["pairs"][0])
    assert "✓ Verified" in (bundle.folder / "report.html").read_text(encoding="utf-8")


def test_a_bundle_of_one_artifact_is_not_called_verified(tmp_path):
    bundle = write_bundle(tmp_path / "b", leave_out=("source", "onnx-qdq"))
    report = verify_bundle(bundle)
    assert report.ok
    assert report.pairs == []
    page = (bundle.folder / "report.html").read_text(encoding="utf-8")
    assert "Nothing compared" in page
    assert "Verified" not in page


def test_verifying_twice_gives_the_same_bytes(tmp_path):
    bundle = write_bundle(tmp_path / "b", samples=some_inputs(8))
    verify_bundle(bundle)
    names = ("verify.json", "report.html")
    before = [(bundle.folder / name).read_bytes() for name in names]
    verify_bundle(bundle)
    assert [(bundle.folder / name).read_bytes() for name in names] == before


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path):
    bundle = write_bundle(tmp_path / "b")
    peaks = []
    for count in (500, 8_000):
        path = tmp_path / f"{count}.npz"
        np.savez(path, x=some_inputs(count), labels=np.zeros(count, np.int64))
        verify_bundle(bundle, inputs=path, samples=50)  # imports and sessions come first
        tracemalloc.start()
        verify_bundle(bundle, inputs=path, layers=False)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The additional 7,500 samples are 120 KB of inputs and 270 KB of outputs; only the labels are
    # held, 60 KB and as much for their copies.
    assert peaks[1] - peaks[0] < 190_000, peaks


def test_an_artifact_with_channels_last_gets_and_gives_them_so(tmp_path):
    def relu(shape):
        x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "xy")
        graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], "r")], "g", [x], [y])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)

    bundle = write_bundle(tmp_path / "b", leave_out=("onnx-integer",))
    shapes = {"source": ["N", 2, 3, 4], "onnx-qdq": ["N", 3, 4, 2]}
    for name, shape in shapes.items():
        onnx.save(relu(shape), bundle.folder / name / "model.onnx")

    def describe(manifest):
        for artifact in manifest["artifacts"]:
            artifact["sha256"] = file_sha256(bundle.folder / artifact["path"])
            layout = "NCHW" if artifact["target"] == "source" else "NHWC"
            for spec in (*artifact["inputs"], *artifact["outputs"]):
                spec.update(shape=shapes[artifact["target"]], layout=layout)
            artifact["outputs"][0]["scale"] = 0.5  # what one LSB is

    x = np.random.default_rng(0).integers(-9, 9, (5, 2, 3, 4)).astype(np.float32)
    report = verify_bundle(edit_manifest(bundle, describe), inputs={"x": x})
    found = pair(report, "onnx-qdq", "source")
    assert (found.verdict, found.values) == ("exact", x.size)


def test_progress_reaches_the_end(tmp_path):
    seen = []
    verify_bundle(
        write_bundle(tmp_path / "b", samples=some_inputs(5)),
        progress=lambda stage, done, total: seen.append((stage, done, total)),
    )
    assert seen[0] == ("verify", 0, 72)
    assert seen[-1] == ("verify", 72, 72)


def test_scales_of_the_hand_made_bundle_are_those_of_its_models():
    # Guards the tests above: the constants of the integer model are written by hand.
    assert INPUT.scale[0] * (1 / 8) / OUTPUT.scale[0] == 1 / 16
