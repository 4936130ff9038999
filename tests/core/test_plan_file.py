from __future__ import annotations

import json

import pytest

import intaglio
from intaglio.errors import InputError, RecipeError
from intaglio.plan import DECIDING_PASSES, read_plan


@pytest.fixture
def plan(digits_bundle, tmp_path):
    """A copy of the plan to edit."""
    path = tmp_path / "plan.json"
    path.write_bytes((digits_bundle.folder / "plan.json").read_bytes())
    return path


def edit(path, change):
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def test_a_replayed_plan_needs_no_calibration_and_gives_the_same_artifacts(
    digits, digits_bundle, plan, tmp_path
):
    replayed = intaglio.convert(digits, plan=plan, out=tmp_path / "again")
    for target in ("onnx-qdq", "onnx-integer", "source"):
        assert replayed.artifact(target).sha256 == digits_bundle.artifact(target).sha256
    assert replayed.samples() == {}
    steps = {step["name"]: step for step in replayed.report()["steps"]}
    deciding = [step for name, step in steps.items() if name in DECIDING_PASSES]
    assert [c["kind"] for step in deciding for c in step["changes"]] == ["replay"]
    reasons = {skip["reason"] for step in deciding[1:] for skip in step["skips"]}
    assert reasons == {"replaced by the plan"}
    assert replayed.plan()["tensors"] == digits_bundle.plan()["tensors"]


def test_an_edited_scale_arrives_in_the_artifact(digits, plan, tmp_path):
    def change(data):
        data["tensors"]["image"]["quantization"]["scale"] = [0.0625]

    edit(plan, change)
    replayed = intaglio.convert(digits, plan=plan, out=tmp_path / "edited")
    assert replayed.artifact("onnx-integer").inputs[0].scale == 0.0625


def test_tensors_that_the_model_does_not_have_are_refused(digits, plan, tmp_path):
    edit(plan, lambda data: data["tensors"].update(imag=data["tensors"]["image"]))
    with pytest.raises(RecipeError, match="no tensor 'imag'") as caught:
        intaglio.convert(digits, plan=plan, out=tmp_path / "out")
    assert "image" in caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_a_quantized_model_takes_no_plan(quantized_model, plan, tmp_path):
    with pytest.raises(RecipeError, match="quantized already"):
        intaglio.convert(quantized_model, plan=plan, out=tmp_path / "out")


def test_a_plan_for_a_recipe_without_decisions_is_refused(digits, plan, tmp_path):
    recipe = tmp_path / "bare.toml"
    recipe.write_text('[[step]]\npass = "canonicalize.fold_constants"\n', encoding="utf-8")
    with pytest.raises(RecipeError, match="no step that a plan could replace"):
        intaglio.convert(digits, recipe, plan=plan, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema=99), "schema 99"),
        (lambda d: d.pop("tensors"), "not a quantization plan"),
        (lambda d: d.update(marks=[1]), "'marks'"),
        (lambda d: d["tensors"]["image"].update(zero=1), "tensor 'image'"),
        (lambda d: d["tensors"]["image"].update(range=[2, 1]), "is empty"),
        (lambda d: d["tensors"]["image"].update(range=[1]), "tensor 'image'"),
        (lambda d: d["tensors"]["image"]["quantization"].update(scale=[-1]), "positive"),
        (lambda d: d["tensors"]["image"]["quantization"].update(dtype="int4"), "int4"),
        (lambda d: d["tensors"].update(image=[]), "tensor 'image'"),
    ],
)
def test_damaged_plans_are_refused(plan, change, message):
    edit(plan, change)
    with pytest.raises(RecipeError, match=message) as caught:
        read_plan(plan)
    assert caught.value.remedy


def test_missing_and_unreadable_plans_are_input_errors(tmp_path):
    with pytest.raises(InputError, match="cannot read the plan"):
        read_plan(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="not JSON"):
        read_plan(tmp_path / "broken.json")
