"""The integer form against TFLite Micro and LiteRT's reference kernels: operator by operator.

Random scales, zero points, shapes and activations; scales of few bits, whose results lie on ties;
functions of one tensor at every input.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property.tflite_case import FUSED, Case
from tests.property.tflite_operators import (
    BUILTIN,
    EXCEPTIONS,
    MISSING,
    OPERATORS,
    cases,
    judge,
)
from tests.property.tflite_runtimes import RuntimeFailureError, Runtimes, has_micro

FEW, MANY = 4, 300
_NO_MICRO = "TFLite Micro is not installed"


@pytest.fixture(scope="module")
def runtimes():
    found = Runtimes()
    yield found
    found.close()


def make(name: str, dtype: str, seed: int) -> Case:
    case = Case(seed, dtype)
    OPERATORS[name][0](case)
    return case


def compare(name: str, dtype: str, profile: str, seeds: range, runtimes: Runtimes) -> None:
    if profile == "tflm" and not has_micro():
        pytest.skip(_NO_MICRO)
    most, share, _ = EXCEPTIONS.get((name, dtype, profile), (0, 0.0, ""))
    values = differing = 0
    for seed in seeds:
        found = make(name, dtype, seed).compare(profile, runtimes, judge(name, profile))
        assert found.largest <= most, f"seed {seed}: {found}"
        values, differing = values + found.values, differing + found.differing
    assert differing <= share * values


@pytest.mark.parametrize(("name", "dtype", "profile"), cases())
def test_bits_are_those_of_the_runtime(name, dtype, profile, runtimes):
    compare(name, dtype, profile, range(FEW), runtimes)


@pytest.mark.long
@pytest.mark.parametrize(("name", "dtype", "profile"), cases())
def test_bits_are_those_of_the_runtime_many_times(name, dtype, profile, runtimes):
    large = np.prod(make(name, dtype, 0).tensors["y"].shape) > 60000
    compare(name, dtype, profile, range(FEW, FEW + (MANY // 10 if large else MANY)), runtimes)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    which=st.sampled_from([c for c in cases() if c not in EXCEPTIONS]),
    seed=st.integers(1000, 10**6),
)
def test_bits_of_any_operator_at_any_scale(which, seed, runtimes):
    name, dtype, profile = which
    compare(name, dtype, profile, range(seed, seed + 1), runtimes)


@pytest.mark.parametrize(("name", "dtype", "profile"), sorted(MISSING))
def test_missing_kernels_are_still_missing(name, dtype, profile, runtimes):
    """A release that brings one is to be compared like the others."""
    if profile == "tflm" and not has_micro():
        pytest.skip(_NO_MICRO)
    case = make(name, dtype, 1)
    with pytest.raises(RuntimeFailureError):
        runtimes.run(profile, case.file, case.feeds())


def test_the_reference_sum_of_litert_is_still_wrong(runtimes):
    """Else it could be the judge again."""
    assert "SUM" in BUILTIN
    case = make("SUM", "int8", 0)
    assert case.compare("litert", runtimes).differing > 0


@pytest.mark.parametrize(
    ("profile", "expected"), [("litert", [[-3, -2, 3, 2]]), ("tflm", [[-2, -1, 3, 2]])]
)
def test_ties_of_fully_connected_layers_go_each_their_way(profile, expected, runtimes):
    if profile == "tflm" and not has_micro():
        pytest.skip(_NO_MICRO)
    case = Case(0, "int8")
    x = case.input("x", (1, 1), scale=1.0, zero=0)
    weight = case.constant("w", np.array([[-5], [-3], [5], [3]], np.int8), [0.5])
    y = case.activation("y", (1, 4), scale=1.0, zero=0)
    case.tflite("FULLY_CONNECTED", [x, weight, None], [y], ("FullyConnectedOptions", {}))
    case.node("Gemm", ["x", "w"], transB=1)
    run = [[np.array([[1]], np.int8)]]
    assert runtimes.run(profile, case.file, run)[0][0].tolist() == expected
    assert case.ours(profile, run)[0].tolist() == expected


def test_a_product_below_a_tie_that_float64_rounds_to_it(runtimes):
    """3 * float64(1/6) is 0.5 there: LiteRT rounds it up, 31 bits would not."""
    case = Case(0, "int8")
    x = case.input("x", (1, 1), scale=1.0, zero=0)
    weight = case.constant("w", np.array([[1]], np.int8), [0.5])
    y = case.activation("y", (1, 1), scale=3.0, zero=0)
    case.tflite("FULLY_CONNECTED", [x, weight, None], [y], ("FullyConnectedOptions", {}))
    case.node("Gemm", ["x", "w"], transB=1)
    run = [[np.array([[3]], np.int8)]]
    assert runtimes.run("litert", case.file, run)[0][0].tolist() == [[1]]
    assert case.ours("litert", run)[0].tolist() == [[1]]


def _activated(activation: str, scale: float) -> Case:
    case = Case(0, "int8")
    a = case.input("a", (4,), scale=scale, zero=0)
    b = case.input("b", (4,), scale=scale, zero=0)
    y = case.activation("y", (4,), scale=scale, zero=0)
    fields = {"fusedActivationFunction": FUSED[activation]}
    case.tflite("ADD", [a, b], [y], ("AddOptions", fields))
    case.node("Add", ["a", "b"], case.activated(activation))
    case.activate(activation)
    return case


def test_the_bound_of_a_fused_activation_rounds_ties_up(runtimes):
    """6 / (12/5) in float32 is 2.5 exactly."""
    case = _activated("RELU6", 2.4)
    run = [[np.array([0, 2, 3, 5], np.int8), np.array([-1, 0, 0, 1], np.int8)]]
    assert runtimes.run("litert", case.file, run)[0][0].tolist() == [0, 2, 3, 3]
    assert case.ours("litert", run)[0].tolist() == [0, 2, 3, 3]
