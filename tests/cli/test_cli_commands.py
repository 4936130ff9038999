from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from tests.core.small_bundle import write_bundle


def parsed(done):
    """The one JSON document on stdout."""
    return json.loads(done.out)


def test_convert_prints_the_manifest_and_what_it_cost(converted):
    out, done = converted
    data = parsed(done)
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert {key: data[key] for key in manifest} == manifest
    assert 0 < data["seconds"] < 120
    assert data["peak_memory_bytes"] > 1 << 20
    assert data["facts"]["calibrate.observe_ranges"]["samples"] == 200


def test_two_processes_write_the_same_bytes(process, digits, digits_data, tmp_path):
    found = []
    for seed in ("1", "2"):
        out = tmp_path / seed / "digits"
        done = process(
            "convert", digits, "--calibration", digits_data, "--out", out, "--quiet",
            env={"PYTHONHASHSEED": seed},
        )  # fmt: skip
        assert (done.code, done.out) == (0, ""), done.err
        found.append(
            {
                path.relative_to(out): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in out.rglob("*")
                if path.is_file()
            }
        )
    assert len(found[0]) >= 8
    assert found[0] == found[1]


def test_convert_shows_steps_and_artifacts(cli, digits, digits_data, tmp_path):
    done = cli(
        "convert", digits, "--calibration", digits_data, "--target", "onnx-integer",
        "--set", "quantize.activations=int16", "--shape", "image=1,1,8,8",
        "--io", "float", "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "quantize.insert_qdq" in done.out
    assert "onnx-integer/model.onnx" in done.out
    assert "intaglio verify" in done.out
    assert done.err == ""
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    row = manifest["artifacts"][0]
    assert row["inputs"][0]["shape"] == [1, 1, 8, 8]
    assert row["inputs"][0]["dtype"] == "float32"
    steps = {step["pass"]: step["options"] for step in manifest["recipe"]["step"]}
    assert steps["quantize.plan_tensors"]["activations"] == "int16"


def test_random_calibration_is_warned_of_even_when_quiet(cli, digits, tmp_path):
    done = cli("convert", digits, "--random-calibration", "--out", tmp_path / "out", "--quiet")
    assert done.code == 0
    assert done.out == ""
    assert "random numbers" in done.err


def test_a_plan_is_replayed(cli, digits, converted, tmp_path):
    out, first = converted
    done = cli(
        "convert", digits, "--plan", out / "plan.json", "--out", tmp_path / "out", "--json"
    )  # fmt: skip
    assert done.code == 0, done.err
    hashes = [{a["target"]: a["sha256"] for a in parsed(d)["artifacts"]} for d in (first, done)]
    assert hashes[0] == hashes[1]


def test_verify_agrees(cli, converted, test_data):
    out, _ = converted
    done = cli("verify", out, "--inputs", test_data, "--samples", "50", "--json")
    assert done.code == 0, done.out + done.err
    data = parsed(done)
    assert data["ok"]
    pairs = {(pair["artifact"], pair["reference"]): pair for pair in data["pairs"]}
    keys = {"artifact", "reference", "verdict", "arithmetic", "max_error_lsb"}
    keys |= {"mismatch_fraction", "sqnr_db"}
    assert all(keys <= set(pair) for pair in pairs.values())
    assert ("onnx-qdq", "onnx-integer") in pairs
    assert data["accuracy"]["source"]["top1"] > 0.9
    assert data["layers"]


def test_verify_shows_pairs_layers_and_accuracy(cli, converted, test_data):
    out, _ = converted
    done = cli("verify", out, "--inputs", test_data, "--samples", "50", env={"COLUMNS": "220"})
    assert done.code == 0, done.err
    for text in ("onnx-integer", "onnx-qdq", "worst layers", "accuracy", "top1", "verified"):
        assert text in done.out


def test_verify_with_nothing_to_compare_says_so(cli, tmp_path):
    write_bundle(tmp_path / "b", leave_out=("source", "onnx-qdq"))
    done = cli("verify", tmp_path / "b")
    assert done.code == 0, done.err
    assert "nothing was compared" in done.out
    assert "verified" not in done.out


def test_verify_fails_with_code_5_on_an_unmet_requirement(cli, converted):
    out, _ = converted
    done = cli("verify", out, "--require", "sqnr=300", "--json")
    assert done.code == 5
    assert not parsed(done)["ok"]
    assert "300" in " ".join(parsed(done)["failures"])


def test_verify_fails_with_code_5_on_a_changed_file(cli, digits, digits_data, tmp_path):
    out = tmp_path / "out"
    cli("convert", digits, "--calibration", digits_data, "--out", out)
    artifact = out / "onnx-integer" / "model.onnx"
    data = bytearray(artifact.read_bytes())
    data[len(data) // 2] ^= 0xFF
    artifact.write_bytes(data)
    for flags in ([], ["--quiet"], ["--json"]):
        done = cli("verify", out, *flags)
        assert done.code == 5
        assert "onnx-integer/model.onnx has changed" in done.out + done.err.replace("\n", " ")
        assert "Traceback" not in done.err


def test_run_writes_what_the_float_model_says(cli, converted, test_data, tmp_path):
    out, _ = converted
    results = {}
    for target in ("source", "onnx-integer"):
        path = tmp_path / f"{target}.npy"
        done = cli(
            "run", out, "--target", target, "--quantize-io", "--input", test_data,
            "--output", path, "--json",
        )  # fmt: skip
        assert done.code == 0, done.err
        assert parsed(done)["outputs"]["logits"]["shape"] == [500, 10]
        results[target] = np.load(path)
    agree = (results["source"].argmax(1) == results["onnx-integer"].argmax(1)).mean()
    assert agree > 0.99


def test_run_prints_values_of_small_outputs(cli, digits, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 1, 8, 8), np.float32))
    done = cli("run", digits, "--input", tmp_path / "x.npy", "--json")
    values = parsed(done)["outputs"]["logits"]["values"]
    assert np.asarray(values).shape == (1, 10)
    shown = cli("run", digits, "--input", tmp_path / "x.npy")
    assert "logits" in shown.out
    assert "float32" in shown.out


