"""Targets with options of their own, with tools they need, and with nothing here that runs them."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar

import pytest

import intaglio
from intaglio.catalog import describe_targets
from intaglio.errors import RecipeError, ToolError
from intaglio.inspection import inspect_bundle
from intaglio.recipe import compose, load_recipe, parse
from intaglio.report.command import convert_command
from intaglio.settings import apply_settings, build_target_config
from intaglio.targets.base import Artifact, Measurement, Target, TargetConfig, spec_of
from intaglio.verification.verify import verify_bundle


class DeviceConfig(TargetConfig):
    speed: int = 1
    names: dict[str, int] = {}  # noqa: RUF012


class Device(Target):
    """Writes its options; nothing here runs what it writes."""

    name = "device"
    form = "quantized"
    exact = True
    Config: ClassVar[type[TargetConfig]] = DeviceConfig

    def capabilities(self):
        return []

    def check(self, prepared):
        return []

    def emit(self, prepared, out):
        path = out / self.name / "model.bin"
        path.parent.mkdir()
        path.write_text(repr(self.config), encoding="utf-8")
        graph = prepared.models["model"].graph
        specs = [tuple(spec_of(v) for v in border) for border in (graph.inputs, graph.outputs)]
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        return [
            Artifact(
                "model", self.name, f"{self.name}/model.bin", "tflm", digest, len(data), *specs
            )
        ]

    def runtimes(self, artifact):
        return ()

    def open(self, artifact, folder, runtime=None):
        raise RecipeError("it runs on a device", remedy="take another target")

    def measure(self, artifact, folder):
        return [Measurement("speed", 1.0, "m/s", "guessed")]

    def report(self, artifact, folder) -> dict[str, Any]:
        return {"said": (folder / artifact.path).read_text(encoding="utf-8")}


class Toolless(Device):
    name = "toolless"

    def require_tools(self):
        raise ToolError("its compiler is missing", command=("cc",), remedy="install it")


@pytest.fixture(autouse=True)
def targets(register):
    register(Device)
    register(Toolless)


def converted(small_model, out, *sets, **options):
    return intaglio.convert(
        small_model, targets=["device"], random_calibration=True, out=out, sets=sets, **options
    )


def test_an_option_of_a_target_reaches_it(small_model, tmp_path):
    bundle = converted(small_model, tmp_path / "out", "device.speed=3")
    assert (bundle.folder / "device" / "model.bin").read_text() == "DeviceConfig(speed=3, names={})"
    assert bundle.manifest["recipe"]["target"] == {"device": {"speed": 3, "names": {}}}
    assert "--set device.speed=3" in convert_command(bundle.manifest, "out")


def test_defaults_are_written_down_but_not_repeated_in_the_command(small_model, tmp_path):
    bundle = converted(small_model, tmp_path / "out")
    assert bundle.manifest["recipe"]["target"] == {"device": {"speed": 1, "names": {}}}
    assert "device.speed" not in convert_command(bundle.manifest, "out")


def test_targets_without_options_leave_no_trace(digits_bundle):
    assert digits_bundle.manifest["recipe"]["target"] == {}


def test_a_recipe_file_may_hold_options_of_targets(small_model, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('base = "int8"\n[target.device]\nspeed = 5\n[target.device.names]\na = 1\n')
    bundle = converted(small_model, tmp_path / "out", "device.names.b=2", recipe=file)
    written = (bundle.folder / "device" / "model.bin").read_text()
    assert written == "DeviceConfig(speed=5, names={'a': 1, 'b': 2})"


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("device.sped=3", "did you mean device.speed"),
        ("device.speed=fast", "options of target device: 'speed'"),
        ("onnx-qdq.speed=3", "target onnx-qdq is not requested"),
    ],
)
def test_no_option_of_a_target_is_ignored(key, words):
    with pytest.raises(RecipeError, match=words):
        apply_settings(load_recipe("int8"), [key], targets=["device"])


def test_a_target_without_options_says_so():
    with pytest.raises(RecipeError, match="target onnx-qdq has no options"):
        apply_settings(load_recipe("int8"), ["onnx-qdq.speed=3"], targets=["onnx-qdq"])


def test_options_of_a_recipe_file_are_checked_before_anything_runs(small_model, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('base = "int8"\n[target.device]\nsped = 5\n')
    with pytest.raises(RecipeError, match="sped"):
        converted(small_model, tmp_path / "out", recipe=file)
    file.write_text('base = "int8"\n[target.devise]\nspeed = 5\n')
    with pytest.raises(RecipeError, match="there is no target 'devise'"):
        converted(small_model, tmp_path / "out", recipe=file)


def test_composed_recipes_must_agree_on_targets():
    slow, fast = (
        parse({"name": name, "target": {"device": {"speed": speed}}}, name)
        for name, speed in (("slow", 1), ("fast", 2))
    )
    with pytest.raises(RecipeError, match=r"target\.device"):
        compose([slow, fast])
    assert compose([slow, slow]).target == slow.target


def test_the_catalog_lists_options_of_targets():
    found = {row["name"]: row["options"] for row in describe_targets()}
    assert found["onnx-qdq"] == {}
    assert found["device"]["speed"] == 1
    assert build_target_config("device", {}) == DeviceConfig()


def test_a_missing_tool_is_told_before_the_model_is_read(tmp_path):
    with pytest.raises(ToolError, match="its compiler is missing"):
        intaglio.convert(tmp_path / "no.onnx", targets=["toolless"], random_calibration=True)


@pytest.mark.parametrize("others", [[], ["onnx-integer", "onnx-qdq"]])
def test_what_nothing_here_runs_is_not_a_failure_but_is_said(small_model, tmp_path, others):
    out = tmp_path / "out"
    bundle = intaglio.convert(
        small_model, targets=["device", *others], random_calibration=True, out=out
    )
    report = verify_bundle(bundle)
    assert report.ok
    assert {pair.artifact for pair in report.pairs} == set(others)
    assert any("device was not run" in warning for warning in report.warnings)


def test_inspect_gives_what_the_tools_of_a_target_said(small_model, tmp_path):
    bundle = converted(small_model, tmp_path / "out")
    found = inspect_bundle(bundle.folder)
    assert found["reports"] == {
        "device/model.bin": {"said": "DeviceConfig(speed=1, names={})"},
    }
