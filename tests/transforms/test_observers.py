from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intaglio.transforms.observers import (
    OBSERVERS,
    EntropyObserver,
    HistogramObserver,
    MinMaxObserver,
    MseObserver,
    PercentileObserver,
    _search,
    make_observer,
    squared_error,
)
from intaglio.transforms.scales import activation_quantization

NAMES = sorted(OBSERVERS)


def observed(observer, x: np.ndarray):
    observer.update(x)
    return observer.range()


def real_error(x: np.ndarray, low: float, high: float) -> float:
    """Mean squared error of really quantizing ``x`` to int8 with that range."""
    q = activation_quantization(low, high)
    return float(np.mean((q.dequantize(q.quantize(x)).astype(np.float64) - x) ** 2))


def gaussian(n: int = 50_000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n).astype(np.float32)


def laplacian(n: int = 50_000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).laplace(size=n).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_batches_in_any_order_give_the_same_range(name: str) -> None:
    x = laplacian(8000)
    together = observed(make_observer(name), x)
    in_batches = make_observer(name)
    for part in np.array_split(x[::-1], 13):
        in_batches.update(part.reshape(1, -1))
    assert in_batches.range() == together


@pytest.mark.parametrize("name", NAMES)
def test_the_range_is_within_the_extremes_and_the_state_does_not_grow(name: str) -> None:
    x = laplacian(8000)
    observer = make_observer(name)
    sizes = []
    for _ in range(3):
        observer.update(x)
        histogram = getattr(observer, "histogram", None)
        sizes.append(histogram.counts.nbytes if histogram else sys.getsizeof(vars(observer)))
    assert len(set(sizes)) == 1
    low, high = observer.range()
    assert float(x.min()) <= low < 0 < high <= float(x.max())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [3.5], [-2.0, -2.0], [1e-45], [1e38, 1e38]])
def test_constant_tensors(name: str, values: list[float]) -> None:
    x = np.array(values, np.float32)
    assert observed(make_observer(name), x) == (float(x[0]), float(x[0]))


@pytest.mark.parametrize("name", NAMES)
def test_one_sided_tensors_move_only_their_own_end(name: str) -> None:
    x = np.abs(laplacian()) + np.float32(0.5)
    low, high = observed(make_observer(name), x)
    assert low == float(x.min())
    assert low < high <= float(x.max())
    mirrored = observed(make_observer(name), -x)
    assert mirrored[1] == -low
    assert mirrored[0] == pytest.approx(-high, rel=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_zeros_do_not_move_the_range(name: str) -> None:
    x = np.abs(laplacian())
    mostly_zero = np.concatenate([x, np.zeros(40 * x.size, np.float32)])
    low, high = observed(make_observer(name), mostly_zero)
    assert low == 0.0
    assert high == observed(make_observer(name), x)[1]


@pytest.mark.parametrize("name", NAMES)
def test_bad_values_and_no_values_are_refused(name: str) -> None:
    observer = make_observer(name)
    with pytest.raises(ValueError, match="no values"):
        observer.range()
    observer.update(np.zeros((0, 3), np.float32))
    with pytest.raises(ValueError, match="no values"):
        observer.range()
    for bad in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="NaN or infinity"):
            observer.update(np.array([1.0, bad], np.float32))
    with pytest.raises(ValueError, match="no values"):
        observer.range()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=20))
def test_minmax_is_the_extremes(values: list[float]) -> None:
    for observer in (MinMaxObserver(), HistogramObserver(), PercentileObserver(100.0)):
        assert observed(observer, np.array(values, np.float32)) == (min(values), max(values))


@pytest.mark.parametrize("percentile", [99.99, 99.0, 90.0])
@pytest.mark.parametrize("make", [gaussian, laplacian])
def test_percentile_is_the_quantile_to_a_bin(percentile: float, make) -> None:
    x = make()
    observer = PercentileObserver(percentile)
    low, high = observed(observer, x)
    width = observer.histogram.width
    # With 50,000 values the neighbors of the 0.01 % quantile are further apart than a bin.
    for end, q in ((low, 100 - percentile), (high, percentile)):
        below, above = (float(np.percentile(x, q, method=method)) for method in ("lower", "higher"))
        assert below - width <= end <= above + width


