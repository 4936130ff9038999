"""Quantizers: entropy-constrained ones against uniform ones in their own cost, and corners."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from intaglio.transforms.split.quantizers import (
    VALUES,
    Quantizer,
    clipped_range,
    entropy_constrained,
    uniform,
)


def cost(quantizer, histogram, weight, trade_off):
    """``weight * mean squared error + trade_off * entropy`` of a quantizer."""
    share = histogram / histogram.sum()
    error = np.square(VALUES - quantizer.decode[quantizer.encode])
    mass = np.bincount(quantizer.encode, share, minlength=quantizer.levels)
    mass = mass[mass > 0]
    return weight * float((share * error).sum()) - trade_off * float((mass * np.log2(mass)).sum())


def check(quantizer, levels):
    """What every fitted quantizer is."""
    assert quantizer.encode.shape == (256,)
    assert 1 <= quantizer.levels <= levels
    assert (np.diff(quantizer.decode) >= 0).all()
    assert (np.diff(quantizer.encode) >= 0).all()
    assert np.array_equal(np.unique(quantizer.encode), np.arange(quantizer.levels))
    assert quantizer.decode.min() >= -128
    assert quantizer.decode.max() <= 127


@st.composite
def histograms(draw):
    """Laplace, Gauss, piled up at an end, few values, anything."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["laplace", "gauss", "relu", "few", "any", "two hills"]))
    count, width = draw(st.integers(1, 5000)), draw(st.floats(0.5, 60))
    centre = draw(st.integers(-128, 127))
    if kind == "laplace":
        values = generator.laplace(centre, width, count)
    elif kind == "gauss":
        values = generator.normal(centre, width, count)
    elif kind == "relu":
        values = np.maximum(generator.normal(-128 - width / 2, width, count), -128)
    elif kind == "few":
        values = generator.choice(generator.integers(-128, 128, 5), count)
    elif kind == "two hills":
        values = generator.normal(generator.choice([-70, 50], count), width / 4)
    else:
        values = generator.integers(-128, 128, count)
    index = np.clip(np.rint(values), -128, 127).astype(int) + 128
    return np.bincount(index, minlength=256).astype(float)


@given(
    histograms(),
    st.integers(1, 256),
    st.sampled_from([0.01, 1.0, 50.0]),
    st.sampled_from([0.0, 0.1, 1.0, 20.0, 1e4]),
)
def test_codes_have_no_gaps_and_ascend(histogram, levels, weight, trade_off):
    check(entropy_constrained(histogram, levels, weight, trade_off), levels)


