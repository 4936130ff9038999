"""The emitted C of networks with rotations equals their definition, on every processor here."""

import shutil
import subprocess

import numpy as np
import pytest

from intaglio.errors import InternalError, UnsupportedError
from intaglio.targets.c.images.reference import ReferenceStructure
from intaglio.targets.c.images.rotations.rounding import (
    high_factor,
    mean_function,
    reciprocal,
    sums,
)
from intaglio.targets.c.images.rotations.scaling import factors
from intaglio.targets.c.images.rotations.turning import sub_pixels, taps
from intaglio.targets.c.images.writing import write_images
from intaglio.transforms.table_networks.arithmetic import mean_half_even
from tests.targets.c.harness import FLAGS, runs_here
from tests.targets.c.images.harness import build, check, picture
from tests.targets.c.images.rotating_networks import branch, rotating_network

VARIANTS = ("portable", "avx2", "vnni")

#: Pictures smaller than a window, one of its size, and what surrounds blocks and strips.
SIZES = (
    (1, 1), (1, 2), (2, 1), (2, 2), (2, 5), (3, 3), (7, 3), (1, 40), (40, 1), (6, 31), (5, 64),
    (4, 65), (3, 130), (2, 300),
)  # fmt: skip

CASES = {
    "S": {},
    "S without scales": {"scales": "none"},
    "S, any scales": {"scales": "any"},
    "one branch": {"lower": False, "upscale": 2},
    "denoise": {"upscale": 1, "stages": 2, "depthwise": (1,)},
    "x3": {"upscale": 3, "stages": 2, "depthwise": (0,), "scales": "any"},
    "F": {"stages": 7, "depthwise": range(1, 7)},
    "branches of two depths": {"stages": 3, "depthwise": (0, 2), "lower_depthwise": (1,)},
    "only below": {"stages": 2, "depthwise": (), "lower_depthwise": (0, 1), "scales": "none"},
    "24 channels": {"channels": 24, "stages": 2, "depthwise": (1,)},
    "40 channels": {"channels": 40, "upscale": 1, "stages": 2, "depthwise": (0,)},
    "9 channels": {"channels": 9, "upscale": 3, "stages": 2, "depthwise": (0, 1)},
    "1 channel": {"channels": 1, "upscale": 1, "stages": 2, "depthwise": (0,)},
    "32 channels": {"channels": 32, "upscale": 2, "stages": 2, "depthwise": (1,)},
    "rails": {"least": 120, "stages": 2, "depthwise": (1,), "scales": "none"},
    "16 rows": {"rows": 16, "shift": 4, "low": -8, "stages": 2, "depthwise": (1,)},
    "64 rows of other bits": {"rows": 64, "shift": 1, "low": 5, "lower": False},
}  # fmt: skip


def require(variant):
    if not runs_here(variant):
        pytest.skip(f"this processor has no {variant}")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_definition(case, variant):
    require(variant)
    network = rotating_network(**CASES[case])
    check(network, build(network, variant), SIZES)


@pytest.mark.parametrize("variant", VARIANTS)
def test_clang_agrees(variant):
    require(variant)
    if shutil.which("clang") is None:
        pytest.skip("clang is not installed")
    network = rotating_network(stages=3, depthwise=(1, 2), seed=9)
    check(network, build(network, variant, flags=("-O3",), compiler="clang"), SIZES)


@pytest.mark.parametrize("variant", VARIANTS)
def test_strips_meet_without_a_seam(variant):
    require(variant)
    deep = rotating_network(stages=7, depthwise=range(1, 7), seed=2, upscale=2)
    check(deep, build(deep, variant), [(2, width) for width in (103, 104, 105, 117, 260, 401)])
    flat = rotating_network(seed=3)
    check(flat, build(flat, variant), [(2, width) for width in (255, 256, 257, 513)])


@pytest.mark.parametrize("variant", VARIANTS)
def test_threads_share_a_picture(variant):
    require(variant)
    network = rotating_network(stages=3, depthwise=(0, 1, 2), upscale=2)
    library = build(network, variant)
    plane = picture(np.random.default_rng(0), 29, 37)
    expected = network.apply(plane)
    for bands in (2, 5, 29, 100):
        np.testing.assert_array_equal(library.run(plane, bands), expected)


