"""Bad input: its exit code, a message with a remedy, no traceback, earlier output as it was."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


@pytest.fixture
def place(tmp_path, converted):
    """A folder with an earlier bundle in ``out``."""
    shutil.copytree(converted[0], tmp_path / "out")
    return tmp_path


def hashes(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def save(path, nodes, initializers=(), inputs=("x",), outputs=("y",)):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in initializers],
    )
    opset = [helper.make_opsetid("", 17)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    )
    return path


def missing(folder, digits):
    return folder / "none.onnx"


def a_folder(folder, digits):
    (folder / "folder.onnx").mkdir()
    return folder / "folder.onnx"


def empty(folder, digits):
    (folder / "empty.onnx").write_bytes(b"")
    return folder / "empty.onnx"


def truncated(folder, digits):
    data = digits.read_bytes()
    (folder / "truncated.onnx").write_bytes(data[: len(data) // 2])
    return folder / "truncated.onnx"


def random_bytes(folder, digits):
    data = np.random.default_rng(0).integers(0, 256, 5000).astype(np.uint8).tobytes()
    (folder / "random.onnx").write_bytes(data)
    return folder / "random.onnx"


def tflite(folder, digits):
    # A flatbuffer: offset of the root table, then the file identifier.
    (folder / "lite.onnx").write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(200))
    return folder / "lite.onnx"


def nan_weights(folder, digits):
    model = onnx.load(digits)
    weight = model.graph.initializer[0]
    array = numpy_helper.to_array(weight).copy()
    array.reshape(-1)[0] = np.nan
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    onnx.save(model, folder / "nan.onnx")
    return folder / "nan.onnx"


def cycle(folder, digits):
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="second"),
        helper.make_node("Relu", ["b"], ["y"], name="third"),
    ]
    return save(folder / "cycle.onnx", nodes)


def constant(folder, digits):
    nodes = [helper.make_node("Relu", ["c"], ["y"])]
    return save(folder / "constant.onnx", nodes, [("c", np.ones((1, 4), np.float32))])


def no_inputs(folder, digits):
    nodes = [helper.make_node("Relu", ["c"], ["y"])]
    array = np.ones((1, 4), np.float32)
    return save(folder / "no_inputs.onnx", nodes, [("c", array)], inputs=())


def custom_operator(folder, digits):
    node = helper.make_node("Magic", ["x"], ["y"], name="magic", domain="my.company")
    path = save(folder / "custom.onnx", [node])
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("my.company", 1))
    onnx.save(model, path)
    return path


def check_failure(done, code, place, before):
    """What every failure has to look like."""
    assert done.code == code, done.out + done.err
    assert done.err.startswith("error:")
    assert "remedy:" in done.err or "  - " in done.err
    assert "Traceback" not in done.err + done.out
    assert hashes(place / "out") == before
    assert not [path.name for path in place.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (missing, 3, "there is no file"),
        (a_folder, 3, "not a file"),
        (empty, 3, "empty"),
        (truncated, 3, "truncated"),
        (random_bytes, 3, "not"),
        (tflite, 3, "TFLite"),
        (nan_weights, 3, "NaN"),
        (cycle, 3, "cycle"),
        (constant, 3, "constant"),
        (no_inputs, 3, "no inputs"),
        (custom_operator, 4, "Magic"),
    ],
)
def test_models_that_cannot_be_used(cli, place, digits, digits_data, make, code, words):
    path = make(place, digits)
    before = hashes(place / "out")
    done = cli("convert", path, "--calibration", digits_data, "--out", place / "out")
    check_failure(done, code, place, before)
    assert words.lower() in done.err.lower()
    if make is not a_folder:
        assert cli("inspect", path).code == code


def arrays(**named):
    def make(folder):
        np.savez(folder / "data.npz", **named)
        return folder / "data.npz"

    return make


def broken_npz(folder):
    (folder / "data.npz").write_bytes(b"PK\x03\x04 and no more")
    return folder / "data.npz"


def text_file(folder):
    (folder / "data.csv").write_text("1,2,3", encoding="utf-8")
    return folder / "data.csv"


def empty_folder(folder):
    (folder / "images").mkdir()
    return folder / "images"


def one_nan():
    images = np.ones((4, 1, 8, 8), np.float32)
    images[2, 0, 3, 3] = np.nan
    return images


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "none.npz", "no calibration data"),
        (arrays(image=np.ones((4, 1, 9, 9), np.float32)), "9"),
        (arrays(image=np.ones((4, 1, 8, 8), np.complex64)), "complex64"),
        (arrays(image=np.array([["a"] * 8])), "image"),
        (arrays(image=one_nan()), "NaN"),
        (arrays(image=np.ones((0, 1, 8, 8), np.float32)), "no samples"),
        (arrays(picture=np.ones((4, 1, 8, 8), np.float32), other=np.ones(4)), "for image"),
        (broken_npz, "zip"),
        (text_file, "neither"),
        (empty_folder, "no "),
    ],
)
def test_calibration_data_that_does_not_fit(cli, place, digits, make, words):
    before = hashes(place / "out")
    done = cli("convert", digits, "--calibration", make(place), "--out", place / "out")
    check_failure(done, 3, place, before)
    assert words in done.err.replace("\n", " ")


def recipe_with_unknown_key(folder):
    path = folder / "mine.toml"
    path.write_text('base = "int8"\nstepp = 3\n', encoding="utf-8")
    return ["--recipe", str(path)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (recipe_with_unknown_key, "unknown key 'stepp'"),
        (lambda _: ["--recipe", "int9"], "did you mean int8"),
        (lambda _: ["--target", "onnx-int"], "did you mean onnx-int"),
        (lambda _: ["--set", "quantize.activation=int16"], "quantize.activations"),
        (lambda _: ["--set", "quantize.activations"], "is not an option"),
        (lambda _: ["--set", "quantize.activations=int4"], "int4"),
        (lambda _: ["--set", 'quantize.sixteen_bit=["nothing*"]'], "nothing*"),
        (lambda _: ["--set", "profile=lite"], "did you mean litert"),
        (lambda _: ["--shape", "image=1,1"], "shape"),
        (lambda _: ["--shape", "picture=1,1,8,8"], "picture"),
        (lambda _: ["--shape", "image"], "is not a shape"),
        (lambda _: ["--random-calibration"], "leave one of them out"),
    ],
)
def test_requests_that_make_no_sense(cli, place, digits, digits_data, arguments, words):
    extra = arguments(place)
    before = hashes(place / "out")
    done = cli(
        "convert", digits, "--calibration", digits_data, "--out", place / "out", *extra
    )  # fmt: skip
    check_failure(done, 2, place, before)
    assert words in done.err.replace("\n", " ")


def test_no_calibration_at_all(cli, place, digits):
    before = hashes(place / "out")
    done = cli("convert", digits, "--out", place / "out")
    check_failure(done, 2, place, before)
    assert "--random-calibration" in done.err


def test_an_output_that_is_a_file(cli, place, digits, digits_data):
    before = hashes(place / "out")
    (place / "file").write_text("mine", encoding="utf-8")
    done = cli("convert", digits, "--calibration", digits_data, "--out", place / "file")
    check_failure(done, 2, place, before)
    assert (place / "file").read_text(encoding="utf-8") == "mine"


def test_an_output_folder_with_other_things_in_it(cli, place, digits, digits_data):
    before = hashes(place / "out")
    done = cli("convert", digits, "--calibration", digits_data, "--out", place)
    check_failure(done, 2, place, before)


def test_a_plan_of_another_model(cli, place, digits):
    plan = json.loads((place / "out" / "plan.json").read_text(encoding="utf-8"))
    plan["tensors"]["elsewhere"] = plan["tensors"].pop("image")
    (place / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    before = hashes(place / "out")
    done = cli("convert", digits, "--plan", place / "plan.json", "--out", place / "out")
    check_failure(done, 2, place, before)
    assert "elsewhere" in done.err


@pytest.mark.parametrize("command", ["verify", "inspect", "run"])
def test_bundles_that_are_none(cli, place, command):
    (place / "nothing").mkdir()
    extra = ["--input", place / "x.npy"] if command == "run" else []
    before = hashes(place / "out")
    check_failure(cli(command, place / "nothing", *extra), 3, place, before)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--input", "x.npy"], 2),
        (["--input", "none.npy", "--target", "source"], 3),
        (["--input", "x.npy", "--target", "tflite"], 2),
        (["--input", "x.npy", "--target", "onnx-integer"], 3),
        (["--input", "x.npy", "--target", "source", "--output", "y.txt"], 2),
        (["--input", "wrong.npy", "--target", "source"], 3),
    ],
)
def test_runs_that_cannot_be_done(cli, place, arguments, code):
    np.save(place / "x.npy", np.zeros((1, 1, 8, 8), np.float32))
    np.save(place / "wrong.npy", np.zeros((1, 8), np.float32))
    before = hashes(place / "out")
    check_failure(cli("run", "out", *arguments, cwd=place), code, place, before)


def test_errors_are_json_too(cli, place, digits_data):
    path = custom_operator(place, None)
    done = cli("convert", path, "--random-calibration", "--out", place / "out", "--json")
    error = json.loads(done.out)["error"]
    assert (error["type"], error["exit_code"]) == ("UnsupportedError", 4)
    assert error["refusals"][0]["operator"] == "Magic"
    done = cli("convert", place / "none.onnx", "--out", place / "out", "--json")
    error = json.loads(done.out)["error"]
    assert (error["type"], error["exit_code"]) == ("InputError", 3)
    assert error["remedy"]


def test_a_user_sees_no_traceback(process, place, digits):
    done = process("convert", truncated(place, digits), "--random-calibration", "--out", "x")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("error:")
    assert "remedy:" in done.err
    assert "Traceback" not in done.err


def test_debug_shows_where_it_happened(cli, place):
    done = cli("convert", place / "none.onnx", "--out", place / "out", "--debug")
    assert done.code == 3
    assert "Traceback" in done.err
    assert "error: there is no file" in done.err


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(cli, place, digits, digits_data):
    (place / "locked").mkdir(mode=0o500)
    done = cli("convert", digits, "--calibration", digits_data, "--out", place / "locked" / "x")
    assert done.code == 3
    assert "permissions" in done.err
