"""Labelled samples: how they become integers, and what is refused with which words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intaglio.errors import InputError
from intaglio.fitting.training.data import read_samples
from tests.fitting.training.numpy_stepper import small_training, squared_training

SCALE, ZERO_POINT = 0.5, -3


def samples(count=8, **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "image": rng.normal(0, 10, (count, 6)).astype(np.float32),
        "labels": rng.integers(0, 3, count),
    }
    return {name: a for name, a in {**arrays, **changes}.items() if a is not None}


def read(arrays, training=None):
    return read_samples(arrays, training or small_training(), "training data")


def test_real_values_are_quantized_to_the_input_s_grid():
    arrays = samples()
    found = read(arrays)
    assert found.x.dtype == np.int8
    for real, integer in zip(arrays["image"].reshape(-1), found.x.reshape(-1), strict=True):
        assert integer == min(max(round(float(real) / SCALE) + ZERO_POINT, -128), 127)
    assert found.targets.dtype == np.int64
    assert len(found) == 8


def test_integers_of_the_input_are_taken_as_they_are():
    x = np.arange(48, dtype=np.int8).reshape(8, 6)
    np.testing.assert_array_equal(read(samples(image=x)).x, x)


def test_other_integers_are_real_values():
    x = np.full((8, 6), 20, np.uint8)
    assert np.unique(read(samples(image=x)).x).tolist() == [20 / SCALE + ZERO_POINT]


def test_what_is_clipped_is_counted():
    x = np.zeros((8, 6), np.float32)
    x[0] = 1000
    found = read(samples(image=x))
    assert found.clipped == 1 / 8
    assert found.x[0].tolist() == [127] * 6


@pytest.mark.parametrize("name", ["image", "x", "anything"])
@pytest.mark.parametrize("label", ["labels", "label", "y"])
def test_names_of_samples_and_labels(tmp_path, name, label):
    arrays = samples()
    path = tmp_path / "d.npz"
    np.savez(path, **{name: arrays["image"], label: arrays["labels"]})
    found = read(path)
    np.testing.assert_array_equal(found.targets, arrays["labels"])


def test_labels_may_be_whole_floats():
    found = read(samples(labels=np.array([0, 1, 2, 0, 1, 2, 0, 1], np.float32)))
    assert found.targets.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


NAN = samples()["image"].copy()
NAN[3, 2] = np.nan
INF = samples()["image"].copy()
INF[7, 0] = -np.inf


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": None}, "holds no labels"),
        ({"labels": np.array([0, 1, 2, 3, 0, 1, 2, 0])}, "label 3 .* is 3, .* 3 classes"),
        ({"labels": np.array([0, 1, -1, 0, 0, 1, 2, 0])}, "label 2 .* is -1"),
        ({"labels": np.array([0, 1.5, 0, 0, 0, 1, 2, 0])}, "label 1 .* is 1.5"),
        ({"labels": np.array([0, np.nan, 0, 0, 0, 1, 2, 0])}, "label 1 .* is nan"),
        ({"labels": np.array(list("abcdefgh"))}, "label 0 .* is a"),
        ({"labels": np.zeros((8, 3), int)}, r"labels of .* shape \[8, 3\]"),
        ({"labels": np.zeros(7, int)}, "8 samples and 7 labels"),
        ({"labels": np.array(2)}, "8 samples and 1 labels"),
        ({"image": NAN}, "sample 3 .* NaN"),
        ({"image": INF}, "sample 7 .* infinity"),
        ({"image": np.zeros((8, 5))}, r"shape \[5\], the model takes \[6\]"),
        ({"image": np.zeros((8, 2, 3))}, r"shape \[2, 3\]"),
        ({"image": np.float32(3)}, "shape"),
        ({"image": np.zeros((0, 6)), "labels": np.zeros(0, int)}, "no samples"),
        ({"image": np.zeros((8, 6), bool)}, "bool"),
        ({"image": np.zeros((8, 6), complex)}, "complex"),
        ({"image": None, "a": np.zeros((8, 6)), "b": np.zeros((8, 6))}, "a, b, labels"),
        ({"image": None}, "the model's input is 'image'"),
    ],
)
def test_what_does_not_fit_is_named(changes, words):
    with pytest.raises(InputError, match=words) as caught:
        read(samples(**changes))
    assert caught.value.remedy


def test_one_class_may_be_labelled_like_one_sample():
    arrays = samples(1)
    with pytest.raises(InputError, match="1 samples and 1 labels"):
        read({**arrays, "labels": np.array(0)})


@pytest.mark.parametrize("content", [b"", b"PK", b"nothing", b"PK\x03\x04" + b"\0" * 60])
def test_files_that_are_no_archives_are_named(tmp_path, content):
    path = tmp_path / "d.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"d\.npz"):
        read(path)


def test_missing_files_folders_objects_and_single_arrays_are_named(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        read(tmp_path / "none.npz")
    with pytest.raises(InputError, match="cannot read"):
        read(tmp_path)
    np.savez(tmp_path / "o.npz", image=np.array([{}], object), labels=np.zeros(1, int))
    with pytest.raises(InputError, match=r"o\.npz"):
        read(tmp_path / "o.npz")
    np.save(tmp_path / "one.npy", np.zeros((3, 6)))
    with pytest.raises(InputError, match="without labels"):
        read(tmp_path / "one.npy")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_archives_are_read_or_named(tmp_path, data):
    path = tmp_path / "d.npz"
    save = data.draw(st.sampled_from([np.savez, np.savez_compressed]))
    save(path, **samples())
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    del damaged[data.draw(st.integers(len(damaged) // 2, len(damaged))) :]
    path.write_bytes(damaged)
    try:
        found = read(path)
    except InputError:
        return
    assert len(found.x) == len(found.targets)


def test_targets_of_the_squared_error_are_quantized():
    target = np.array([[0.1, -0.2, 1e9]] * 8, np.float32)
    found = read(samples(labels=None, target=target), squared_training())
    assert found.targets.dtype == np.int32
    assert found.targets[0].tolist() == [0, -1, 1 << 24]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (np.zeros((8, 2)), r"shape \[2\], the model gives \[3\]"),
        (np.full((8, 3), np.nan), "NaN"),
        (np.full((8, 3), "a"), "<U1"),
        (np.zeros((7, 3)), "8 samples and 7"),
    ],
)
def test_targets_that_do_not_fit_are_named(target, words):
    with pytest.raises(InputError, match=words):
        read(samples(labels=None, target=target), squared_training())
