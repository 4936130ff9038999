"""Crops to fit restoring networks on: they fit together, repeat, and cover what they should."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from PIL import Image

from intaglio.errors import InputError, RecipeError
from intaglio.fitting.image_files import NamedImage, load_images, split_images
from intaglio.fitting.image_pairs import CropSampler, degrade, denoising, enlarging
from intaglio.transforms.images.bicubic import resize_bicubic
from intaglio.transforms.images.color import rounded_luma
from tests.fitting.deep_pictures import png_of_16_bits


def _image(name, height, width, seed=0):
    # Smooth, so that a place can be recognised: every pixel differs from its neighbours.
    random = np.random.default_rng(seed)
    return NamedImage(name, random.integers(0, 256, (3, height, width), np.uint8))


def _planes(pixels):
    return [*pixels, rounded_luma(pixels.transpose(1, 2, 0))]


def _orientations(plane):
    return [np.rot90(p, k) for p in (plane, plane.T) for k in range(4)]


def _unpack(target, side):
    cells = target.shape[0]
    grid = target.reshape(cells, cells, side, side).transpose(0, 2, 1, 3)
    return grid.reshape(cells * side, cells * side)


def _places(plane, window):
    """Top left corners where ``window`` lies in ``plane``."""
    views = np.lib.stride_tricks.sliding_window_view(plane, window.shape)
    return [tuple(place) for place in np.argwhere((views == window).all(axis=(2, 3)))]


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_targets_are_what_the_inputs_were_reduced_from(factor):
    image = _image("a", 20 * factor + 1, 24 * factor + 1)
    sampler = CropSampler([image], enlarging(factor), cells=5, margin=2, seed=0)

    batch = sampler.batch(0, 40)

    assert batch.inputs.shape == (40, 9, 9)
    assert batch.targets.shape == (40, 5, 5, factor**2)
    assert batch.inputs.dtype == batch.targets.dtype == np.uint8
    whole = image.pixels[:, : 20 * factor, : 24 * factor]
    small = resize_bicubic(whole.transpose(1, 2, 0), 1 / factor).transpose(2, 0, 1)
    pairs = list(zip(_planes(whole), _planes(small), strict=True))
    seen = set()
    for inputs, targets in zip(batch.inputs, batch.targets, strict=True):
        target = _unpack(targets, factor)
        found = [
            (plane, turn)
            for plane, (large, little) in enumerate(pairs)
            for turn, (a, b) in enumerate(
                zip(_orientations(inputs), _orientations(target), strict=True)
            )
            for y, x in _places(little, a)
            if (factor * (y + 2), factor * (x + 2)) in _places(large, b)
        ]
        assert len(found) == 1
        seen.update(found)
    assert {plane for plane, _ in seen} == {0, 1, 2, 3}
    assert {turn for _, turn in seen} == set(range(8))


def test_noisy_inputs_lie_over_their_targets():
    images = [_image("a", 80, 90)]
    sampler = CropSampler(images, denoising(0.4), cells=6, margin=3, seed=0)

    batch = sampler.batch(3, 30)

    assert batch.inputs.shape == (30, 24, 24)
    clean = np.stack([_unpack(target, 2) for target in batch.targets])
    error = batch.inputs[:, 6:-6, 6:-6].astype(int) - clean
    # Of sigma 0.4 a fifth of the pixels move by 1.
    assert np.abs(error).max() <= 2
    assert 0.1 < (error != 0).mean() < 0.3


def test_noise_is_drawn_anew_for_each_step():
    flat = NamedImage("flat", np.full((3, 16, 16), 128, np.uint8))
    sampler = CropSampler([flat], denoising(25), cells=8, margin=0, seed=0)

    first, second = sampler.batch(0, 1).inputs, sampler.batch(1, 1).inputs

    assert (first != second).mean() > 0.9
    assert 20 < (first.astype(float) - 128).std() < 30


def test_a_batch_depends_on_seed_and_step_alone():
    images = [_image("a", 40, 50), _image("b", 50, 40, 1)]
    sampler = CropSampler(images, denoising(15), cells=6, margin=2, seed=5)
    later = [sampler.batch(step, 4) for step in range(3)][2]

    again = CropSampler(images, denoising(15), cells=6, margin=2, seed=5).batch(2, 4)
    other = CropSampler(images, denoising(15), cells=6, margin=2, seed=6).batch(2, 4)

    np.testing.assert_array_equal(later.inputs, again.inputs)
    np.testing.assert_array_equal(later.targets, again.targets)
    assert (later.inputs != other.inputs).any()


def test_every_place_is_drawn_alike():
    """Two pictures of 1 and of 3 places, each pixel of which says where it is."""
    narrow = NamedImage("a", np.full((3, 4, 4), 200, np.uint8))
    wide = NamedImage("b", np.tile(np.arange(6, dtype=np.uint8) * 20, (3, 4, 1)))
    sampler = CropSampler([narrow, wide], enlarging(2), cells=2, margin=0, seed=0)
    counts = dict.fromkeys(("200", "0", "40"), 0)
    for target in sampler.batch(0, 3000).targets:
        low = str(int(target.min()))
        # Luma has its own range.
        if low in counts:
            counts[low] += 1
    assert all(abs(count / 2250 - 1 / 3) < 0.05 for count in counts.values()), counts


def test_a_quarter_of_the_crops_is_luma():
    pixels = np.stack([np.full((8, 8), v, np.uint8) for v in (10, 60, 250)])
    sampler = CropSampler([NamedImage("a", pixels)], enlarging(2), cells=2, margin=0, seed=0)

    values, counts = np.unique(sampler.batch(0, 4000).targets[:, 0, 0, 0], return_counts=True)

    luma = int(rounded_luma(pixels.transpose(1, 2, 0))[0, 0])
    shares = dict(zip(values.tolist(), (counts / 4000).tolist(), strict=True))
    assert shares == pytest.approx({10: 0.25, 60: 0.25, luma: 0.25, 250: 0.25}, abs=0.03)


def test_too_small_pictures_are_named_and_left_out():
    images = [_image("large", 40, 40), _image("small", 40, 27), _image("edge", 28, 28)]

    sampler = CropSampler(images, enlarging(4), cells=3, margin=2, seed=0)

    assert sampler.too_small == ("small",)
    assert sampler.batch(0, 50).inputs.shape == (50, 7, 7)


def test_only_too_small_pictures_are_an_error():
    with pytest.raises(InputError, match="none of 1 pictures has 28x28 pixels") as caught:
        CropSampler([_image("a", 27, 90)], enlarging(4), cells=3, margin=2, seed=0)
    assert "smaller crop" in str(caught.value.remedy)


@pytest.mark.parametrize(
    "make", [lambda: enlarging(5), lambda: denoising(0), lambda: denoising(-1)]
)
def test_tasks_that_make_no_sense_are_refused(make):
    with pytest.raises(RecipeError):
        make()


def test_whole_pictures_are_degraded_alike():
    image = _image("a", 24, 36)

    small = degrade(image.pixels, enlarging(4))
    noisy = degrade(image.pixels, denoising(25), seed=3)

    assert small.shape == (3, 6, 9)
    np.testing.assert_array_equal(small[1], resize_bicubic(image.pixels[1], 0.25))
    assert noisy.shape == image.pixels.shape
    np.testing.assert_array_equal(noisy, degrade(image.pixels, denoising(25), seed=3))
    assert (noisy != degrade(image.pixels, denoising(25), seed=4)).mean() > 0.8


def test_sampling_is_fast():
    """Three milliseconds for 16 crops of 48, with room for a busy machine."""
    sampler = CropSampler([_image("a", 321, 481)], enlarging(4), cells=48, margin=8, seed=0)
    sampler.batch(0, 16)
    taken = []
    for step in range(20):
        start = time.perf_counter()
        sampler.batch(step, 16)
        taken.append(time.perf_counter() - start)
    assert min(taken) < 3e-3


def _save(folder, name, height=20, width=30, mode="RGB"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(name)).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return pixels


def test_folders_are_read_with_the_folders_in_them(tmp_path):
    wanted = _save(tmp_path, "b/c.png")
    _save(tmp_path, "a.bmp")
    _save(tmp_path, "grey.png", mode="L")
    _save(tmp_path, "d.JPG")
    _save(tmp_path, "palette.png", mode="P")
    (tmp_path / "notes.txt").write_text("no picture")

    found = load_images(tmp_path)

    assert found.bad == ()
    assert [i.name for i in found.images] == [
        "a.bmp",
        "b/c.png",
        "d.JPG",
        "grey.png",
        "palette.png",
    ]
    np.testing.assert_array_equal(found.images[1].pixels, wanted.transpose(2, 0, 1))
    grey = found.images[3].pixels
    assert (grey == grey[0]).all()


def test_bad_files_are_named_and_the_rest_is_read(tmp_path):
    _save(tmp_path, "good.png")
    _save(tmp_path, "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:300])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "words.bmp").write_text("not a bitmap")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")

    found = load_images(tmp_path)

    assert [image.name for image in found.images] == ["good.png"]
    assert [name for name, _ in found.bad] == ["cut.png", "deep.png", "empty.jpg", "words.bmp"]
    assert dict(found.bad)["deep.png"] == "has 16 bits a value, and networks learn from 8"


def test_16_bit_colors_are_refused_and_not_cut_to_8(tmp_path):
    _save(tmp_path, "good.png")
    png_of_16_bits(tmp_path / "deep.png", np.full((20, 20, 3), 300, np.uint16))

    found = load_images(tmp_path)

    assert [image.name for image in found.images] == ["good.png"]
    assert found.bad == (("deep.png", "has 16 bits a value, and networks learn from 8"),)


def test_hidden_files_are_passed_over(tmp_path):
    for name in ("good.png", ".thumbnail.png", ".cache/a.png", "b/.c.png"):
        _save(tmp_path, name)

    assert [image.name for image in load_images(tmp_path).images] == ["good.png"]


def test_several_folders_keep_their_names(tmp_path):
    _save(tmp_path, "one/a.png")
    _save(tmp_path, "two/a.png")

    found = load_images(tmp_path / "two", tmp_path / "one")

    assert [image.name for image in found.images] == ["one/a.png", "two/a.png"]


def test_nothing_to_read_is_an_error_with_a_remedy(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"x")

    with pytest.raises(InputError, match=r"no readable picture in .*\n.*bad\.png") as caught:
        load_images(tmp_path)
    assert "PNG" in str(caught.value.remedy)
    with pytest.raises(InputError, match="is not a folder"):
        load_images(tmp_path / "nowhere")


def test_too_much_is_an_error_that_names_the_picture(tmp_path):
    _save(tmp_path, "a.png")
    _save(tmp_path, "b.png")

    with pytest.raises(InputError, match=r"from b\.png on"):
        load_images(tmp_path, limit=20 * 30 * 3 + 1)


@pytest.mark.parametrize(("count", "held"), [(491, 20), (100, 20), (99, 19), (5, 1), (4, 0)])
def test_the_split_is_even_and_complete(count, held):
    images = tuple(_image(f"{i:03}", 1, 1) for i in range(count))

    kept, held_out = split_images(images)

    assert len(held_out) == held
    assert sorted(i.name for i in (*kept, *held_out)) == [i.name for i in images]
    places = [int(image.name) for image in held_out]
    assert all(abs(b - a - count / held) <= 1 for a, b in itertools.pairwise(places))
    assert [i.name for i in split_images(images)[1]] == [i.name for i in held_out]