def test_percentile_ignores_an_outlier() -> None:
    x = np.append(gaussian(), np.float32(40.0))
    assert observed(PercentileObserver(99.99), x)[1] < 5
    assert observed(PercentileObserver(100.0), x)[1] == 40.0


def test_expected_error_equals_the_error_of_quantizing_every_value() -> None:
    x = laplacian(200_000)
    observer = HistogramObserver()
    observer.update(x)
    for low, high in ((x.min(), x.max()), (-4.0, 6.0), (-0.5, 0.3), (-20.0, 1.0)):
        expected = squared_error(*observer.histogram.occupied(), float(low), float(high), 256)
        assert expected / x.size == pytest.approx(real_error(x, low, high), rel=0.02)


def test_expected_error_of_points_is_exact() -> None:
    points = np.array([-1.3, 0.2, 0.7, 5.0])
    counts = np.array([1.0, 2.0, 3.0, 4.0])
    # Four levels over [-1, 2] are -1, 0, 1, 2.
    errors = np.array([0.3, 0.2, 0.3, 3.0])
    exact = float(np.dot(counts, errors**2))
    assert squared_error(points, points, counts, -1.0, 2.0, 4) == pytest.approx(exact)


def test_expected_error_of_bins_is_the_integral() -> None:
    lower, upper = np.array([-3.0, 0.2]), np.array([0.1, 4.7])
    counts = np.array([10.0, 20.0])
    total = 0.0
    for a, b, count in zip(lower, upper, counts, strict=True):
        t = a + (b - a) * (np.arange(200_000) + 0.5) / 200_000
        total += count * float(np.mean((t - np.clip(np.rint(t), -1, 2)) ** 2))
    assert squared_error(lower, upper, counts, -1.0, 2.0, 4) == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize(
    "x",
    [
        gaussian(20_000),
        laplacian(20_000),
        np.append(gaussian(20_000), np.float32(100)),
        np.maximum(laplacian(20_000) - 1, 0),
        laplacian(20_000) * np.tile(np.array([4, 1], np.float32), 10_000) + np.float32(0.5),
    ],
    ids=["gaussian", "laplacian", "outlier", "relu", "skewed"],
)
def test_mse_is_as_good_as_brute_force_over_both_ends(x: np.ndarray) -> None:
    low, high = observed(MseObserver(), x)
    extremes = float(x.min()), float(x.max())
    fractions = np.linspace(0.2, 1.0, 13)
    lows = fractions * extremes[0] if extremes[0] < 0 else extremes[:1]
    best = min(real_error(x, a, b) for a in lows for b in fractions * extremes[1])
    assert real_error(x, low, high) <= best * 1.02
    assert real_error(x, low, high) <= real_error(x, *extremes) * 1.001


def test_mse_clips_more_with_fewer_levels() -> None:
    x = gaussian()
    wide = [observed(MseObserver(levels=n), x)[1] for n in (4, 16, 256, 65536)]
    assert wide == sorted(wide)
    assert wide[0] < 0.6 * wide[-1]


@pytest.mark.parametrize("name", ["mse", "entropy"])
def test_symmetric_ranges(name: str) -> None:
    x = laplacian() - np.float32(2)
    low, high = observed(make_observer(name, symmetric=True), x)
    assert low == -high
    assert high <= float(np.abs(x).max())


