"""RescaleReal against float64, whose bits it is to have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intaglio.transforms.fixed_point import rescale_real, split_scale
from tests.passes.dialect.one_node import INT16, run, scalars, to


def compare(acc: np.ndarray, scale: np.ndarray, zero_point: int = 3) -> None:
    mantissa, shift = split_scale(scale)
    inputs = {
        "acc": acc.astype(np.int64),
        "mantissa": mantissa,
        "shift": shift.astype(np.int8),
        **scalars(zero_point=zero_point, minimum=INT16.min, maximum=INT16.max),
    }
    result = run("RescaleReal", inputs, np.int16, to=to(np.int16))
    expected = np.clip(rescale_real(acc, scale) + zero_point, INT16.min, INT16.max)
    np.testing.assert_array_equal(result, expected)


def python_round(acc: int, scale: float) -> int:
    """C's ``round(double(acc) * scale)``, by Python's float and integers alone."""
    product = float(acc) * scale
    numerator, denominator = abs(product).as_integer_ratio()
    level = (2 * numerator + denominator) // (2 * denominator)
    return level if product >= 0 else -level


@pytest.mark.parametrize("scale", [1 / 6, 1 / 3, 0.25, 0.1, 7 / 11, 2.0**-20, 1.0, 3.7])
def test_the_numpy_form_rounds_as_c_does(scale):
    acc = np.arange(-3000, 3000)
    expected = [python_round(int(a), scale) for a in acc]
    assert rescale_real(acc, scale).tolist() == expected


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    seed=st.integers(0, 10**6),
    bits=st.integers(3, 43),
    kind=st.sampled_from(["power", "any", "inverse", "quotient", "beside a power", "neighbor"]),
)
def test_bits_are_those_of_float64(seed, bits, kind):
    draw = np.random.default_rng(seed)
    count = int(draw.integers(1, 4))
    whole = draw.integers(1, 2000, count).astype(np.float64)
    narrow = draw.uniform(0.5, 1, (2, count)).astype(np.float32)
    exact, product = np.prod(narrow.astype(np.float64), axis=0), np.prod(narrow, axis=0)
    scale = {
        "power": 2.0 ** -draw.integers(0, 20, count),
        "any": np.exp(draw.uniform(np.log(1e-6), np.log(3), count)),
        "inverse": 1 / whole,
        "quotient": draw.integers(1, 50, count) / whole,
        "beside a power": exact / (product.astype(np.float64) * 2.0 ** draw.integers(-3, 12)),
        "neighbor": np.nextafter(1 / whole, draw.choice([0, 9])),
    }[kind].astype(np.float64)
    reach = int(min(70000 / scale.min(), 2.0**bits))
    compare(draw.integers(-reach, reach + 1, (500, count)), scale)


def test_ends_of_what_is_allowed():
    ends = np.array([[(1 << 44) - 1], [-(1 << 44) + 1], [0], [1], [-1]])
    for scale in (0.0, 2.0**-44, 1e-30, 127.9, 2.0**-30):
        compare(ends, np.array([scale]))