@pytest.mark.parametrize("flag", ["--runtime", "--target"])
def test_run_calls_the_target_runtime_too(cli, converted, test_data, flag):
    out, _ = converted
    assert cli("run", out, flag, "onnx-qdq", "--input", test_data, "--quiet").code == 0


def test_inspect_a_model(cli, digits):
    done = cli("inspect", digits, "--json")
    data = parsed(done)
    assert data["macs"] == 86848
    assert len(data["layers"]) == 9
    shown = cli("inspect", digits)
    for text in ("conv1", "86,848", "9,802", "image float32"):
        assert text in shown.out


def test_inspect_a_bundle(cli, converted):
    out, _ = converted
    assert parsed(cli("inspect", out, "--json"))["recipe"] == "int8"
    shown = cli("inspect", out)
    assert shown.code == 0
    assert "onnx-integer/model.onnx" in shown.out


@pytest.mark.parametrize(
    ("what", "name"),
    [("recipes", "int16x8"), ("passes", "quantize.plan_tensors"), ("targets", "onnx-integer")],
)
def test_list(cli, what, name):
    rows = parsed(cli("list", what, "--json"))[what]
    assert name in [row["name"] for row in rows]
    assert all(row["description"] for row in rows)
    shown = cli("list", what, env={"COLUMNS": "220"})
    assert shown.code == 0
    assert name in shown.out


def test_list_passes_shows_options_with_their_defaults(cli):
    rows = {row["name"]: row for row in parsed(cli("list", "passes", "--json"))["passes"]}
    assert rows["quantize.plan_tensors"]["options"]["activations"] == "int8"
    assert rows["calibrate.observe_ranges"]["needs_data"]
    assert rows["canonicalize.fold_constants"]["semantics"] == "exact"


def test_quiet_prints_nothing_when_all_is_well(cli, digits, converted):
    out, _ = converted
    for arguments in (["inspect", digits], ["list", "targets"], ["verify", out]):
        done = cli(*arguments, "--quiet")
        assert (done.code, done.out, done.err) == (0, "", "")
