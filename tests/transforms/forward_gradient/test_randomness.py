"""The counter hash and the perturbations, against Python's own integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.transforms.forward_gradient.randomness import (
    ROUNDING_STREAM,
    Law,
    counter_hash,
    hash_seed,
    perturbation,
    stream_seed,
)

WORD = 1 << 32


def hash_in_python(index, seed):
    """The formula of the module, one number at a time and without a width."""
    x = (index * 2654435769 + seed) % WORD
    x = x ^ (x // 65536)
    x = x * 2146121005 % WORD
    x = x ^ (x // 32768)
    x = x * 2221713035 % WORD
    return x ^ (x // 65536)


#: Computed once with Python's integers; they hold for every runtime.
KNOWN = [
    (0, 0, 0),
    (1, 0, 33350994),
    (0, 1, 1753845952),
    (12345, 67890, 4197505804),
    (WORD - 1, WORD - 1, 903996321),
]


@pytest.mark.parametrize(("index", "seed", "answer"), KNOWN)
def test_known_answers(index, seed, answer):
    assert int(counter_hash(index, seed)) == answer


@given(st.integers(0, WORD - 1), st.integers(0, WORD - 1))
def test_the_hash_is_that_of_the_formula(index, seed):
    assert int(counter_hash(index, seed)) == hash_in_python(index, seed)


def test_the_hash_of_many_counters_at_once():
    counters = np.arange(1000).reshape(10, 100)
    found = counter_hash(counters, 7)
    assert found.dtype == np.uint32
    assert found.shape == (10, 100)
    assert found.reshape(-1).tolist() == [hash_in_python(i, 7) for i in range(1000)]


@pytest.mark.parametrize("seed", [-1, WORD + 5, -WORD])
def test_only_the_lowest_bits_of_a_seed_count(seed):
    assert hash_seed(seed) == hash_in_python(0, seed % WORD)


@given(st.integers(0, WORD - 1), st.integers(0, 300), st.integers(0, 50))
def test_the_seed_of_a_tensor(step, probe, number):
    inner = hash_in_python(0, (step + probe) % WORD)
    assert stream_seed(step, probe, number) == hash_in_python(0, (inner + number) % WORD)


def test_streams_of_one_step_differ():
    numbers = [*range(40), *(ROUNDING_STREAM + n for n in range(40))]
    seeds = {stream_seed(99, probe, n) for probe in range(8) for n in numbers}
    assert len(seeds) == 8 * 80


@given(st.lists(st.integers(0, WORD - 1), min_size=1, max_size=40))
def test_the_laws_are_those_of_the_formula(hashes):
    words = np.array(hashes, np.uint32)
    signs = [-32 if h % 2 else 32 for h in hashes]
    assert perturbation(words, Law.RADEMACHER).tolist() == signs
    bells = [16 * (bin(h % 65536).count("1") - 8) for h in hashes]
    assert perturbation(words, Law.BINOMIAL).tolist() == bells


@pytest.mark.parametrize("law", list(Law))
def test_a_perturbation_has_no_mean_and_a_deviation_of_one(law):
    z = perturbation(counter_hash(np.arange(200_000), hash_seed(3)), law).astype(np.float64)
    assert abs(z.mean()) < 5 * 32 / np.sqrt(z.size)
    assert abs(z.std() / 32 - 1) < 0.01
    assert np.abs(z).max() == law.largest


@pytest.mark.parametrize("law", list(Law))
def test_perturbations_of_two_tensors_or_steps_are_unrelated(law):
    counters = np.arange(100_000)
    seeds = [stream_seed(5, 0, 0), stream_seed(5, 0, 1), stream_seed(6, 0, 0), stream_seed(5, 1, 1)]
    drawn = [perturbation(counter_hash(counters, seed), law) / 32.0 for seed in seeds]
    for i, one in enumerate(drawn):
        for other in drawn[:i]:
            assert abs((one * other).mean()) < 5 / np.sqrt(counters.size)
