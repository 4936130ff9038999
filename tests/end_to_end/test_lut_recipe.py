"""Recipe ``lut`` as a user runs it: the same bits as recipe int8, in every artifact."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

import intaglio
from intaglio.cli.app import app
from intaglio.errors import UnsupportedError
from intaglio.recipe import load_recipe

DIGITS = Path(__file__).resolve().parents[2] / "sample_models" / "digits"
FORCE = "tables.substitute_convolutions.force"
SPLIT = "tables.substitute_convolutions.split"


def convert(out, recipe="lut", **options):
    return intaglio.convert(
        DIGITS / "digits.onnx",
        recipe=recipe,
        calibration=DIGITS / "calibration.npz",
        out=out,
        **options,
    )


@pytest.fixture(scope="module")
def int8(tmp_path_factory):
    out = tmp_path_factory.mktemp("int8") / "digits"
    bundle = convert(out, "int8", targets=["onnx-integer"])
    images = np.random.default_rng(0).integers(-128, 128, (64, 1, 8, 8)).astype(np.int8)
    [spec] = bundle.artifact("onnx-integer").inputs
    feeds = {spec.name: images}
    return feeds, bundle.session("onnx-integer").run(feeds)


def looked_up(bundle):
    path = bundle.folder / bundle.artifact("onnx-integer").path
    return [node.op_type for node in onnx.load(path).graph.node].count("AdditiveLut")


@pytest.mark.parametrize(
    ("split", "layers"),
    [
        pytest.param("full", 4, marks=pytest.mark.long),
        ("6/2", 8),
        pytest.param("4/4", 8, marks=pytest.mark.long),
    ],
)
def test_every_split_gives_the_bits_of_int8(split, layers, int8, tmp_path):
    bundle = convert(tmp_path / "b", sets={FORCE: True, SPLIT: split})
    assert {"onnx-integer", "c"} <= set(bundle.targets)
    assert looked_up(bundle) == layers
    feeds, want = int8
    got = bundle.session("onnx-integer").run(feeds)
    for name, array in want.items():
        np.testing.assert_array_equal(got[name], array, strict=True)
    report = intaglio.verify(bundle)
    assert report.ok, report.failures
    exact = [p for p in report.pairs if p.reference == "onnx-integer"]
    assert exact
    assert all(p.verdict == "exact" for p in exact)
    assert all(inner.different == 0 and inner.tensors for inner in report.inner)
    html = (bundle.folder / "report.html").read_text(encoding="utf-8")
    assert "Tables in the place of products" in html
    facts = {record.name: record.facts for record in bundle.conversion.records}
    found = facts["tables.substitute_convolutions"]
    assert found["substituted"] == 4
    assert found["products"] * (layers // 4) == found["lookups"]


def test_nothing_is_substituted_where_it_does_not_pay(int8, tmp_path):
    bundle = convert(tmp_path / "b", "int8,lut", targets=["onnx-integer"])
    assert looked_up(bundle) == 0
    feeds, want = int8
    for name, array in bundle.session("onnx-integer").run(feeds).items():
        np.testing.assert_array_equal(array, want[name], strict=True)
    [record] = [r for r in bundle.conversion.records if r.name == "tables.substitute_convolutions"]
    assert len(record.skips) == 4
    assert all("do not pay" in skip.reason for skip in record.skips)


def test_int8_and_lut_are_lut(tmp_path):
    both, alone = load_recipe("int8,lut"), load_recipe("lut")
    assert both.steps == alone.steps
    assert both.targets == alone.targets == ("onnx-integer", "c")


@pytest.mark.parametrize("target", ["onnx-qdq", "tflite"])
def test_targets_without_tables_refuse_with_a_remedy(target, tmp_path):
    with pytest.raises(UnsupportedError) as caught:
        convert(tmp_path / "b", targets=[target], sets={FORCE: True})
    text = str(caught.value)
    assert "integer one" in text if target == "onnx-qdq" else "rows of tables" in text
    assert "leave this" in text
    assert not (tmp_path / "b").exists()


def test_the_border_and_the_profile_of_the_recipe_hold(tmp_path):
    bundle = convert(
        tmp_path / "b",
        targets=["onnx-integer"],
        sets={FORCE: True, "profile": "litert", "io": "float"},
    )
    artifact = bundle.artifact("onnx-integer")
    assert artifact.arithmetic == "litert"
    assert [spec.dtype for spec in artifact.inputs] == ["float32"]
    assert bundle.manifest["form"] == "integer"


def command(*arguments):
    return CliRunner().invoke(app, ["convert", str(DIGITS / "digits.onnx"), *arguments])


def test_force_on_the_command_line(tmp_path):
    given = ["--calibration", str(DIGITS / "calibration.npz"), "--target", "onnx-integer"]
    out = ["--out", str(tmp_path / "b")]
    result = command("--recipe", "lut", "--force", *given, *out, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)["facts"]
    assert facts["tables.substitute_convolutions"]["substituted"] == 4
    result = command("--recipe", "lut", *given, *out)
    assert result.exit_code == 0, result.output
    assert "time as tables" in result.output
    assert "without a multiplier" not in result.output
    result = command("--recipe", "int8", "--force", *given, *out)
    assert result.exit_code == 2