def against_uniform(kind):
    """Cost relative to the best uniform quantizer of the same levels, for many histograms."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(60):
        if kind == "laplace":
            centre, width = generator.integers(-60, 60), generator.uniform(1, 40)
            values = generator.laplace(centre, width, 3000)
        else:
            values = np.maximum(generator.normal(-140, 40, 3000), -128)
        index = np.clip(np.rint(values), -128, 127).astype(int) + 128
        histogram = np.bincount(index, minlength=256).astype(float)
        for levels in (2, 4, 16):
            for trade_off in (0.0, 1.0, 30.0, 3000.0):
                quantizer = entropy_constrained(histogram, levels, 1.0, trade_off)
                others = [uniform(*clipped_range(histogram, c), levels) for c in (1.0, 0.7, 0.5)]
                best = min(cost(other, histogram, 1.0, trade_off) for other in others)
                found.append(cost(quantizer, histogram, 1.0, trade_off) / max(best, 1e-9))
    return np.array(found)


@pytest.mark.parametrize("kind", ["laplace", "relu"])
def test_it_is_cheaper_than_uniform_ones_of_its_levels(kind):
    """The iteration ends in a local minimum: it is not always the best, but nearly always."""
    ratio = against_uniform(kind)
    assert (ratio <= 1 + 1e-9).mean() >= (0.95 if kind == "laplace" else 1.0)
    assert np.median(ratio) < 0.95


@pytest.mark.parametrize("levels", [2, 5, 16])
def test_more_costly_bits_are_fewer(levels):
    generator = np.random.default_rng(levels)
    values = np.clip(np.rint(generator.laplace(-20, 12, 20000)), -128, 127).astype(int)
    histogram = np.bincount(values + 128, minlength=256).astype(float)
    rates = []
    for trade_off in (0.0, 10.0, 100.0, 1e6):
        found = entropy_constrained(histogram, levels, 1.0, trade_off)
        rates.append(cost(found, histogram, 0.0, 1.0))
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > rates[2] or levels == 2
    assert rates[3] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("value", [-128, -127, -1, 0, 1, 126, 127])
@pytest.mark.parametrize("levels", [1, 2, 16, 256])
def test_one_value_is_one_code(value, levels):
    histogram = (value == VALUES) * 7.0
    found = entropy_constrained(histogram, levels, 1.0, 0.5)
    check(found, levels)
    assert found.decode.tolist() == [value]


@pytest.mark.parametrize("pair", [(-128, 127), (-128, -127), (126, 127), (0, 1), (-1, 100)])
def test_two_values_are_two_codes_where_bits_are_cheap(pair):
    histogram = np.isin(VALUES, pair) * 5.0
    found = entropy_constrained(histogram, 16, 1.0, 0.01)
    check(found, 16)
    assert [int(found.decode[found.encode[v + 128]]) for v in pair] == list(pair)
    assert found.levels == 2


@pytest.mark.parametrize("end", [0, 255])
@pytest.mark.parametrize("levels", [2, 3, 8])
def test_mass_at_an_end_is_kept(end, levels):
    """Nearly everything is one value, as behind a ReLU; the rest still has codes."""
    histogram = np.ones(256)
    histogram[end] = 1e6
    found = entropy_constrained(histogram, levels, 1.0, 0.001)
    check(found, levels)
    assert found.decode[found.encode[end]] == end - 128


def test_values_that_never_occur_go_to_their_neighbors():
    histogram = np.zeros(256)
    histogram[[10, 11, 200, 201]] = 100, 90, 80, 95
    found = entropy_constrained(histogram, 4, 1.0, 1e-3)
    check(found, 4)
    assert found.encode[0] == 0
    assert found.encode[255] == found.levels - 1


@example(np.ones(256))
@given(histograms())
def test_256_levels_lose_nothing(histogram):
    """Unless less than 0.2 % lie at an end: the first cells leave that out."""
    share = histogram / histogram.sum()
    present = np.flatnonzero(share)
    assume(min(share[present[0]], share[present[-1]]) > 0.0021)
    found = entropy_constrained(histogram, 256, 1.0, 0.0)
    check(found, 256)
    assert not (found.decode[found.encode] - VALUES)[present].any()


def test_no_cost_of_bits_gives_lloyds_means():
    """Every decoded value is the mean of its cell, every value nearest to its own."""
    generator = np.random.default_rng(0)
    values = np.clip(np.rint(generator.laplace(0, 20, 20000)), -128, 127).astype(int)
    histogram = np.bincount(values + 128, minlength=256).astype(float)
    found = entropy_constrained(histogram, 8, 1.0, 0.0)
    for code in range(found.levels):
        cell = found.encode == code
        mean = float((histogram * VALUES)[cell].sum() / histogram[cell].sum())
        assert abs(found.decode[code] - mean) <= 0.5 + 1e-9
    distance = np.abs(VALUES - found.decode[found.encode])
    best = np.abs(VALUES[:, None] - found.decode).min(axis=1)
    assert (distance <= best + 1).all()


def test_a_dead_zone_appears_where_bits_cost():
    generator = np.random.default_rng(0)
    values = np.clip(np.rint(generator.laplace(0, 8, 50000)), -128, 127).astype(int)
    histogram = np.bincount(values + 128, minlength=256).astype(float)
    widths = []
    for trade_off in (0.0, 100.0):
        found = entropy_constrained(histogram, 15, 1.0, trade_off)
        widths.append(int((found.encode == found.encode[128]).sum()))
    assert widths[1] > 2 * widths[0]


@given(histograms(), st.integers(1, 256))
def test_it_is_deterministic_and_scale_free(histogram, levels):
    one = entropy_constrained(histogram, levels, 1.0, 0.5)
    two = entropy_constrained(histogram.copy(), levels, 1.0, 0.5)
    assert np.array_equal(one.encode, two.encode)
    assert np.array_equal(one.decode, two.decode)
    four = entropy_constrained(histogram * 4, levels, 1.0, 0.5)
    assert np.array_equal(one.encode, four.encode)


@pytest.mark.parametrize(
    ("histogram", "levels", "weight", "trade_off"),
    [
        (np.zeros(256), 4, 1.0, 1.0),
        (np.ones(255), 4, 1.0, 1.0),
        (-np.ones(256), 4, 1.0, 1.0),
        (np.ones(256), 0, 1.0, 1.0),
        (np.ones(256), 257, 1.0, 1.0),
        (np.ones(256), 4, -1.0, 1.0),
        (np.ones(256), 4, 1.0, -1.0),
    ],
)
def test_nonsense_is_refused(histogram, levels, weight, trade_off):
    with pytest.raises(ValueError, match=r"histogram|levels"):
        entropy_constrained(histogram, levels, weight, trade_off)


@pytest.mark.parametrize("levels", [1, 2, 3, 16, 255, 256])
@pytest.mark.parametrize("ends", [(-128, 127), (0, 0), (-3, 90), (127, 127), (-128, -128)])
def test_uniform_steps(ends, levels):
    found = uniform(*ends, levels)
    assert isinstance(found, Quantizer)
    assert found.levels == levels
    assert (np.diff(found.encode) >= 0).all()
    assert (np.diff(found.decode) >= 0).all()
    assert found.decode[0] == ends[0]
    assert found.decode[-1] == (ends[1] if levels > 1 else ends[0])
    inside = (ends[0] <= VALUES) & (ends[1] >= VALUES)
    error = np.abs(found.decode[found.encode] - VALUES)[inside]
    if levels > 1:
        assert 2 * (levels - 1) * int(error.max()) <= ends[1] - ends[0] + levels - 1


@pytest.mark.parametrize(
    "arguments", [(1, 0, 4), (-129, 0, 4), (0, 128, 4), (0, 1, 0), (0, 1, 257)]
)
def test_impossible_uniform_quantizers_are_refused(arguments):
    with pytest.raises(ValueError, match="range"):
        uniform(*arguments)


def test_a_clipped_range_keeps_the_end_where_values_pile_up():
    low_heavy = np.zeros(256)
    low_heavy[[28, 30, 228]] = 50, 40, 1
    assert clipped_range(low_heavy, 1.0) == (-100, 100)
    assert clipped_range(low_heavy, 0.5) == (-100, 0)
    assert clipped_range(low_heavy[::-1].copy(), 0.5) == (-1, 99)
    assert clipped_range(np.zeros(256), 0.5) == (0, 0)
    assert clipped_range((VALUES == 5) * 1.0, 0.5) == (5, 5)
