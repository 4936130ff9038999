from __future__ import annotations

import numpy as np
import pytest

from intaglio.errors import InputError, RecipeError
from intaglio.fitting.data import open_data, random_data
from intaglio.targets.base import TensorSpec

IMAGE = TensorSpec("x", ("N", 3, 4, 5), "float32")
ONE = TensorSpec("x", (1, 3, 4, 5), "float32")


def samples(count=10, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 3, 4, 5)).astype(np.float32)


def together(data, size=4, limit=None):
    return np.concatenate([batch["x"] for batch in data.batches(size, limit)])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npz_streams_what_was_saved_again_and_again(tmp_path, save, order):
    x = samples()
    save(tmp_path / "a.npz", x=np.array(x, order=order), labels=np.arange(10), target=x[:, 0])
    data = open_data(tmp_path / "a.npz", [IMAGE])
    assert len(data) == 10
    for _ in range(2):
        assert [len(b["x"]) for b in data.batches(4)] == [4, 4, 2]
        np.testing.assert_array_equal(together(data), x)
    np.testing.assert_array_equal(together(data, 4, limit=6), x[:6])
    np.testing.assert_array_equal(data.head(3)["x"], x[:3])
    np.testing.assert_array_equal(data.labels(), np.arange(10))
    np.testing.assert_array_equal(data.targets(), x[:, 0])


def test_npy_and_arrays_give_the_same_batches(tmp_path):
    x = samples()
    np.save(tmp_path / "a.npy", x)
    np.testing.assert_array_equal(together(open_data(tmp_path / "a.npy", [IMAGE])), x)
    data = open_data({"anything": x}, [IMAGE])
    np.testing.assert_array_equal(together(data), x)
    assert data.labels() is None
    assert data.targets() is None


def test_a_fixed_batch_is_kept():
    data = open_data({"x": samples(11)}, [TensorSpec("x", (4, 3, 4, 5), "float32")])
    assert data.fixed_batch == 4
    assert len(data) == 8
    assert [b["x"].shape for b in data.batches(16)] == [(4, 3, 4, 5)] * 2
    assert [len(b["x"]) for b in data.batches(16, limit=3)] == [4]
    with pytest.raises(InputError, match="takes 4 at once"):
        open_data({"x": samples(3)}, [TensorSpec("x", (4, 3, 4, 5), "float32")])


def test_samples_may_be_stacked_in_front_of_the_whole_input():
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    data = open_data({"x": x}, [TensorSpec("x", (4,), "float32")])
    assert [b["x"].tolist() for b in data.batches(2)] == x.tolist()


def test_several_inputs_come_together():
    specs = [TensorSpec("a", ("N", 2), "float32"), TensorSpec("b", ("N",), "int64")]
    a, b = np.ones((5, 2), np.float32), np.arange(5, dtype=np.int32)
    batches = list(open_data({"a": a, "b": b}, specs).batches(3))
    assert [batch["b"].tolist() for batch in batches] == [[0, 1, 2], [3, 4]]
    assert batches[0]["b"].dtype == np.int64
    with pytest.raises(InputError, match="numbers of samples differ"):
        open_data({"a": a, "b": b[:4]}, specs)
    with pytest.raises(InputError, match="no samples for b"):
        open_data({"a": a}, specs)
    with pytest.raises(InputError, match="unknown keys: c"):
        open_data({"a": a, "b": b, "c": b}, specs)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "float64", "float16"])
def test_numbers_that_float32_holds_are_converted(dtype):
    x = np.arange(60).reshape(1, 3, 4, 5).astype(dtype)
    batch = next(iter(open_data({"x": x}, [IMAGE]).batches(1)))
    assert batch["x"].dtype == np.float32
    np.testing.assert_array_equal(batch["x"], x)


