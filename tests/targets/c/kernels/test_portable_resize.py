"""Bilinear resizing in portable C, bit for bit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from intaglio.errors import InternalError
from intaglio.targets.c.kernels.choose import implement
from intaglio.targets.c.network import ResizeLinear
from intaglio.transforms.resize import COORDINATE_MODES, linear_neighbors
from tests.targets.c.kernels.batches import Batch


def resize_layer(batch, x, new, mode):
    rows = linear_neighbors(x.shape[1], new[0], mode)
    columns = linear_neighbors(x.shape[2], new[1], mode)
    names = ("y0", "y1", "wy", "x0", "x1", "wx")
    constants = dict(zip(names, (*rows, *columns), strict=True))
    name = f"resize {len(batch.layers)}"
    output = batch.output((1, *new, x.shape[3]), x.dtype)
    return batch.add(ResizeLinear(name, (batch.tensor(x),), output, (), constants))


@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_resizing(capfd, dtype):
    batch = Batch(1)
    factors = (
        # Weights of 1/4, of 1/2, of nothing at all, and of 1/1024.
        ((3, 4), (6, 8)),
        ((5, 3), (9, 5)),
        ((4, 4), (4, 4)),
        ((7, 5), (11, 23)),
        ((9, 8), (4, 3)),
        ((1, 1), (3, 2)),
        ((2, 3), (1, 1)),
        ((6, 1), (13, 1)),
    )
    for mode, (size, new) in itertools.product(COORDINATE_MODES, factors):
        channels = int(batch.random.choice([1, 2, 3, 5]))
        spread = str(batch.random.choice(["full", "rails", "small"]))
        x = batch.integers(dtype, (1, *size, channels), spread)
        resize_layer(batch, x, new, mode)
    x = np.full((1, 5, 5, 2), np.iinfo(dtype).min, dtype)
    resize_layer(batch, x, (14, 9), "half_pixel")
    resize_layer(batch, batch.integers(dtype, (1, 3, 3, 0)), (4, 4), "half_pixel")
    batch.check(capfd)


def test_offsets_of_large_images(capfd):
    batch = Batch(2)
    x = batch.integers("int8", (1, 300, 20, 32))
    resize_layer(batch, x, (20, 30), "half_pixel")
    wide = batch.integers("int8", (1, 3, 2100, 32))
    resize_layer(batch, wide, (2, 70), "align_corners")
    batch.check(capfd)


def test_ties_round_away_from_zero(capfd):
    batch = Batch(3)
    x = np.array([[[[1, -1], [2, -2]]]], np.int8)
    layer = resize_layer(batch, x, (1, 3), "align_corners")
    result = batch.check(capfd)[layer.output.name]
    assert result[0, 0].tolist() == [[1, -1], [2, -2], [2, -2]]


def test_neighbors_outside_the_image_are_refused():
    batch = Batch(4)
    layer = resize_layer(batch, np.zeros((1, 4, 4, 1), np.int8), (8, 8), "half_pixel")
    layer.constants["y1"] = layer.constants["y1"] + 1
    with pytest.raises(InternalError, match="outside"):
        implement(layer, "portable", 0)