def test_the_comparison_notices_one_entry():
    network = rotating_network(seed=1)
    library = build(network, "portable")
    network.branches[1].stages[0].pointwise[3, 2, 8] ^= 64
    with pytest.raises(AssertionError):
        check(network, library, SIZES)


@pytest.mark.parametrize("count", [*range(1, 40), 64, 96, 128, 200, 255])
def test_means_are_exact_on_every_sum(count, tmp_path):
    """The text itself, in Python: its operators mean the same there."""
    lines = mean_function("mean", count).split("{", 1)[1].rsplit("}", 1)[0].split(";")
    names = {"sum": sums(count)}
    for line in filter(None, (line.strip().replace("/", "//") for line in lines)):
        if line.startswith("return"):
            found = eval(line.removeprefix("return"), {}, names)
        else:
            name, value = line.removeprefix("const int").split("=", 1)
            names[name.strip()] = eval(value, {}, names)
    np.testing.assert_array_equal(found, mean_half_even(sums(count), count))


def test_a_ninth_is_a_high_multiplication():
    every = sums(9)
    wanted = mean_half_even(every, 9)
    np.testing.assert_array_equal((every * high_factor(9) + (1 << 14)) >> 15, wanted)
    assert every.max() * reciprocal(9)[0] < 1 << 31
    with pytest.raises(InternalError):
        high_factor(16)


def test_factors_are_exact_or_refused():
    rng = np.random.default_rng(0)
    for low, rows in ((-32, 64), (0, 4), (-8, 16)):
        one = branch(rng, rows=rows, low=low)
        made = factors(one, one.stem_scale)
        features = np.arange(low, low + rows) << made.shift
        found = (features * made.factors.astype(np.int64)[:, None] + (1 << 14)) >> 15
        np.testing.assert_array_equal(np.clip(found, low, low + rows - 1), one.stem_scale)
        assert made.factors.dtype == np.int16
    one = branch(rng, scales="any")
    assert factors(one, one.stem_scale) is None


@pytest.mark.parametrize("rotation", range(4))
def test_turning(rotation):
    plane = np.arange(49).reshape(7, 7)
    turned = np.rot90(plane, rotation)
    [[row], [column]] = np.nonzero(turned == plane[3, 3])
    window = turned[row - 2 : row + 1, column - 2 : column + 1].reshape(-1)
    above = 1 if rotation < 2 else 3
    found = [plane[above + line, 3 + right] for line, right in taps(rotation)]
    np.testing.assert_array_equal(found, window)
    cell = np.arange(9).reshape(3, 3)
    np.testing.assert_array_equal(sub_pixels(rotation, 3), np.rot90(cell, -rotation).reshape(-1))


@pytest.mark.parametrize("variant", VARIANTS)
def test_is_cpp_too(variant, tmp_path):
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    network = rotating_network(stages=2, depthwise=(1,), scales="any")
    for name, text in write_images(network, "net").files.items():
        (tmp_path / name).write_text(text)
    for name in ("net.c", "net_weights.c"):
        subprocess.run(
            [compiler, "-std=c++11", "-x", "c++", "-Wall", "-Wextra", "-Werror", *FLAGS[variant],
             "-c", name, "-o", "out.o"],
            cwd=tmp_path, check=True,
        )  # fmt: skip


def test_memory_stops_growing():
    network = rotating_network(stages=7, depthwise=range(1, 7))
    structure = ReferenceStructure(network)
    for variant in ("portable", "avx2", "vnni", "neon", "dsp"):
        wide = structure.scratch_bytes(1 << 20, variant)
        assert wide == structure.scratch_bytes(1 << 10, variant) < 300_000
    sources = write_images(network, "net")
    assert sources.structure.table_bytes == network.storage_bytes


@pytest.mark.parametrize("variant", VARIANTS)
def test_memory_is_what_the_library_says(variant):
    require(variant)
    for case in ("S", "F", "denoise"):
        network = rotating_network(**CASES[case])
        library, structure = build(network, variant), ReferenceStructure(network)
        for width in (1, 63, 65, 300, 1 << 20):
            assert library.scratch_bytes(width) == structure.scratch_bytes(width, variant)


def test_refuses_what_sums_do_not_hold():
    with pytest.raises(UnsupportedError, match="256 channels"):
        ReferenceStructure(rotating_network(channels=256, upscale=1))
    with pytest.raises(UnsupportedError, match="beyond int8"):
        ReferenceStructure(rotating_network(low=100, scales="none", lower=False))
