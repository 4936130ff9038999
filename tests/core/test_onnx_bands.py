"""Bands of a plane give the bits of the whole plane."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.onnx_bands import run_in_bands
from tests.transforms.table_networks.random_networks import centred, reference

NETWORKS = {
    "centred": lambda: centred(1, mixings=2, upscale=3, channels=8),
    "wide stem": lambda: centred(2, mixings=1, upscale=2, channels=8, kernel=7),
    "cells": lambda: centred(3, mixings=1, stride=2, upscale=2, kernel=4, channels=8),
    "wide cells": lambda: centred(4, mixings=2, stride=2, upscale=2, kernel=6, channels=8),
    "half": lambda: centred(5, mixings=0, stride=2, upscale=1, kernel=2, channels=8),
    "three halves": lambda: centred(6, mixings=1, stride=2, upscale=3, kernel=4, channels=8),
    "reference": lambda: reference(7, upscale=2),
    "deep reference": lambda: reference(8, stages=3, upscale=1),
}


@pytest.mark.parametrize("height", [23, 32, 33])
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_bands_are_the_whole(name, height):
    network = NETWORKS[name]()
    plane = np.random.default_rng(height).integers(0, 256, (height, 9)).astype(np.uint8)
    whole = network.apply(plane)
    for rows in (1, 4, 7, 22):
        heights = []

        def run(part, heights=heights):
            heights.append(len(part))
            return network.apply(part)

        found = run_in_bands(run, plane, network, pixels=rows * 9)
        np.testing.assert_array_equal(found, whole)
        assert len(heights) > 1
        assert max(heights) <= height


def test_small_planes_run_in_one_piece():
    plane = np.zeros((5, 6), np.uint8)
    seen = []

    def run(part):
        seen.append(part)
        return part

    assert run_in_bands(run, plane, centred(1, upscale=1), pixels=30) is plane
    assert seen == [plane]
