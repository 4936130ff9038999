"""Losses in integers, against the same in floats and in Python's own integers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intaglio.transforms.forward_gradient.loss import (
    SQUARED_ERROR_LIMIT,
    cross_entropy,
    exponential_table,
    fractional_logarithm_table,
    logarithm_table,
    squared_error,
)

INT32 = np.iinfo(np.int32)

#: Nats at ten classes: half a place and half a rounding of G, and a place cut off of nine of the
#: ten terms, of 2^15 at least.
LARGEST_ERROR = 0.5 / 256 + 0.5 * math.log(2) / 256 + 9.5 / 2**15


def in_nats(loss, bits=8):
    return loss * math.log(2) / 2**bits


def exact(logits, label, bits=8):
    """Cross-entropy of one sample in nats, in double precision."""
    real = np.asarray(logits, np.float64) * math.log(2) / 2**bits
    top = real.max()
    return float(top + math.log(np.exp(real - top).sum()) - real[label])


def in_python(logits, label, bits):
    """The formula of the module, one number at a time."""
    top = max(logits)
    total = 0
    for s in logits:
        d = s - top
        places = min(-(d >> bits), 31)
        total += round(2 ** (15 + ((d % 2**bits) << (8 - bits)) / 256)) >> places
    p = total.bit_length() - 1
    entry = ((total << 8) >> p) & 255
    spare = 8 - bits
    table = round(256 * math.log2(1 + (entry + 0.5) / 256))
    rounded = (table + (1 << spare) // 2) >> spare
    return ((p - 15) << bits) + rounded - (logits[label] - top)


LOGITS = st.lists(st.integers(INT32.min, INT32.max), min_size=1, max_size=12)
NEAR = st.lists(st.integers(-3000, 3000), min_size=1, max_size=12)


@given(st.one_of(LOGITS, NEAR), st.integers(0, 8), st.data())
def test_the_cross_entropy_is_that_of_the_formula(logits, bits, data):
    label = data.draw(st.integers(0, len(logits) - 1))
    found = cross_entropy(np.array([logits], np.int32), np.array([label]), bits)
    assert found == in_python(logits, label, bits)


@settings(max_examples=300)
@given(st.lists(st.integers(-6000, 6000), min_size=10, max_size=10), st.integers(0, 9))
def test_ten_classes_are_within_the_largest_error(logits, label):
    found = cross_entropy(np.array([logits], np.int32), np.array([label]))
    assert abs(in_nats(found) - exact(logits, label)) <= LARGEST_ERROR


def test_ten_classes_are_near_the_truth_on_many_samples():
    rng = np.random.default_rng(0)
    worst = 0.0
    for width in (3, 30, 300, 1000, 3000):
        logits = np.rint(rng.normal(0, width, (400, 10))).astype(np.int32)
        for row in logits:
            label = int(rng.integers(10))
            error = in_nats(cross_entropy(row[None], np.array([label]))) - exact(row, label)
            worst = max(worst, abs(error))
    assert 0.001 < worst <= LARGEST_ERROR


@pytest.mark.parametrize("classes", [1, 2, 10, 1000])
def test_equal_logits_cost_the_logarithm_of_the_classes(classes):
    found = cross_entropy(np.zeros((1, classes), np.int32), np.zeros(1, np.int64))
    assert abs(in_nats(found) - math.log(classes)) <= LARGEST_ERROR


def test_the_farthest_logits_do_not_overflow():
    logits = np.array([[INT32.max, INT32.min]], np.int32)
    assert cross_entropy(logits, np.array([0])) == cross_entropy(
        np.array([[0, -(31 << 8)]], np.int32), np.array([0])
    )
    wrong = cross_entropy(logits, np.array([1]))
    assert wrong - cross_entropy(logits, np.array([0])) == 2**32 - 1


@given(NEAR, st.integers(-1000, 1000))
def test_a_shift_of_all_logits_changes_nothing(logits, shift):
    rows = np.array([logits], np.int32)
    labels = np.array([0])
    assert cross_entropy(rows, labels) == cross_entropy(rows + np.int32(shift), labels)


def test_samples_are_summed():
    rng = np.random.default_rng(1)
    logits = rng.integers(-2000, 2000, (17, 10)).astype(np.int32)
    labels = rng.integers(0, 10, 17)
    parts = [cross_entropy(logits[i : i + 1], labels[i : i + 1]) for i in range(17)]
    assert cross_entropy(logits, labels) == sum(parts)


def test_the_tables_are_the_nearest_integers():
    for i in range(256):
        assert abs(exponential_table()[i] - 2 ** (15 + i / 256)) <= 0.5
        assert abs(logarithm_table()[i] - 256 * math.log2(1 + (i + 0.5) / 256)) <= 0.5
    assert np.array_equal(fractional_logarithm_table(8), logarithm_table())
    assert fractional_logarithm_table(0).tolist() == (logarithm_table() >= 128).astype(int).tolist()


@given(st.lists(st.tuples(*[st.integers(-SQUARED_ERROR_LIMIT, SQUARED_ERROR_LIMIT)] * 2)))
def test_the_squared_error_is_that_of_python(pairs):
    both = np.array(pairs, np.int32).reshape(-1, 2)
    assert squared_error(both[:, 0], both[:, 1]) == sum((a - b) ** 2 for a, b in pairs)


def test_the_largest_squared_error_fits():
    elements = (1 << 13) - 1
    full = np.full((1, elements), SQUARED_ERROR_LIMIT, np.int32)
    assert squared_error(full, -full) == elements * (2 * SQUARED_ERROR_LIMIT) ** 2
