"""TinyLUT's structure: symmetries, roundings, and one pixel by hand."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intaglio.transforms.table_networks.arithmetic import mean_half_even
from intaglio.transforms.table_networks.reference import Branch, ReferenceNetwork
from tests.transforms.table_networks.random_networks import int8, reference


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    stages=st.integers(1, 3),
    upscale=st.integers(1, 4),
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
)
def test_turning_the_image_turns_the_result(
    seed: int, stages: int, upscale: int, size: tuple[int, int]
) -> None:
    network = reference(seed, stages=stages, upscale=upscale)
    plane = np.random.default_rng(seed).integers(0, 256, size).astype(np.uint8)
    result = network.apply(plane)
    assert result.shape == (size[0] * upscale, size[1] * upscale)
    assert (network.apply(np.rot90(plane)) == np.rot90(result)).all()


@pytest.mark.parametrize("count", [9, 16])
def test_means_are_rounded_half_to_even(count: int) -> None:
    total = np.arange(-128 * count, 127 * count + 1, dtype=np.int64)
    expected = [round(Fraction(int(value), count)) for value in total]
    assert mean_half_even(total, count).tolist() == expected
    # The forms for kernels without a division.
    if count == 9:
        assert ((total * 7282 + 32768) >> 16).tolist() == expected
    else:
        assert ((total + 7 + ((total >> 4) & 1)) >> 4).tolist() == expected


def test_one_pixel_by_hand() -> None:
    random = np.random.default_rng(5)
    stem = int8(random, 9, 64, 16)
    # Pointwise and last tables of zeros: what remains is the stem and the residuals.
    network = dataclasses.replace(reference(1, scales=False, lower=False))
    zero = np.zeros((16, 64, 16), np.int8)
    stage = dataclasses.replace(network.branches[0].stages[0], pointwise=zero)
    branch = Branch(2, -32, stem, (stage,), zero)
    plane = np.array([[131]], np.uint8)
    # (131 - 128) >> 2 = 0, reflected everywhere: nine times row 32.
    mean = [
        round(Fraction(int(stem[:, 32, channel].astype(int).sum()), 9)) for channel in range(16)
    ]
    cells = np.clip(mean, -32, 31).reshape(4, 4)
    expected = 128 + sum(np.rot90(cells, -turns) for turns in range(4))
    result = ReferenceNetwork((branch,), 4).apply(plane)
    assert (result == np.clip(expected, 0, 255)).all()


def test_the_lower_branch_sees_the_lower_bits() -> None:
    lower = reference(0).branches[1]
    upper = reference(0).branches[0]
    pixels = np.arange(256, dtype=np.uint8)[None]
    together = 4 * upper.index(pixels) + lower.index(pixels)
    assert (together[0] == np.arange(256) - 128).all()


def test_storage_of_full_rows() -> None:
    network = reference(0, scales=False)
    assert network.storage_bytes == 9 * 68 * 16 + 2 * 16 * 68 * 16
    assert network.lookups == 5248


def test_parts_that_do_not_fit_are_refused() -> None:
    network = reference(0)
    with pytest.raises(ValueError, match="outputs"):
        ReferenceNetwork(network.branches, 3)
    with pytest.raises(ValueError, match="scales"):
        dataclasses.replace(network.branches[0], stem_scale=np.full((16, 64), 32, np.int8))
