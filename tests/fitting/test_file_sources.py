from __future__ import annotations

import wave

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from intaglio.errors import InputError, RecipeError
from intaglio.fitting.data import open_data
from intaglio.fitting.data_options import DataOptions
from intaglio.targets.base import TensorSpec

NCHW = TensorSpec("x", (1, 3, 6, 8), "float32")
OPEN = TensorSpec("x", (1, "H", "W", 1), "float32")


def picture(path, height, width, seed=0, gray=False):
    shape = (height, width) if gray else (height, width, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def only(folder, spec, **options):
    (batch,) = open_data(folder, [spec], options=DataOptions(**options)).batches(16)
    return batch[spec.name]


def test_pixels_become_samples_in_the_order_of_names(tmp_path):
    second = picture(tmp_path / "b.png", 6, 8, 1)
    first = picture(tmp_path / "a.bmp", 6, 8, 2)
    (tmp_path / ".hidden.png").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("no image either")
    data = open_data(tmp_path, [NCHW])
    assert len(data) == 2
    got = [batch["x"] for batch in data.batches(16)]
    assert [g.shape for g in got] == [(1, 3, 6, 8)] * 2
    for sample, pixels in zip(got, (first, second), strict=True):
        np.testing.assert_allclose(sample[0], pixels.transpose(2, 0, 1) / 255, rtol=1e-6)


def test_scale_mean_std_order_and_layout(tmp_path):
    pixels = picture(tmp_path / "a.png", 6, 8).astype(np.float64)
    spec = TensorSpec("x", (1, 6, 8, 3), "float32")
    got = only(tmp_path, spec, scale=1.0, mean=(10, 20, 30), std=(2, 4, 8), order="bgr")
    np.testing.assert_allclose(
        got[0], (pixels[..., ::-1] - [10, 20, 30]) / [2, 4, 8], rtol=1e-6, atol=1e-6
    )
    same = only(tmp_path, spec, scale=1.0, mean=5.0, std=2.0)
    np.testing.assert_allclose(same[0], (pixels - 5) / 2, rtol=1e-6)


def test_one_channel_is_luma(tmp_path):
    picture(tmp_path / "a.png", 6, 8)
    got = only(tmp_path, TensorSpec("x", (1, 1, 6, 8), "float32"), scale=1.0)
    want = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    np.testing.assert_array_equal(got[0, 0], want)


def test_open_sizes_keep_the_picture_and_batches_end_where_the_shape_changes(tmp_path):
    for index, size in enumerate([(5, 7), (5, 7), (9, 4)]):
        picture(tmp_path / f"{index}.png", *size, seed=index, gray=True)
    spec = TensorSpec("x", ("N", "H", "W", 1), "float32")
    data = open_data(tmp_path, [spec])
    assert [b["x"].shape for b in data.batches(8)] == [(2, 5, 7, 1), (1, 9, 4, 1)]
    assert data.head(3)["x"].shape == (2, 5, 7, 1)


def test_resizing(tmp_path):
    pixels = picture(tmp_path / "a.png", 10, 12)
    cut = only(tmp_path, NCHW, resize="none", scale=1.0)
    np.testing.assert_array_equal(cut[0], pixels[2:8, 2:10].transpose(2, 0, 1))
    bilinear = Image.Resampling.BILINEAR
    image = Image.open(tmp_path / "a.png")
    stretched = only(tmp_path, NCHW, resize="stretch", scale=1.0)
    want = np.asarray(image.resize((8, 6), bilinear)).transpose(2, 0, 1)
    np.testing.assert_array_equal(stretched[0], want)
    covered = only(tmp_path, NCHW, resize="crop", scale=1.0)
    want = np.asarray(image.resize((8, 7), bilinear)).transpose(2, 0, 1)[:, :6]
    np.testing.assert_array_equal(covered[0], want)


def test_pictures_that_do_not_fit_are_refused(tmp_path):
    picture(tmp_path / "a.png", 4, 4)
    with pytest.raises(InputError, match="smaller than 6x8"):
        only(tmp_path, NCHW, resize="none")
    with pytest.raises(RecipeError, match=r"data\.size"):
        only(tmp_path, NCHW, size=(5, 5))
    with pytest.raises(RecipeError, match="channels"):
        only(tmp_path, TensorSpec("x", (1, 4, 6, 8), "float32"), layout="NCHW")
    with pytest.raises(RecipeError, match="channel axis"):
        only(tmp_path, TensorSpec("x", (1, 4, 6, 8), "float32"))
    with pytest.raises(RecipeError, match="4 dimensions"):
        only(tmp_path, TensorSpec("x", (1, 64), "float32"))
    with pytest.raises(RecipeError, match=r"data\.mean"):
        only(tmp_path, NCHW, mean=(1, 2))
    with pytest.raises(InputError, match="one input"):
        open_data(tmp_path, [NCHW, OPEN])
    (tmp_path / "b.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"b\.png is not a readable image"):
        list(open_data(tmp_path, [NCHW]).batches(1))


def write_wav(path, frames, width, channels=1, rate=8000):
    with wave.open(str(path), "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(width)
        out.setframerate(rate)
        out.writeframes(frames)


@pytest.mark.parametrize(
    ("width", "frames"),
    [
        (1, np.array([0, 64, 128, 255], np.uint8)),
        (2, np.array([-32768, -16384, 0, 32512], "<i2")),
        (4, np.array([-(2**31), -(2**30), 0, 2**31 - 2**24], "<i4")),
    ],
)
def test_pcm_becomes_numbers_from_minus_one_to_one(tmp_path, width, frames):
    write_wav(tmp_path / "a.wav", frames.tobytes(), width)
    got = only(tmp_path, TensorSpec("x", (1, 1, 6), "float32"))
    np.testing.assert_array_equal(got[0, 0], [-1, -0.5, 0, 127 / 128, 0, 0])
    cut = only(tmp_path, TensorSpec("x", ("N", 3), "float32"))
    np.testing.assert_array_equal(cut[0], [-1, -0.5, 0])


def test_audio_that_does_not_fit_is_refused(tmp_path):
    spec = TensorSpec("x", (1, 4), "float32")
    write_wav(tmp_path / "a.wav", b"\0" * 8, 2)
    with pytest.raises(InputError, match="8000 Hz, not 16000"):
        only(tmp_path, spec, sample_rate=16000)
    with pytest.raises(RecipeError, match="fixed length"):
        only(tmp_path, TensorSpec("x", (1, "L"), "float32"))
    with pytest.raises(RecipeError, match="fixed length"):
        only(tmp_path, TensorSpec("x", (1, 40, 49), "float32"))
    write_wav(tmp_path / "a.wav", b"\0" * 8, 2, channels=2)
    with pytest.raises(InputError, match="2 channels"):
        only(tmp_path, spec)
    write_wav(tmp_path / "a.wav", b"\0" * 9, 3)
    with pytest.raises(InputError, match="24-bit"):
        only(tmp_path, spec)
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match="not a PCM wav"):
        only(tmp_path, spec)


def test_folders_hold_one_kind_of_files(tmp_path):
    with pytest.raises(InputError, match="no PNG"):
        open_data(tmp_path, [NCHW])
    picture(tmp_path / "a.png", 6, 8)
    write_wav(tmp_path / "a.wav", b"\0" * 8, 2)
    with pytest.raises(InputError, match="both"):
        open_data(tmp_path, [NCHW])


@pytest.mark.parametrize(
    "options", [{"scale": 0}, {"std": 0.0}, {"size": (0, 4)}, {"channels": 2}, {"sclae": 1}]
)
def test_senseless_options_are_errors(options):
    with pytest.raises(ValidationError):
        DataOptions(**options)
