"""Nothing is written that differs from what was trained; samples show the lively parts."""

from __future__ import annotations

import base64
import io

import numpy as np
import onnx
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from intaglio.errors import InputError, InternalError  # noqa: E402
from intaglio.fitting.image_files import NamedImage  # noqa: E402
from intaglio.fitting.image_pairs import denoising, enlarging  # noqa: E402
from intaglio.fitting.tables.exporting import export, task_text  # noqa: E402
from intaglio.fitting.tables.learners import make_learner, network_of  # noqa: E402
from intaglio.fitting.tables.loop import restore  # noqa: E402
from intaglio.fitting.tables.samples import data_address, liveliest, samples  # noqa: E402
from intaglio.fitting.tables.settings import make_settings  # noqa: E402
from intaglio.fitting.tables.validation import LARGEST, ValidationSet  # noqa: E402
from tests.fitting.tables.fit_pictures import named  # noqa: E402


def fitted(task, name="small"):
    settings = make_settings(task, name, 1, 1, 1, ("mixings=1", "share=1"))
    module = make_learner(settings.structure, task, 1)
    return module, network_of(module)


def planes(seed, count=1, shape=(12, 16)):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


@pytest.mark.parametrize(
    ("task", "name"),
    [(enlarging(2), "small"), (denoising(25), "small"), (enlarging(2), "tiny-s")],
)
def test_what_is_exported_says_its_task(task, name):
    module, network = fitted(task, name)
    told = []
    found = export(
        network, "net", task, [planes(1), planes(2, 3)], lambda p: restore(module, p), 1,
        lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert found.pixels == 4 * 12 * 16 * task.factor**2
    assert told[-1] == (2, 2)
    properties = {p.key: p.value for p in onnx.load_from_string(found.data).metadata_props}
    assert properties["intaglio.task"] == task_text(task)
    assert int(properties["intaglio.table_bytes"]) == network.storage_bytes


@pytest.mark.parametrize("place", [(0, 0, 0), (-1, -1, -1)])
def test_one_pixel_that_differs_is_noticed(place):
    task = enlarging(2)
    module, network = fitted(task)

    def spoiled(given):
        result = restore(module, given).copy()
        result[place] ^= 1
        return result

    with pytest.raises(InternalError, match="differs from what was trained in 1 of"):
        export(network, "net", task, [planes(1)], spoiled, 1, lambda done, total: None)


def test_large_pictures_are_validated_by_their_middle():
    big = NamedImage("big.png", planes(0, 3, (700, 30)))
    found = ValidationSet([big], enlarging(2)).cases[0]
    assert found.clean.shape == (3, LARGEST, 28)
    assert np.array_equal(found.clean, big.pixels[:, 94 : 94 + LARGEST, 1:29])
    assert found.degraded.shape == (3, LARGEST // 2, 14)


def test_small_pictures_are_left_out_of_validation():
    small = NamedImage("small.png", planes(0, 3, (20, 40)))
    assert [c.name for c in ValidationSet([*named(1), small], enlarging(4)).cases] == ["p0.png"]
    with pytest.raises(InputError, match="32 pixels"):
        ValidationSet([small], enlarging(4))


def test_scores_are_of_luma_without_border():
    images = named(2)
    upscaling = ValidationSet(images, enlarging(4))
    assert upscaling.score(lambda given: np.kron(given, np.ones((1, 4, 4), np.uint8))) < (
        upscaling.baseline()
    )
    noisy = ValidationSet(images, denoising(25))
    assert noisy.cases[0].clean.shape[0] == 1
    assert noisy.baseline() == pytest.approx(20.3, abs=0.6)
    clean = {case.degraded.tobytes(): case.clean for case in noisy.cases}
    assert noisy.score(lambda given: clean[given.tobytes()]) == 100


def test_samples_show_the_liveliest_part():
    pixels = np.full((3, 160, 200), 90, np.uint8)
    pixels[:, 20:130, 70:180] = planes(3, 3, (110, 110))
    validation = ValidationSet([NamedImage("<b>.png", pixels)], enlarging(2))
    row, column, height, width = liveliest(validation.cases[0], 2)
    assert (height, width) == (120, 120)
    assert row <= 20
    assert row + height >= 130
    assert column <= 70
    assert column + width >= 180
    (found,) = samples(validation, validation.simple)
    assert found["before"] == found["after"]
    assert found["simple"] == found["restored"]
    decoded = Image.open(io.BytesIO(base64.b64decode(found["clean"].partition(",")[2])))
    assert decoded.size == (120, 120)
    shown = np.asarray(decoded).transpose(2, 0, 1)
    assert np.array_equal(shown, pixels[:, row : row + 120, column : column + 120])


def test_grey_samples():
    decoded = Image.open(io.BytesIO(base64.b64decode(data_address(planes(1)).partition(",")[2])))
    assert decoded.mode == "L"
    assert np.array_equal(np.asarray(decoded), planes(1)[0])
