"""Target ``ethos-u`` with ``via=tosa``, around a TOSA file that is given.

Pipeline, Vela, report and errors are real; only the emitter of target ``tosa`` is replaced, so that
an operator that the NPU lacks can be put into the file.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import intaglio
from intaglio.errors import Refusal, ToolError, UnsupportedError
from intaglio.report.html import render_report
from intaglio.targets.ethos_u import target as module
from intaglio.targets.ethos_u.target import EthosU
from tests.targets.tosa.small_file import LOOK_UP, NOT, write_small_file

DIGITS = Path(__file__).parents[3] / "sample_models" / "digits"


@dataclasses.dataclass(frozen=True)
class Given:
    data: bytes
    refusals: tuple[Refusal, ...] = ()


@pytest.fixture
def given(monkeypatch):
    """Replaces the emitter of target ``tosa`` by a file, or refusals."""

    def replace(operator=LOOK_UP, refusals=()):
        data = write_small_file(operator, names=("x", "between", "y"))
        found = Given(b"" if refusals else data, tuple(refusals))
        monkeypatch.setattr(module, "emit_tosa", lambda model, profile: found)

    return replace


def convert(out, *sets, targets=("ethos-u",)):
    return intaglio.convert(
        DIGITS / "digits.onnx",
        targets=targets,
        out=out,
        sets=[f"ethos-u.{each}" for each in sets],
        calibration=DIGITS / "calibration.npz",
    )


def report_of(bundle):
    return EthosU().report(bundle.artifact("ethos-u"), bundle.folder)


def test_the_file_of_target_tosa_is_compiled(vela, given, tmp_path):
    given()
    bundle = convert(tmp_path / "out", "via=tosa")
    report = report_of(bundle)
    assert report["via"] == "tosa"
    assert [row["operator"] for row in report["operators"]] == ["RESCALE", "TABLE"]
    assert report["compared"] is None
    assert bundle.artifact("ethos-u").path == "ethos-u/model_vela.tflite"
    figures = {each.name: each.value for each in EthosU().measure(
        bundle.artifact("ethos-u"), bundle.folder
    )}  # fmt: skip
    assert figures["cycles"] == report["cycles"]["total"] > 0
    assert figures["cpu_operators"] == 0


def test_both_paths_are_in_the_report(vela, given, tmp_path):
    given()
    via_tosa = convert(tmp_path / "tosa", "via=tosa", "compare=true")
    via_tflite = convert(tmp_path / "tflite", "compare=true")
    one, other = report_of(via_tosa), report_of(via_tflite)
    assert one["compared"]["via"] == other["via"] == "tflite"
    assert other["compared"]["via"] == one["via"] == "tosa"
    assert one["compared"]["cycles"] == other["cycles"]
    assert other["compared"]["cycles"] == one["cycles"]
    assert one["compared"]["file_bytes"] == via_tflite.artifact("ethos-u").bytes
    assert "TOSA beside TFLite" in render_report(via_tosa.folder)


def test_what_the_npu_lacks_is_refused_and_nothing_is_written(vela, given, tmp_path):
    given(NOT)
    with pytest.raises(UnsupportedError) as caught:
        convert(tmp_path / "out", "via=tosa")
    (refusal,) = caught.value.refusals
    assert (caught.value.exit_code, refusal.operator) == (4, "BITWISE_NOT")
    assert list(tmp_path.iterdir()) == []


def test_what_only_vela_finds_out_is_refused_likewise(vela, given, tmp_path, monkeypatch):
    given(NOT)
    monkeypatch.setattr(module, "lacking", lambda *_: [])
    with pytest.raises(UnsupportedError, match="nothing was written") as caught:
        convert(tmp_path / "out", "via=tosa")
    (refusal,) = caught.value.refusals
    assert refusal.operator == "BITWISE_NOT"
    assert list(tmp_path.iterdir()) == []


def test_a_closed_path_does_not_close_the_other(vela, given, tmp_path):
    given(refusals=[Refusal("softmax", "Softmax", "TOSA has none", "leave it out")])
    report = report_of(convert(tmp_path / "out", "compare=true"))
    assert report["via"] == "tflite"
    assert report["compared"] == {
        "via": "tosa",
        "refused": ["Softmax 'softmax': TOSA has none (leave it out)"],
    }
    with pytest.raises(UnsupportedError) as caught:
        convert(tmp_path / "other", "via=tosa")
    assert [each.node for each in caught.value.refusals] == ["softmax"]


def test_a_failing_vela_leaves_nothing_but_its_log(fake_vela, given, tmp_path):
    given()
    fake_vela("echo 'RuntimeError: broken' >&2; exit 1")
    with pytest.raises(ToolError, match="exit code 1: RuntimeError: broken") as caught:
        convert(tmp_path / "out", "via=tosa")
    assert caught.value.exit_code == 6
    caught.value.log.unlink()
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_an_old_vela_is_told_before_any_work(fake_vela, tmp_path):
    fake_vela("exit 1", version="4.4.0")
    with pytest.raises(ToolError, match=r"4\.4\.0 is too old: 5\.0"):
        convert(tmp_path / "out", "via=tosa")
