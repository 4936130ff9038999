from __future__ import annotations

import hashlib

import numpy as np
import onnx
import pytest

import intaglio
from intaglio.errors import InputError, RecipeError, Refusal, UnsupportedError
from intaglio.targets.base import Artifact, Target, spec_of


def hashes(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class Picky(Target):
    """Writes a list of the operators, and takes no Relu."""

    name = "picky"
    form = "quantized"
    exact = False
    refuse = ""

    def capabilities(self):
        return []

    def check(self, prepared):
        return [
            Refusal(str(node.name), node.op_type, "is not liked", "remove it")
            for node in prepared.models["model"].graph
            if node.op_type == self.refuse
        ]

    def emit(self, prepared, out):
        model = prepared.models["model"]
        path = out / self.name / "operators.txt"
        path.parent.mkdir()
        path.write_text("\n".join(node.op_type for node in model.graph), encoding="utf-8")
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        specs = [tuple(spec_of(v) for v in b) for b in (model.graph.inputs, model.graph.outputs)]
        return [
            Artifact(
                "model", self.name, f"{self.name}/operators.txt", "float", digest, len(data), *specs
            )
        ]

    def open(self, artifact, folder, runtime=None):
        raise InputError("a list cannot be run", remedy="take another target")

    def measure(self, artifact, folder):
        return []


class RefusesGemm(Picky):
    name = "refuses-gemm"
    refuse = "Gemm"


class RefusesQuantize(Picky):
    name = "refuses-quantize"
    refuse = "QuantizeLinear"


class Interrupted(Picky):
    """Stops when half of its files are written, as Ctrl-C would."""

    name = "interrupted"

    def emit(self, prepared, out):
        super().emit(prepared, out)
        raise KeyboardInterrupt


class Full(Picky):
    """Meets a full disk when half of its files are written."""

    name = "full"

    def emit(self, prepared, out):
        super().emit(prepared, out)
        raise OSError(28, "No space left on device")


@pytest.fixture(autouse=True)
def targets(register):
    for kind in (Picky, RefusesGemm, RefusesQuantize, Interrupted, Full):
        register(kind)


def test_the_same_inputs_give_the_same_bytes(digits, digits_data, digits_bundle, tmp_path):
    again = intaglio.convert(digits, calibration=digits_data, out=tmp_path / "digits")
    first, second = hashes(digits_bundle.folder), hashes(again.folder)
    assert {"manifest.json", "report.html", "plan.json", "samples.npz"} < set(first)
    assert first == second


def test_converting_again_replaces_the_bundle(digits, digits_data, tmp_path):
    out = tmp_path / "out"
    intaglio.convert(digits, calibration=digits_data, out=out)
    before = hashes(out)
    bundle = intaglio.convert(digits, "int16x8", ["onnx-qdq"], digits_data, out)
    assert bundle.targets == ["onnx-qdq"]
    assert not (out / "onnx-integer").exists()
    assert hashes(out) != before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_the_artifacts_agree_with_the_float_model(digits_bundle, digits):
    with np.load(digits.parent / "test.npz") as data:
        images, labels = data["image"], data["labels"]
    right = {}
    for target in ("source", "onnx-qdq", "onnx-integer"):
        outputs = digits_bundle.session(target, quantize_io=True).run({"image": images})
        right[target] = int((outputs["logits"].argmax(1) == labels).sum())
    assert right["source"] == 499
    assert min(right.values()) >= 497


def test_the_integer_artifact_has_no_float_tensor(digits_bundle):
    model = onnx.load(digits_bundle.folder / "onnx-integer" / "model.onnx")
    floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}
    typed = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    assert not [v.name for v in typed if v.type.tensor_type.elem_type in floats]
    assert not [t.name for t in model.graph.initializer if t.data_type in floats]


def test_float_borders_are_an_option(digits, digits_data, tmp_path):
    bundle = intaglio.convert(
        digits, targets=["onnx-integer"], calibration=digits_data, sets=["io=float"],
        out=tmp_path / "out",
    )  # fmt: skip
    specs = bundle.artifact("onnx-integer").inputs
    assert [(s.dtype, s.scale) for s in specs] == [("float32", None)]


def test_the_profile_is_one_option_with_two_names(digits, digits_data, tmp_path):
    made = [
        intaglio.convert(
            digits, targets=["onnx-integer"], calibration=digits_data, sets=[text],
            out=tmp_path / str(index),
        )
        for index, text in enumerate(("profile=litert", "lower.profile=litert"))
    ]  # fmt: skip
    assert [b.artifact("onnx-integer").arithmetic for b in made] == ["litert", "litert"]
    assert made[0].manifest["profile"] == made[1].manifest["profile"] == "litert"
    assert made[1].manifest["recipe"]["profile"] == "litert"
    with pytest.raises(RecipeError, match="no arithmetic profile 'lite'") as caught:
        intaglio.convert(digits, calibration=digits_data, sets=["profile=lite"], out=tmp_path / "x")
    assert "litert" in caught.value.remedy


