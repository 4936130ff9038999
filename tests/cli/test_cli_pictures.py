"""``intaglio run`` on picture files: exit codes, messages, JSON."""

from __future__ import annotations

import json

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

from intaglio.passes.table_networks.write import network_model
from tests.transforms.table_networks.random_networks import centred


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "fitted.onnx"
    ir.save(network_model(centred(3, upscale=2, mixings=1, channels=8), "n", "superres x2"), path)
    return path


@pytest.fixture(scope="module")
def bundle(cli, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle") / "fitted"
    done = cli("convert", model, "--recipe", "lut", "--target", "onnx-integer", "--out", out)
    assert done.code == 0, done.err
    assert "table network (superres x2): 2 layers of 8 channels" in done.out
    return out


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in ("a.png", "b.jpg", "c.bmp"):
        pixels = random.integers(0, 256, (8, 9, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def test_a_folder(cli, bundle, pictures, tmp_path):
    done = cli("run", bundle, "--input", pictures, "--output", tmp_path / "out")
    assert done.code == 0, done.err
    assert "onnx-integer@onnxruntime" in done.out
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["a.png", "b.png", "c.png"]
    assert Image.open(tmp_path / "out" / "a.png").size == (18, 16)


def test_one_bad_picture_is_named_and_the_rest_done(cli, bundle, pictures, tmp_path):
    (pictures / "bad.png").write_bytes((pictures / "a.png").read_bytes()[:99])
    done = cli("run", bundle, "-i", pictures, "-o", tmp_path / "out", "--json")
    assert done.code == 3
    assert "failed: bad.png cannot be read as a picture" in done.err
    data = json.loads(done.out)
    assert [p["name"] for p in data["pictures"]] == ["a.png", "b.jpg", "c.bmp"]
    assert data["pictures"][0]["result_size"] == [16, 18]
    assert data["bad"][0]["name"] == "bad.png"
    assert len(list((tmp_path / "out").iterdir())) == 3
    quiet = cli("run", bundle, "-i", pictures, "-o", tmp_path / "out", "--quiet")
    assert quiet.code == 3
    assert quiet.out == ""
    assert "bad.png" in quiet.err


def test_one_picture_with_luma_and_threads(cli, model, pictures, tmp_path):
    done = cli(
        "run", model, "-i", pictures / "b.jpg", "-o", tmp_path / "r.png",
        "--luma", "--threads", "2", "--runtime", "onnxruntime", "--orientations", "4",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "luma" in done.out
    assert "orientations" in done.out
    assert Image.open(tmp_path / "r.png").size == (18, 16)


def test_inspect_says_what_it_is(cli, model):
    done = cli("inspect", model)
    assert done.code == 0, done.err
    assert "table network (superres x2)" in done.out
    assert "look-ups and" in done.out


def test_target_onnx_qdq_is_refused(cli, model, tmp_path):
    done = cli("convert", model, "--recipe", "lut", "--target", "onnx-qdq", "-o", tmp_path / "b")
    assert done.code == 4
    assert "use --target onnx-integer" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--input", "in"], 2, "name a folder with --output"),
        (["--input", "in", "--output", "in"], 2, "is the folder of the pictures"),
        (["--input", "in/a.png", "--output", "in/a.png"], 2, "would overwrite"),
        (["--input", "in", "--output", "out", "--quantize-io"], 2, "is for arrays"),
        (["--input", "x.npy", "--luma"], 2, "--luma is for pictures"),
        (["--input", "x.npy", "--threads", "2"], 2, "--threads is for pictures"),
        (["--input", "x.npy", "--orientations", "4"], 2, "--orientations is for pictures"),
        (["--input", "in", "--output", "out", "--orientations", "3"], 2, "give 1, 2, 4 or 8"),
        (["--input", "in", "--output", "out", "--threads", "0"], 2, "--threads"),
        (["--input", "in", "--output", "out", "--runtime", "tflm"], 2, "nothing here runs"),
        (["--input", "in", "--output", "in/a.png"], 2, "is a file"),
        (["--input", "none.png", "--output", "out"], 3, "there is no file"),
        (["--input", "empty", "--output", "out"], 3, "there is no picture"),
        (["--input", "nowhere", "--output", "out"], 3, "there is no file nowhere"),
    ],
)
def test_nonsense(cli, bundle, pictures, tmp_path, arguments, code, message):
    (tmp_path / "empty").mkdir()
    done = cli("run", bundle, *arguments, cwd=tmp_path)
    assert done.code == code
    assert message in done.err
    assert not (tmp_path / "out").exists()


def test_a_picture_for_another_model(cli, digits, pictures, tmp_path):
    done = cli("run", digits, "-i", pictures / "a.png", "-o", tmp_path / "out")
    assert done.code == 3
    assert "only those run on picture files" in done.err
    folder = cli("run", digits, "-i", pictures, "-o", tmp_path / "out")
    assert folder.code == 3
    assert "is a folder" in folder.err
