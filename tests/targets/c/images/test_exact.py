"""The emitted C of table networks equals their definition, bit for bit, on every processor here."""

import shutil

import numpy as np
import pytest

from tests.targets.c.harness import runs_here
from tests.targets.c.images.harness import build, check, picture
from tests.targets.c.images.networks import centred_network

VARIANTS = ("portable", "avx2", "vnni")

CASES = {
    "general": {},
    "single": {"windows": "single"},
    "mixed": {"windows": "mixed", "mixings": 4, "channels": 8, "upscale": 1},
    "no mixings": {"mixings": 0, "upscale": 2, "channels": 24},
    "no mixings, single": {"mixings": 0, "upscale": 2, "windows": "single"},
    "denoise 4": {"stride": 2, "upscale": 2, "kernel": 4, "channels": 24},
    "denoise 6": {"stride": 2, "upscale": 2, "kernel": 6, "channels": 32, "windows": "single"},
    "half": {"stride": 2, "upscale": 1, "kernel": 2},
    "three halves": {"stride": 2, "upscale": 3, "kernel": 4},
    "stride 2, x4": {"stride": 2, "upscale": 4, "kernel": 8},
    "shared tables": {"upscale": 3, "kernel": 5, "channels": 40, "shared": True},
    "kernel 1": {"channels": 48, "kernel": 1},
    "kernel 9": {"kernel": 9, "channels": 8},
    "56 channels": {"channels": 56, "mixings": 1, "windows": "single", "upscale": 2},
    "64 channels": {"channels": 64, "mixings": 1, "upscale": 3},
    "rails": {"extreme": True},
    "rails, single": {"extreme": True, "windows": "single", "seed": 3},
    "rails, deep": {"extreme": True, "windows": "single", "seed": 5, "mixings": 5},
    "narrow strips": {
        "extreme": True, "windows": "mixed", "seed": 4, "channels": 64, "mixings": 3,
    },
}  # fmt: skip


def require(variant):
    if not runs_here(variant):
        pytest.skip(f"this processor has no {variant}")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_definition(case, variant):
    require(variant)
    network = centred_network(**CASES[case])
    check(network, build(network, variant))


@pytest.mark.parametrize("variant", VARIANTS)
def test_clang_agrees(variant):
    require(variant)
    if shutil.which("clang") is None:
        pytest.skip("clang is not installed")
    network = centred_network(windows="mixed", mixings=3, seed=9)
    check(network, build(network, variant, flags=("-O3",), compiler="clang"))


@pytest.mark.parametrize("upscale", [1, 2, 3, 4])
@pytest.mark.parametrize("variant", VARIANTS)
def test_strips_meet_without_a_seam(variant, upscale):
    """Wider than three strips, whose bounds fall anywhere in a block."""
    require(variant)
    network = centred_network(
        channels=64, mixings=2, upscale=upscale, seed=upscale, windows="mixed"
    )
    library = build(network, variant)
    widths = (95, 96, 97, 101, 250, 333)
    check(network, library, [(3, width) for width in widths], seed=upscale)


@pytest.mark.parametrize("variant", VARIANTS)
def test_threads_share_a_picture(variant):
    require(variant)
    network = centred_network(stride=2, upscale=2, kernel=6)
    library = build(network, variant)
    plane = picture(np.random.default_rng(0), 41, 57)
    expected = network.apply(plane)
    for bands in (2, 5, 21, 100):
        np.testing.assert_array_equal(library.run(plane, bands), expected)


def test_the_comparison_notices_one_entry():
    network = centred_network(seed=1)
    library = build(network, "portable")
    network.mixings[1].tables[3, 8, 2] ^= 64
    with pytest.raises(AssertionError):
        check(network, library)