def test_refusals_of_all_targets_are_listed_and_nothing_is_written(digits, digits_data, tmp_path):
    out = tmp_path / "deep" / "out"
    with pytest.raises(UnsupportedError) as caught:
        intaglio.convert(
            digits, targets=["onnx-qdq", "refuses-gemm", "refuses-quantize"],
            calibration=digits_data, out=out,
        )  # fmt: skip
    reasons = {refusal.reason for refusal in caught.value.refusals}
    assert reasons == {"refuses-gemm: is not liked", "refuses-quantize: is not liked"}
    assert "fc1" in {refusal.node for refusal in caught.value.refusals}
    assert caught.value.exit_code == 4
    assert [p.name for p in tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("target", "error"), [("interrupted", KeyboardInterrupt), ("full", intaglio.OutputError)]
)
def test_stopping_halfway_leaves_the_earlier_bundle(digits, digits_data, tmp_path, target, error):
    out = tmp_path / "out"
    intaglio.convert(digits, targets=["picky"], calibration=digits_data, out=out)
    before = hashes(out)
    with pytest.raises(error):
        intaglio.convert(digits, targets=["onnx-qdq", target], calibration=digits_data, out=out)
    assert hashes(out) == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_unknown_targets_are_suggested(digits, tmp_path):
    with pytest.raises(RecipeError, match="no target 'onx-integer'") as caught:
        intaglio.convert(digits, targets=["onx-integer"], out=tmp_path / "out")
    assert "onnx-integer" in caught.value.remedy
    with pytest.raises(RecipeError, match="no target is given"):
        intaglio.convert(digits, targets=[], out=tmp_path / "out")


def test_calibration_is_asked_for_or_random_by_name(digits, digits_data, tmp_path):
    with pytest.raises(RecipeError, match="needs calibration data") as caught:
        intaglio.convert(digits, out=tmp_path / "out")
    assert "--random-calibration" in caught.value.remedy
    bundle = intaglio.convert(digits, random_calibration=True, out=tmp_path / "out")
    assert bundle.manifest["calibration"]["kind"] == "random"
    with pytest.raises(RecipeError, match="random calibration is asked for"):
        intaglio.convert(
            digits, calibration=digits_data, random_calibration=True, out=tmp_path / "out"
        )


def test_calibration_arrays_may_be_given_directly(digits, digits_data, digits_bundle, tmp_path):
    with np.load(digits_data) as data:
        arrays = {"image": data["image"]}
    bundle = intaglio.convert(digits, calibration=arrays, out=tmp_path / "out")
    assert bundle.artifact("onnx-integer").sha256 == digits_bundle.artifact("onnx-integer").sha256
    assert bundle.manifest["calibration"] == {"kind": "data", "samples": 200, "path": None}


def test_a_quantized_model_keeps_its_scales_and_needs_no_calibration(
    quantized_model, digits_bundle, tmp_path
):
    bundle = intaglio.convert(quantized_model, out=tmp_path / "out")
    first, second = (b.artifact("onnx-integer") for b in (digits_bundle, bundle))
    assert [s.scale for s in first.inputs] == [s.scale for s in second.inputs]
    images = digits_bundle.samples()["image"]
    results = [
        b.session("onnx-integer", quantize_io=True).run({"image": images})["logits"]
        for b in (digits_bundle, bundle)
    ]
    assert np.array_equal(*results)


def test_a_recipe_that_leaves_float_behind_is_refused(digits, tmp_path):
    recipe = tmp_path / "bare.toml"
    recipe.write_text('[[step]]\npass = "canonicalize.fold_constants"\n', encoding="utf-8")
    with pytest.raises(RecipeError, match="leaves the model in float"):
        intaglio.convert(digits, recipe, out=tmp_path / "out")


def test_every_step_can_be_kept(digits, digits_data, tmp_path):
    bundle = intaglio.convert(
        digits, calibration=digits_data, keep_steps=True, out=tmp_path / "out"
    )
    kept = sorted(path.name for path in (bundle.folder / "steps").iterdir())
    steps = [s["pass"] for s in bundle.manifest["recipe"]["step"]]
    enabled = [s["pass"] for s in bundle.manifest["recipe"]["step"] if s["enabled"]]
    assert [n for n in kept if n[0].isdigit()] == [
        f"{steps.index(name) + 1:02d}-{name}.onnx" for name in enabled
    ]
    assert any(name.startswith("onnx-integer-") for name in kept)
    for path in (bundle.folder / "steps").iterdir():
        assert onnx.load(path).graph.node
    bundle.check_hashes()


def test_progress_is_told(digits, digits_data, tmp_path):
    heard = []
    intaglio.convert(
        digits,
        calibration=digits_data,
        out=tmp_path / "out",
        progress=lambda stage, done, total: heard.append((stage, done, total)),
    )
    stages = {stage for stage, _, _ in heard}
    assert {"read", "calibrate.observe_ranges", "quantize.insert_qdq", "write"} <= stages
    assert any(done == total == 200 for _, done, total in heard)


def test_an_integer_artifact_is_not_converted_again(digits, digits_data, tmp_path):
    made = intaglio.convert(digits, calibration=digits_data, out=tmp_path / "first")
    path = made.folder / "onnx-integer" / "model.onnx"
    with pytest.raises(InputError, match="integer artifact already"):
        intaglio.convert(path, calibration=digits_data, out=tmp_path / "second")


def test_options_for_folders_are_an_error_with_arrays(digits, digits_data, tmp_path):
    with pytest.raises(RecipeError, match="has no effect"):
        intaglio.convert(
            digits, calibration=digits_data, out=tmp_path / "out", sets=["data.scale=1.0"]
        )
