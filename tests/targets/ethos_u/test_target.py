"""Target ``ethos-u`` from a float model to the bundle."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import intaglio
from intaglio.errors import InputError, RecipeError, ToolError
from intaglio.inspection import inspect_bundle
from intaglio.targets.ethos_u.compiler import compile_tflite
from intaglio.targets.ethos_u.files import read_operators
from intaglio.targets.ethos_u.options import EthosUConfig
from intaglio.targets.ethos_u.target import EthosU
from intaglio.targets.tflite.target import Tflite
from intaglio.verification.verify import verify_bundle

DIGITS = Path(__file__).parents[3] / "sample_models" / "digits"


def convert(out, *targets, sets=(), model=DIGITS / "digits.onnx", **options):
    options.setdefault("calibration", DIGITS / "calibration.npz")
    return intaglio.convert(model, targets=targets, out=out, sets=sets, **options)


@pytest.fixture(scope="module")
def bundle(vela, tmp_path_factory):
    out = tmp_path_factory.mktemp("ethos") / "digits"
    return convert(out, "onnx-integer", "tflite", "ethos-u")


def test_it_is_made_from_what_target_tflite_makes():
    assert EthosU.prepare == Tflite.prepare
    assert EthosU.form == Tflite.form


def test_the_bundle_holds_the_compiled_file_and_its_report(bundle):
    artifact = bundle.artifact("ethos-u")
    assert artifact.path == "ethos-u/model_vela.tflite"
    files = sorted(path.name for path in (bundle.folder / "ethos-u").iterdir())
    assert files == ["model_report.json", "model_vela.tflite"]
    assert "ethos-u/model_report.json" in bundle.manifest["files"]
    bundle.check_hashes()


def test_the_border_and_the_arithmetic_are_those_of_the_tflite_artifact(bundle):
    compiled, plain = bundle.artifact("ethos-u"), bundle.artifact("tflite")
    assert compiled.inputs == plain.inputs
    assert compiled.outputs == plain.outputs
    assert compiled.arithmetic == plain.arithmetic == "tflm"


def test_every_operator_of_the_model_is_in_the_report_by_its_source_name(bundle):
    report = EthosU().report(bundle.artifact("ethos-u"), bundle.folder)
    plain = read_operators((bundle.folder / bundle.artifact("tflite").path).read_bytes())
    assert [(row["operator"], row["tensor"]) for row in report["operators"]] == [
        (op.name, op.outputs[0]) for op in plain
    ]
    assert report["cpu_operators"] == 0
    assert sum(row["cycles"] for row in report["operators"]) == report["cycles"]["total"]


def test_inspect_gives_figures_and_report(bundle):
    found = inspect_bundle(bundle.folder)
    figures = {
        row["name"]: row["value"]
        for row in found["measured"]
        if row["artifact"] == "ethos-u/model_vela.tflite"
    }
    report = found["reports"]["ethos-u/model_vela.tflite"]
    assert figures["cycles"] == report["cycles"]["total"] > 0
    assert figures["npu_operators"] == len(report["operators"])
    assert figures["file_bytes"] == bundle.artifact("ethos-u").bytes


def test_verify_says_that_it_was_not_run(bundle):
    report = verify_bundle(bundle)
    assert report.ok
    assert any("ethos-u was not run" in warning for warning in report.warnings)


def test_opening_it_is_refused_with_what_to_run_instead(bundle):
    with pytest.raises(RecipeError, match="runs on an Ethos-U NPU, not here"):
        bundle.session("ethos-u")


def test_a_damaged_report_is_an_input_error(bundle, tmp_path):
    artifact = bundle.artifact("ethos-u")
    with pytest.raises(InputError, match="cannot be read"):
        EthosU().measure(artifact, tmp_path)
    (tmp_path / "ethos-u").mkdir()
    report = tmp_path / "ethos-u" / "model_report.json"
    for text in ("{", "[]", json.dumps({"schema": 1})):
        report.write_text(text)
        with pytest.raises(InputError, match=r"damaged|cannot be read"):
            EthosU().measure(artifact, tmp_path)


def test_the_same_input_gives_the_same_bytes(bundle, vela, tmp_path):
    again = convert(tmp_path / "digits", "onnx-integer", "tflite", "ethos-u")
    for name in ("model_vela.tflite", "model_report.json"):
        first, second = (
            hashlib.sha256((b.folder / "ethos-u" / name).read_bytes()).hexdigest()
            for b in (bundle, again)
        )
        assert first == second


def test_options_choose_the_accelerator(vela, tmp_path):
    made = convert(tmp_path / "out", "ethos-u", sets=["ethos-u.accelerator=ethos-u85-512"])
    report = EthosU().report(made.artifact("ethos-u"), made.folder)
    assert report["accelerator"] == "Ethos_U85_512"
    assert made.manifest["recipe"]["target"]["ethos-u"]["accelerator"] == "ethos-u85-512"


def test_an_unknown_accelerator_is_refused_before_any_work(tmp_path):
    with pytest.raises(RecipeError, match="accelerator"):
        convert(tmp_path / "out", "ethos-u", sets=["ethos-u.accelerator=ethos-u99"])
    assert list(tmp_path.iterdir()) == []


def test_a_failing_vela_leaves_what_was_there_and_its_log(fake_vela, tmp_path):
    out = tmp_path / "out"
    earlier = convert(out, "tflite").manifest
    fake_vela("echo 'RuntimeError: broken' >&2; exit 1")
    with pytest.raises(ToolError, match="exit code 1: RuntimeError: broken") as caught:
        convert(out, "tflite", "ethos-u")
    log = caught.value.log
    assert log.read_text() == "RuntimeError: broken\n"
    log.unlink()
    assert intaglio.load(out).manifest == earlier
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "out"]


@pytest.mark.parametrize("name", ["ic_resnet8_int8", "kws_ref_model_int8", "vww_96_int8"])
def test_published_files_read_and_emitted_run_on_the_npu_as_fast(vela, zoo, tmp_path, name):
    made = convert(tmp_path / "out", "ethos-u", model=zoo / f"{name}.tflite", calibration=None)
    assert_as_fast(made, zoo / f"{name}.tflite")


@pytest.mark.parametrize("name", ["ic_resnet8", "vww_96"])
def test_float_models_run_on_the_npu_at_most_two_percent_slower(vela, zoo, tmp_path, name):
    # Their global average is a MEAN with a scale of its own, where the published files have an
    # AVERAGE_POOL_2D with the scale of its input: more precise, and some cycles more.
    made = convert(
        tmp_path / "out",
        "ethos-u",
        model=zoo / f"{name}_float.onnx",
        calibration=None,
        random_calibration=True,
        sets=["calibrate.round_weights.enabled=false"],
    )
    assert_as_fast(made, zoo / f"{name}_int8.tflite", 1.02)


def assert_as_fast(made, published, factor=1.0):
    report = EthosU().report(made.artifact("ethos-u"), made.folder)
    assert report["cpu_operators"] == 0
    other = compile_tflite(published.read_bytes(), EthosUConfig()).report.summary
    assert report["cycles"]["total"] <= factor * other.cycles["total"]
