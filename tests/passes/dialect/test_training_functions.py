"""The functions of a training step give the bits of ``transforms.forward_gradient``."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from intaglio.transforms.forward_gradient.loss import cross_entropy, squared_error
from intaglio.transforms.forward_gradient.randomness import Law, counter_hash, perturbation
from intaglio.transforms.forward_gradient.specification import (
    Parameter,
    StepRounding,
    StepSpecification,
)
from intaglio.transforms.forward_gradient.step import displacement, draw, update
from tests.passes.dialect.one_node import run

SEEDS = st.integers(0, 2**32 - 1)
RUNS = settings(max_examples=60, deadline=None)
SUFFIX = {"int16": "", "int32": "Wide"}


def scalar(value):
    return np.array(value, np.int64)


@RUNS
@given(st.lists(SEEDS, min_size=1, max_size=20), st.integers(-(2**33), 2**34))
@example([0, 1, 2**32 - 1], 2**32 - 1)
def test_the_hash_is_that_of_numpy(index, seed):
    counters = np.array(index, np.int64)
    found = run("CounterHash", {"index": counters, "seed": scalar(seed)}, np.uint32)
    np.testing.assert_array_equal(found, counter_hash(counters, seed))


@pytest.mark.parametrize("law", Law)
@RUNS
@given(SEEDS)
def test_perturbations_are_those_of_numpy(law, seed):
    index = np.arange(600, dtype=np.int64).reshape(20, 30)
    inputs = {"index": index, "seed": scalar(seed)}
    z = run(f"Perturb{law.value.title()}", inputs, np.int32)
    np.testing.assert_array_equal(z, perturbation(counter_hash(index, seed), law))


@pytest.mark.parametrize("dtype", SUFFIX)
@RUNS
@given(SEEDS, st.data())
def test_displacements_are_those_of_numpy_and_symmetric(dtype, seed, data):
    largest = 8000 if dtype == "int16" else 2**28
    distance = data.draw(st.integers(0, largest))
    z = perturbation(counter_hash(np.arange(99), seed), Law.BINOMIAL)
    z[0], z[1], z[2] = 128, -128, 0
    name, result = f"Displace{SUFFIX[dtype]}", np.dtype("int32" if dtype == "int16" else "int64")
    plus = run(name, {"z": z, "distance": scalar(distance)}, result)
    minus = run(name, {"z": z, "distance": scalar(-distance)}, result)
    np.testing.assert_array_equal(plus, displacement(z.astype(np.int64), distance))
    np.testing.assert_array_equal(minus, -plus)


def test_adding_and_taking_away_a_displacement_restores_the_numbers():
    w = np.array([32767 - 500, -32767 + 500, 0, 7], np.int16)
    z = np.array([32, -32, 128, -128], np.int32)
    delta = run("Displace", {"z": z, "distance": scalar(125)}, np.int32).astype(np.int16)
    up = w + delta
    down = up - 2 * delta
    np.testing.assert_array_equal(down + delta, w)
    assert np.abs(up.astype(int)).max() <= 32767


def apply_step(rounding, dtype, w, g, parameter, step_shift, stream):
    inputs = {
        "w": w,
        "g": g,
        "multiplier": np.array(parameter.multiplier, np.int32),
        "shift": scalar(parameter.shift),
        "step_shift": scalar(step_shift),
        "limit": np.array(parameter.limit, np.int32),
    }
    if rounding is StepRounding.STOCHASTIC:
        inputs |= {"index": np.arange(w.size, dtype=np.int64), "seed": scalar(stream)}
    return run(f"SignStep{rounding.value.title()}{SUFFIX[dtype]}", inputs, w.dtype)


def stream_of(seed, number):
    from intaglio.transforms.forward_gradient.randomness import ROUNDING_STREAM, stream_seed

    return stream_seed(seed, 0, number + ROUNDING_STREAM)


@pytest.mark.parametrize("dtype", SUFFIX)
@pytest.mark.parametrize("rounding", StepRounding)
@RUNS
@given(
    seed=SEEDS,
    multiplier=st.integers(0, 32767),
    shift=st.integers(0, 31),
    step_shift=st.integers(0, 40),
    sign=st.sampled_from([1, -1, 0]),
    law=st.sampled_from(list(Law)),
    probes=st.integers(1, 4),
    data=st.data(),
)
def test_the_update_is_that_of_numpy(
    rounding, dtype, seed, multiplier, shift, step_shift, sign, law, probes, data
):
    rail = 32767 if dtype == "int16" else 2**31 - 1
    limit = data.draw(st.sampled_from([rail, rail - 1000, rail // 2]))
    parameter = Parameter("w", (64,), dtype, 1.0, 1, multiplier, shift, limit, 0)
    specification = StepSpecification((parameter,), law=law, rounding=rounding, probes=probes)
    generator = np.random.default_rng(seed)
    w = generator.integers(-limit, limit, 64, endpoint=True).astype(dtype)
    w[:4] = limit, -limit, 0, 1
    signs = [sign, *generator.integers(-1, 2, probes - 1)]
    drawn = [draw(specification, parameter, seed, probe) for probe in range(probes)]
    g = sum(int(s) * z for s, z in zip(signs, drawn, strict=True)).astype(np.int32)
    expected = update(specification, {"w": w}, seed, signs, step_shift)["w"]
    found = apply_step(rounding, dtype, w, g, parameter, step_shift, stream_of(seed, 0))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("rounding", StepRounding)
def test_the_update_stops_at_both_rails(rounding):
    parameter = Parameter("w", (2,), "int16", 1.0, 1, 32767, 0, 32000, 0)
    w = np.array([31999, -31999], np.int16)
    found = apply_step(rounding, "int16", w, np.array([-32, 32], np.int32), parameter, 0, 5)
    np.testing.assert_array_equal(found, [32000, -32000])


def test_the_largest_product_does_not_overflow():
    """256 probes of the binomial law: |g| = 2^15, the multiplier 32767."""
    parameter = Parameter("w", (4,), "int32", 1.0, 1, 32767, 31, 2**31 - 1, 0)
    g = np.array([32768, -32768, 32767, 0], np.int32)
    for rounding in StepRounding:
        w = np.zeros(4, np.int32)
        for step_shift, shift in ((0, 0), (0, 31), (9, 30)):
            given_ = Parameter("w", (4,), "int32", 1.0, 1, 32767, shift, 2**31 - 1, 0)
            found = apply_step(rounding, "int32", w, g, given_, step_shift, 77)
            places = min(shift + step_shift, 31)
            product = g.astype(object) * parameter.multiplier
            noise = counter_hash(np.arange(4), 77).astype(object) % 2**places
            nudge = {"nearest": 2**places // 2, "stochastic": noise, "floor": 0}[rounding.value]
            size = (abs(product) + nudge) // 2**places
            step = product // 2**places if rounding.value == "floor" else np.sign(g) * size
            np.testing.assert_array_equal(found, (-step).astype(np.int64))


LOGIT = st.one_of(
    st.integers(-(2**31), 2**31 - 1), st.integers(-3000, 3000), st.sampled_from([-(2**31), 0])
)


def cross_entropy_in_onnx(logits, labels, bits):
    inputs = {"logits": logits, "labels": labels}
    return int(run("CrossEntropyBase2", inputs, np.int64, rank=0, bits=bits))


@settings(max_examples=200, deadline=None)
@given(
    rows=st.integers(1, 40).flatmap(
        lambda classes: st.lists(
            st.lists(LOGIT, min_size=classes, max_size=classes), min_size=1, max_size=5
        )
    ),
    bits=st.integers(0, 8),
    data=st.data(),
)
@example(rows=[[2**31 - 1, -(2**31)]], bits=8, data=None)
@example(rows=[[5, 5, 5, 5]], bits=8, data=None)
@example(rows=[[-(2**31)]], bits=0, data=None)
def test_the_cross_entropy_is_that_of_numpy(rows, bits, data):
    logits = np.array(rows, np.int32)
    classes = logits.shape[1]
    labels = np.array(
        [data.draw(st.integers(0, classes - 1)) if data else classes - 1 for _ in rows], np.int64
    )
    found = cross_entropy_in_onnx(logits, labels, bits)
    assert found == cross_entropy(logits, labels, bits)


def test_the_cross_entropy_of_many_equal_classes_is_their_logarithm():
    logits = np.zeros((3, 4096), np.int32)
    labels = np.zeros(3, np.int64)
    found = cross_entropy_in_onnx(logits, labels, 8)
    # The table's entries stand for the middle of a 256th: half of one is added to a power of two.
    assert found == cross_entropy(logits, labels, 8)
    assert abs(found - 3 * 12 * 256) <= 3


@RUNS
@given(
    st.lists(
        st.tuples(st.integers(-(2**24), 2**24), st.integers(-(2**24), 2**24)),
        min_size=1,
        max_size=30,
    )
)
@example([(2**24, -(2**24))] * 30)
def test_the_squared_error_is_that_of_numpy(pairs):
    both = np.array(pairs, np.int32)
    logits, targets = both[:, :1], both[:, 1:]
    found = run("SquaredError", {"logits": logits, "targets": targets}, np.int64, rank=0)
    assert int(found) == squared_error(logits, targets)