@pytest.mark.parametrize(
    ("array", "spec", "message", "remedy"),
    [
        (samples().transpose(0, 2, 3, 1), IMAGE, "10×4×5×3", "transpose it by (0, 3, 1, 2)"),
        (
            samples(),
            TensorSpec("x", ("N", 4, 5, 3), "float32"),
            "10×3×4×5",
            "transpose it by (0, 2, 3, 1)",
        ),
        (samples()[0], IMAGE, "3×4×5", "x[None]"),
        (samples()[..., :4], ONE, "takes 1×3×4×5", "samples×3×4×5"),
        (samples()[:0], IMAGE, "no samples", "at least one"),
        (samples().astype(complex), IMAGE, "complex128", "astype"),
        (samples(), TensorSpec("x", ("N", 3, 4, 5), "int64"), "float32", "astype('int64')"),
        (np.array(["a"] * 3), IMAGE, "<U1", "astype"),
        (np.float32(1.0), IMAGE, "one number", "samples×3×4×5"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_at_once(array, spec, message, remedy):
    with pytest.raises(InputError) as caught:
        open_data({"x": array}, [spec])
    assert message in caught.value.message
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_name_their_sample(tmp_path, bad):
    x = samples()
    x[7, 1, 2, 3] = bad
    np.savez(tmp_path / "a.npz", x=x)
    with pytest.raises(InputError, match="sample 7 holds NaN or infinity") as caught:
        together(open_data(tmp_path / "a.npz", [IMAGE]), size=4)
    assert caught.value.remedy
    assert len(together(open_data(tmp_path / "a.npz", [IMAGE]), size=4, limit=7)) == 7


@pytest.mark.parametrize(
    ("value", "given", "wanted"),
    [(300, "int64", "uint8"), (-1, "int8", "uint8"), (2**24 + 1, "int32", "float32")],
)
def test_integers_that_do_not_fit_are_refused(value, given, wanted):
    x = np.zeros((3, 2), given)
    x[1, 1] = value
    data = open_data({"x": x}, [TensorSpec("x", ("N", 2), wanted)])
    with pytest.raises(InputError, match=f"sample 1 .*{wanted} cannot represent"):
        list(data.batches(3))


def test_a_float64_that_overflows_float32_is_refused():
    x = np.full((2, 2), 1e300)
    with pytest.raises(InputError, match="sample 0"):
        list(open_data({"x": x}, [TensorSpec("x", ("N", 2), "float32")]).batches(2))


def test_missing_and_unknown_files(tmp_path):
    with pytest.raises(InputError, match="no calibration data") as caught:
        open_data(tmp_path / "nothing.npz", [IMAGE])
    assert "--calibration" in caught.value.remedy
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(InputError, match="neither"):
        open_data(tmp_path / "a.csv", [IMAGE])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"random bytes" * 9])
@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
def test_damaged_files_are_input_errors(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        open_data(tmp_path / name, [IMAGE])
    assert caught.value.remedy


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
@pytest.mark.parametrize("kept", [0.3, 0.95])
def test_truncated_files_are_input_errors(tmp_path, name, kept):
    path = tmp_path / name
    if name.endswith("z"):
        np.savez(path, x=samples(200))
    else:
        np.save(path, samples(200))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError):
        together(open_data(path, [IMAGE]))


def test_a_flipped_bit_in_a_zip_is_an_input_error(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=samples(200))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 64
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        together(open_data(path, [IMAGE]))


def test_python_objects_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="Python objects"):
        open_data(tmp_path / "a.npz", [IMAGE])


def test_labels_are_class_numbers(tmp_path):
    for labels in (np.zeros(9, int), np.zeros((10, 2), int), np.zeros(10, float)):
        with pytest.raises(InputError):
            open_data({"x": samples(), "labels": labels}, [IMAGE])
    column = open_data({"x": samples(), "labels": np.arange(10)[:, None]}, [IMAGE])
    np.testing.assert_array_equal(column.labels(), np.arange(10))


def test_random_samples_are_the_same_for_the_same_seed():
    first, second, other = (random_data([IMAGE], 6, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(together(first), together(second))
    assert not np.array_equal(together(first), together(other))
    fixed = TensorSpec("x", (4, 2), "int64")
    assert len(random_data([fixed], 6)) == 8
    with pytest.raises(RecipeError, match="fixed shape") as caught:
        random_data([TensorSpec("x", (1, 3, "H", "W"), "float32")])
    assert "--shape" in caught.value.remedy
