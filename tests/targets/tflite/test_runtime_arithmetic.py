"""Which integers each runtime computes where the ways to round differ: measured anew each time.

Two layers whose weights are zero rescale chosen accumulators (their biases). The accumulators are
those where at least two of four definitions give different results: rounding ``single`` or
``double``, with the multiplier from scales multiplied in float32 or in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from intaglio.targets.tflite.runtimes import installed_runtimes
from intaglio.targets.tflite.sessions import TfliteSession
from tests.targets.tflite import small_files

#: What was measured: LiteRT 2.3, TFLite Micro of 2026, tflite-runtime 2.14.
FULLY_CONNECTED = {
    "tflm": ("double", "float64"),
    "litert-reference": ("single", "float64"),
    "tflite-runtime": ("double", "float32"),
}
CONVOLUTION = ("double", "float64")

Case = tuple[tuple[float, float, float], np.ndarray]


def fixed_point(real: float) -> tuple[int, int]:
    fraction, exponent = math.frexp(real)
    return round(fraction * 2**31), 31 - exponent


def multiplier(scales: tuple[float, float, float], kind: str) -> tuple[int, int]:
    x, w, y = (np.float32(scale) for scale in scales)
    product = float(x * w) if kind == "float32" else float(x) * float(w)
    return fixed_point(product / float(y))


def rescale(accumulators: np.ndarray, rounding: str, number: int, shift: int) -> np.ndarray:
    half = 1 << (shift - 1)
    if rounding == "double" and shift > 31:
        half = half + np.where(accumulators >= 0, 1 << 30, -(1 << 30))
    return np.clip((accumulators * number + half) >> shift, -128, 127)


DEFINITIONS = [(r, m) for r in ("single", "double") for m in ("float32", "float64")]


def telling_cases() -> list[Case]:
    """Scales, and accumulators on which the four definitions do not agree."""
    rng = np.random.default_rng(5)
    cases: list[Case] = []
    while len(cases) < 10:
        scales = (rng.uniform(0.001, 0.1), rng.uniform(0.0005, 0.01), rng.uniform(0.02, 0.2))
        scales = tuple(float(np.float32(scale)) for scale in scales)
        reach = int(127 * scales[2] / (scales[0] * scales[1]))
        every = np.arange(-reach, reach + 1, dtype=np.int64)
        found = {
            m: [rescale(every, r, *multiplier(scales, m)) for r in ("single", "double")]
            for m in ("float32", "float64")
        }
        told = [every[a != b] for a, b in zip(found["float32"], found["float64"], strict=True)]
        rounded = every[found["float64"][0] != found["float64"][1]][:20]
        chosen = np.unique(np.concatenate([*told, rounded]))
        if len(told[0]) or len(told[1]):
            cases.append((scales, chosen))
    return cases


def results(
    cases: list[Case], runtime: str, make: Callable[..., bytes], tmp_path
) -> list[np.ndarray]:
    found = []
    for scales, accumulators in cases:
        path = tmp_path / "layer.tflite"
        path.write_bytes(make(scales, accumulators.astype(np.int32)))
        with TfliteSession(path, runtime) as session:
            found.append(session.run(session.sample()).outputs["y"].reshape(-1).astype(int))
    return found


def mismatches(cases: list[Case], found: list[np.ndarray]) -> dict[tuple[str, str], int]:
    return {
        (r, m): sum(
            int((rescale(acc, r, *multiplier(scales, m)) != got).sum())
            for (scales, acc), got in zip(cases, found, strict=True)
        )
        for r, m in DEFINITIONS
    }


def dense(scales: tuple[float, float, float], bias: np.ndarray) -> bytes:
    return small_files.dense_file(scales, np.zeros((len(bias), 1), np.int8), bias)


@pytest.fixture(scope="module")
def cases():
    return telling_cases()


@pytest.mark.parametrize("runtime", [r for r in installed_runtimes() if r != "litert"])
class TestRounding:
    def test_of_fully_connected(self, cases, runtime, tmp_path):
        wrong = mismatches(cases, results(cases, runtime, dense, tmp_path))
        assert wrong.pop(FULLY_CONNECTED[runtime]) == 0
        assert min(wrong.values()) > 0, "the accumulators do not tell the definitions apart"

    def test_of_convolutions(self, cases, runtime, tmp_path):
        make = small_files.point_convolution_file
        wrong = mismatches(cases, results(cases, runtime, make, tmp_path))
        assert wrong.pop(CONVOLUTION) == 0
        assert min(wrong.values()) > 0, "the accumulators do not tell the definitions apart"