def kl_divergence(x: np.ndarray, edges: np.ndarray, low: float, high: float) -> float:
    """The criterion of the entropy observer on all the data, bin by bin in plain loops."""
    counts = np.histogram(x, edges)[0]
    centers = (edges[:-1] + edges[1:]) / 2
    step = (high - low) / 255
    inside = [i for i, c in enumerate(centers) if counts[i] and low <= c <= high]
    levels: dict[int, list[int]] = {}
    for i in inside:
        levels.setdefault(round(centers[i] / step), []).append(i)
    total, result = x.size, 0.0
    for members in levels.values():
        share = sum(counts[i] for i in members) / len(members)
        for i in members:
            p = counts[i]
            p += sum(counts[:i]) if i == inside[0] else 0
            p += sum(counts[i + 1 :]) if i == inside[-1] else 0
            result += p / total * math.log(p / share)
    return result - (len(inside) - len(levels)) / (2 * total)


def test_entropy_finds_the_least_divergence() -> None:
    x = laplacian(200_000, seed=3)
    x = x[x != 0]
    observer = EntropyObserver()
    low, high = observed(observer, x)
    edges = observer.histogram.edges
    edges = edges[edges <= x.max() + observer.histogram.width]
    chosen = kl_divergence(x, edges, low, high)
    for shrink_low in (1.0, 0.8, 0.6, 0.4):
        for shrink_high in (1.0, 0.8, 0.6, 0.4):
            other = kl_divergence(x, edges, shrink_low * x.min(), shrink_high * x.max())
            assert chosen <= other + 1e-6, (shrink_low, shrink_high)


def test_entropy_ignores_an_outlier_and_keeps_a_uniform_tensor() -> None:
    x = np.append(gaussian(), np.float32(30.0))
    low, high = observed(EntropyObserver(), x)
    assert high < 12
    assert real_error(gaussian(), low, high) < real_error(gaussian(), float(x.min()), 30.0) / 3
    uniform = np.random.default_rng(0).uniform(-1, 3, 50_000).astype(np.float32)
    low, high = observed(EntropyObserver(), uniform)
    assert (low, high) == (float(uniform.min()), float(uniform.max()))


def test_entropy_does_not_collapse_to_one_bin() -> None:
    # A comb that no quantizer of this range keeps apart, and a few values far below it, which a
    # range that clips all others would keep perfectly: 3.4 is just inside 5 / 256^(1/15).
    comb = np.repeat(4 + 0.01 * np.arange(101), np.where(np.arange(101) % 2, 100, 300))
    x = np.append(comb, np.full(10, 3.4)).astype(np.float32)
    assert 5 * 256 ** (-1 / 15) - 3.4 < 0.1
    low, high = observed(EntropyObserver(), x)
    assert low == np.float32(3.4)
    assert high > 4.5


def test_of_equally_good_ranges_the_widest_is_taken() -> None:
    for symmetric in (False, True):
        assert _search(lambda low, high: 0.0, -1.0, 3.0, symmetric) == (
            -3.0 if symmetric else -1.0,
            3.0,
        )


@pytest.mark.parametrize("n", [300, 3000])
def test_entropy_does_not_clip_for_want_of_samples(n: int) -> None:
    x = gaussian(n)
    low, high = observed(EntropyObserver(), x)
    assert low < 0.9 * float(x.min())
    assert high > 0.9 * float(x.max())


def test_entropy_keeps_the_extremes_where_levels_outnumber_bins() -> None:
    x = laplacian()
    observer = EntropyObserver(levels=65536)
    assert observed(observer, x) == (float(x.min()), float(x.max()))


def test_observers_by_name() -> None:
    assert set(OBSERVERS) == {"minmax", "percentile", "entropy", "mse"}
    assert isinstance(make_observer("percentile", percentile=99.0, bins=512), PercentileObserver)
    with pytest.raises(ValueError, match="minmax, percentile, entropy, mse"):
        make_observer("median")
    with pytest.raises(ValueError, match="percentil"):
        make_observer("percentile", percentil=99.0)
    for percentile in (50.0, 100.1, math.nan):
        with pytest.raises(ValueError, match="percentile must"):
            make_observer("percentile", percentile=percentile)
    for name in ("mse", "entropy"):
        with pytest.raises(ValueError, match="levels"):
            make_observer(name, levels=1)
