"""Table networks through convert, verify, inspect and bench."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

import intaglio
from intaglio.benchmarking import bench_bundle
from intaglio.errors import InputError, RecipeError, UnsupportedError
from intaglio.inspection import inspect_bundle
from intaglio.passes.table_networks.read import read_network
from intaglio.passes.table_networks.write import network_model
from intaglio.picture_runs import run_pictures
from intaglio.targets.c.compiler import require_compiler
from tests.transforms.table_networks.random_networks import centred, reference

NETWORKS = {
    "superres": lambda: centred(1, upscale=3, mixings=2, channels=8),
    "denoise": lambda: centred(2, stride=2, upscale=2, kernel=4, channels=8),
    "reference": lambda: reference(3, upscale=2),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, make in NETWORKS.items():
        ir.save(network_model(make(), name, f"task {name}"), folder / f"{name}.onnx")
    return folder


@pytest.fixture(scope="module")
def bundle(models, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles") / "superres"
    return intaglio.convert(models / "superres.onnx", "lut", ["onnx-integer"], out=out)


@pytest.mark.parametrize("recipe", ["lut", "int8"])
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_conversion_changes_nothing_and_needs_no_data(models, tmp_path, name, recipe):
    made = intaglio.convert(models / f"{name}.onnx", recipe, ["onnx-integer"], out=tmp_path / "b")
    network = NETWORKS[name]()
    found = read_network(ir.load(made.folder / made.artifact("onnx-integer").path))
    plane = np.random.default_rng(1).integers(0, 256, (9, 10)).astype(np.uint8)
    np.testing.assert_array_equal(found.apply(plane), network.apply(plane))
    assert found.storage_bytes == network.storage_bytes
    about = made.manifest["table_network"]
    assert about["task"] == f"task {name}"
    assert about["table_bytes"] == network.storage_bytes
    assert about["lookups"] == network.lookups
    assert made.manifest["form"] == "integer"
    assert made.artifact("onnx-integer").inputs[0].shape == ("N", 1, "H", "W")
    assert not any(record.modified for record in made.conversion.records)
    report = intaglio.verify(made)
    assert report.ok, report.failures
    assert [(p.artifact, p.reference, p.verdict) for p in report.pairs] == [
        ("onnx-integer", "numpy", "exact")
    ]
    page = (made.folder / "report.html").read_text(encoding="utf-8")
    assert "Look-ups" in page
    assert "in float" not in page
    # No profile counts and no step does anything: the page does not pretend so.
    assert f"task {name}" in page
    assert "tflm" not in page
    assert "steps of the recipe left it alone" in page
    assert "canonicalize." not in page
    assert "intaglio run b --input PICTURES" in page


def test_the_same_model_gives_the_same_bytes(models, tmp_path):
    found = []
    for name in "ab":
        made = intaglio.convert(
            models / "superres.onnx", "lut", ["onnx-integer"], out=tmp_path / name
        )
        found.append([artifact.sha256 for artifact in made.artifacts])
    assert found[0] == found[1]


def test_an_artifact_is_a_model_again(bundle, tmp_path):
    path = bundle.folder / bundle.artifact("onnx-integer").path
    again = intaglio.convert(path, "lut", ["onnx-integer"], out=tmp_path / "again")
    assert intaglio.verify(again).ok


@pytest.mark.parametrize("target", ["onnx-qdq", "tflite"])
def test_targets_without_tables_are_refused(models, tmp_path, target):
    with pytest.raises(UnsupportedError, match=f"target {target}") as caught:
        intaglio.convert(models / "superres.onnx", "lut", [target], out=tmp_path / "b")
    assert "--target onnx-integer" in caught.value.remedy
    assert not (tmp_path / "b").exists()


def test_what_makes_no_sense_is_refused_or_said(models, tmp_path):
    model = models / "superres.onnx"
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"schema": 1, "marks": {}, "tensors": {}}))
    with pytest.raises(RecipeError, match="no scales"):
        intaglio.convert(model, "lut", ["onnx-integer"], out=tmp_path / "b", plan=plan)
    with pytest.raises(RecipeError, match="nothing to train"):
        intaglio.convert(model, "forward-gradient", ["onnx-integer"], out=tmp_path / "b")
    made = intaglio.convert(
        model,
        "lut",
        ["onnx-integer"],
        {"image": np.zeros((2, 1, 8, 8), np.uint8)},
        tmp_path / "b",
        shapes={"image": [1, 1, 8, 8]},
    )
    assert len(made.manifest["warnings"]) == 2
    assert all("no effect" in warning for warning in made.manifest["warnings"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sets": {"io": "float"}}, "io=float"),
        ({"sets": {"profile": "litert"}}, "profile has"),
        (
            {"sets": ["tables.substitute_convolutions.force=true"]},
            r"tables\.substitute_convolutions\.force has",
        ),
        (
            {"sets": {"quantize.activations": "int16", "data.size": [8, 8]}},
            r"plan_tensors\.activations, data\.size have",
        ),
        ({"sets": {"bundle.samples": 3}}, r"bundle\.samples has"),
        ({"sets": {"c.memory": "small"}}, r"c\.memory has"),
        ({"keep_steps": True}, "no steps"),
    ],
)
def test_options_without_effect_are_refused(models, tmp_path, options, said):
    with pytest.raises(RecipeError, match=said) as caught:
        intaglio.convert(models / "superres.onnx", "lut", out=tmp_path / "b", **options)
    assert "leave" in caught.value.remedy
    assert not (tmp_path / "b").exists()


def test_options_with_an_effect_are_taken(models, tmp_path):
    made = intaglio.convert(
        models / "superres.onnx",
        "lut",
        out=tmp_path / "b",
        sets={"c.prefix": "mine", "bundle.reference": False, "io": "integer"},
    )
    assert (made.folder / "c" / "mine.c").is_file()
    assert made.reference is None


def edited(bundle, folder, change):
    """A copy of a bundle whose onnx-integer model computes something else, hashes right."""
    model = ir.load(bundle.folder / "onnx-integer" / "model.onnx")
    name = "head_tables"
    array = np.array(model.graph.initializers[name].const_value.numpy())
    change(array)
    model.graph.initializers[name].const_value = ir.tensor(array, name=name)
    for file in bundle.folder.rglob("*"):
        if file.is_file():
            copy = folder / file.relative_to(bundle.folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    path = folder / "onnx-integer" / "model.onnx"
    ir.save(model, path)
    manifest = json.loads((folder / "manifest.json").read_text())
    for artifact in manifest["artifacts"]:
        if artifact["path"] == "onnx-integer/model.onnx":
            artifact["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return intaglio.load(folder)


def test_one_wrong_entry_is_found(bundle, tmp_path):
    def change(array):
        array[0] += 40

    wrong = edited(bundle, tmp_path / "wrong", change)
    report = intaglio.verify(wrong)
    assert not report.ok
    assert "onnx-integer differs from numpy" in report.failures[0]
    assert not intaglio.verify(wrong, require="exact").ok


def test_verify_on_given_pictures_and_arrays(bundle, tmp_path):
    random = np.random.default_rng(5)
    pixels = random.integers(0, 256, (11, 12, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "b.png")
    np.save(tmp_path / "c.npy", pixels.transpose(2, 0, 1)[:, None])
    np.savez(tmp_path / "d.npz", one=pixels[..., 0], two=pixels[None, None, ..., 1])
    for given, count in (
        (tmp_path, 4),
        (tmp_path / "a.png", 3),
        (tmp_path / "c.npy", 3),
        (tmp_path / "d.npz", 2),
        ({"image": pixels[..., 0]}, 1),
    ):
        report = intaglio.verify(bundle, inputs=given)
        assert report.ok, report.failures
        assert report.inputs == {"samples": count, "generated": 0, "layers": 0}
        assert report.pairs[0].values > 0
    (tmp_path / "inside" / ".hidden").mkdir(parents=True)
    planes = intaglio.verify(bundle, inputs=tmp_path).inputs["samples"]
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(tmp_path / "inside" / "more.png")
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(tmp_path / "inside" / ".hidden" / "not.png")
    assert intaglio.verify(bundle, inputs=tmp_path).inputs["samples"] == planes + 1
    assert intaglio.verify(bundle, inputs=tmp_path, samples=2).inputs["samples"] == 2


def test_verify_refuses_what_is_no_picture(bundle, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.npy").write_bytes(b"no")
    for given in (
        tmp_path / "missing",
        tmp_path / "empty",
        tmp_path / "x.npy",
        {"image": np.zeros((2, 3), np.float32)},
        {"image": np.zeros((2, 3, 4), np.uint8)},
    ):
        with pytest.raises(InputError) as caught:
            intaglio.verify(bundle, inputs=given)
        assert caught.value.remedy
    with pytest.raises(RecipeError, match="no metric"):
        intaglio.verify(bundle, metric="psnr")


def test_inspect_says_what_it_is(models, bundle):
    found = intaglio.inspect_model(models / "denoise.onnx")
    network = NETWORKS["denoise"]()
    assert found.table_network == {
        "structure": "centred",
        "scale": 1.0,
        "cell": 2,
        "channels": 8,
        "layers": 3,
        "table_bytes": network.storage_bytes,
        "lookups": network.lookups,
        "multiplications": network.multiplications,
        "task": "task denoise",
    }
    assert found.operators["AdditiveLut"] == 3
    assert found.macs is None
    assert found.parameter_bytes == network.storage_bytes
    about = intaglio.inspect_model(models / "reference.onnx").table_network
    assert (about["structure"], about["scale"], about["channels"]) == ("reference", 2.0, 16)
    assert inspect_bundle(bundle.folder)["table_network"]["scale"] == 3.0


def test_bench_times_a_plane(bundle):
    found = bench_bundle(bundle, runs=1, seconds=0.1)
    timed = {entry.name: entry for entry in found.entries}
    assert timed["onnx-integer"].reason is None
    assert timed["onnx-integer"].median_ms > 0


def test_run_opens_bundles_and_artifacts(bundle, tmp_path):
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(tmp_path / "a.png")
    artifact = bundle.folder / bundle.artifact("onnx-integer").path
    for path, arguments in (
        (bundle.folder, {}),
        (bundle.folder, {"target": "onnx-integer"}),
        (bundle.folder, {"runtime": "onnxruntime"}),
        (bundle.folder, {"runtime": "onnx-integer@onnxruntime"}),
        (bundle.folder, {"runtime": "onnx-integer"}),
        (artifact, {}),
    ):
        found = run_pictures(path, tmp_path / "a.png", tmp_path / "out", **arguments)
        assert found.runtime == "onnx-integer@onnxruntime"
    for arguments in ({"target": "c"}, {"runtime": "avx2"}, {"runtime": "c@avx2"}):
        with pytest.raises(RecipeError, match="nothing here runs") as caught:
            run_pictures(bundle.folder, tmp_path / "a.png", tmp_path / "out", **arguments)
        assert "onnx-integer@onnxruntime" in caught.value.remedy


def test_graphs_that_are_nearly_one_are_read_like_others(models, tmp_path):
    model = ir.load(models / "superres.onnx")
    network = dataclasses.replace(read_network(model))
    assert network.channels == 8
    node = next(n for n in model.graph if n.op_type == "CellHead")
    node.attributes["out_shift"] = ir.Attr("out_shift", ir.AttributeType.INT, 30)
    ir.save(model, tmp_path / "odd.onnx")
    with pytest.raises(intaglio.IntaglioError):
        intaglio.convert(tmp_path / "odd.onnx", "lut", ["onnx-integer"], out=tmp_path / "b")


@pytest.fixture(scope="module")
def c_bundle(models, tmp_path_factory):
    require_compiler()
    out = tmp_path_factory.mktemp("bundles") / "with_c"
    return intaglio.convert(models / "superres.onnx", "lut", ["onnx-integer", "c"], out=out)


def test_emitted_c_gives_the_bits_of_the_definition(c_bundle):
    report = intaglio.verify(c_bundle)
    assert report.ok, report.failures
    compared = [pair.artifact for pair in report.pairs]
    assert compared[0] == "onnx-integer"
    assert "c@portable" in compared
    assert all((p.reference, p.verdict) == ("numpy", "exact") for p in report.pairs)
    # Every picture is run in one piece and in bands.
    values = {pair.artifact: pair.values for pair in report.pairs}
    assert values["c@portable"] == 2 * values["onnx-integer"]


def test_emitted_c_and_onnxruntime_write_the_same_pictures(c_bundle, tmp_path):
    random = np.random.default_rng(9)
    (tmp_path / "in").mkdir()
    for name, shape in {"a": (37, 41, 3), "b": (9, 60), "c": (64, 5, 4)}.items():
        pixels = random.integers(0, 256, shape).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{name}.png")
    runs = {
        "first": {},
        "portable": {"runtime": "c@portable", "threads": 1},
        "seven": {"target": "c", "threads": 7},
        "onnx": {"runtime": "onnxruntime", "threads": 2},
    }
    found = {}
    for name, arguments in runs.items():
        done = run_pictures(c_bundle.folder, tmp_path / "in", tmp_path / name, **arguments)
        assert (len(done.pictures), done.bad) == (3, ())
        found[name] = [(f.name, f.read_bytes()) for f in sorted((tmp_path / name).iterdir())]
        assert done.runtime.startswith("onnx-integer@" if name == "onnx" else "c@")
    assert found["first"] == found["portable"] == found["seven"] == found["onnx"]


def test_the_report_and_the_bench_know_the_c(c_bundle):
    page = (c_bundle.folder / "report.html").read_text(encoding="utf-8")
    assert "Look-ups" in page
    assert "Working memory" in page
    assert inspect_bundle(c_bundle.folder)["measured"]
    timed = {entry.name: entry for entry in bench_bundle(c_bundle, runs=1, seconds=0.1).entries}
    assert timed["c@portable"].reason is None
    assert timed["c@portable"].median_ms < timed["onnx-integer"].median_ms
