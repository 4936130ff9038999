"""Teachers: models of other people, whose ranges are found out, and refusals of what is none."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("torch")

from intaglio.errors import InputError
from intaglio.fitting.image_pairs import Batch, degrade, denoising, enlarging
from intaglio.fitting.tables.loop import targets_of
from intaglio.fitting.tables.teacher import Teacher
from tests.fitting.tables.fit_pictures import picture

X2 = enlarging(2)


def model(path, *, scale=2, channels=1, gain=1.0, kind=TensorProto.FLOAT, sizes=("N", "H", "W")):
    """Nearest enlargement, its result times a gain."""
    shape = [sizes[0], channels, sizes[1], sizes[2]]
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Resize", ["f", "", "scales"], ["big"], mode="nearest"),
        helper.make_node("Mul", ["big", "gain"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([1, 1, scale, scale], np.float32), "scales"),
        numpy_helper.from_array(np.array(gain, np.float32), "gain"),
    ]
    graph = helper.make_graph(
        nodes,
        "teacher",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path
    )
    return path


@pytest.fixture(scope="module")
def example():
    clean = np.ascontiguousarray(picture(1, 64, 48)[:, :, 1])
    return clean, degrade(clean[None], X2)[0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"channels": 3},
        {"gain": 255.0},  # 0..1 in, 0..255 out
        {"gain": 1 / 255},  # 0..255 in, 0..1 out
        {"kind": TensorProto.UINT8},
        {"kind": TensorProto.UINT8, "gain": 1 / 255},
        {"sizes": (1, "H", "W")},
        {"sizes": (3, "H", "W"), "channels": 3},
    ],
)
def test_ranges_and_channels_are_found_out(tmp_path, example, options):
    teacher = Teacher(model(tmp_path / "t.onnx", **options), X2, *example)
    assert teacher.psnr > 20
    inputs = np.random.default_rng(0).integers(0, 256, (4, 12, 12), np.uint8)
    found = teacher.cells(inputs, 2)
    assert found.shape == (4, 4, 8, 8)
    wanted = np.repeat(inputs[:, None, 2:10, 2:10], 4, axis=1)
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_targets_mix_truth_and_teacher(tmp_path, example):
    teacher = Teacher(model(tmp_path / "t.onnx"), X2, *example)
    random = np.random.default_rng(1)
    batch = Batch(
        random.integers(0, 256, (2, 8, 8), np.uint8),
        random.integers(0, 256, (2, 4, 4, 4), np.uint8),
    )
    truth = targets_of(batch, None, 0.5, 2).numpy()
    assert np.array_equal(truth, batch.targets.transpose(0, 3, 1, 2))
    mixed = targets_of(batch, teacher, 0.25, 2).numpy()
    np.testing.assert_allclose(
        mixed, 0.75 * truth + 0.25 * teacher.cells(batch.inputs, 2), atol=1e-3
    )


def test_a_teacher_of_another_factor_is_refused(tmp_path, example):
    with pytest.raises(InputError, match=r"96x72.*64x48") as caught:
        Teacher(model(tmp_path / "t.onnx", scale=3), X2, *example)
    assert "this task" in caught.value.remedy


def test_a_teacher_of_fixed_size_is_refused(tmp_path, example):
    with pytest.raises(InputError, match="does not run on") as caught:
        Teacher(model(tmp_path / "t.onnx", sizes=(1, 8, 8)), X2, *example)
    assert "free" in caught.value.remedy


def test_a_teacher_for_denoising(tmp_path):
    clean = np.ascontiguousarray(picture(2, 64, 48)[:, :, 0])
    task = denoising(15)
    noisy = degrade(clean[None], task)[0]
    teacher = Teacher(model(tmp_path / "t.onnx", scale=1), task, clean, noisy)
    assert 24 < teacher.psnr < 26
    found = teacher.cells(np.arange(64, dtype=np.uint8).reshape(1, 8, 8), 1)
    assert found[0, :, 0, 0].tolist() == pytest.approx([18, 19, 26, 27])


@pytest.mark.parametrize("content", [None, b"", b"not a model"])
def test_what_is_no_model_is_refused(tmp_path, example, content):
    path = tmp_path / "t.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="teacher") as caught:
        Teacher(path, X2, *example)
    assert "ONNX file" in caught.value.remedy


def test_a_model_that_takes_no_pictures_is_refused(tmp_path, example):
    with pytest.raises(InputError, match="takes x") as caught:
        Teacher(model(tmp_path / "t.onnx", channels=5), X2, *example)
    assert "one input" in caught.value.remedy
