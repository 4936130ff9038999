"""The order of the samples: permutations, and the same from any step on."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from intaglio.fitting.training.order import Order


@given(st.integers(1, 60), st.data())
def test_every_epoch_has_every_sample_once(count, data):
    batch = data.draw(st.integers(1, count))
    order = Order(count, batch, data.draw(st.integers(0, 1 << 40)))
    seen = np.concatenate([order.batch(step) for step in range(3 * count)])
    for epoch in range(len(seen) // count):
        part = seen[epoch * count : (epoch + 1) * count]
        assert sorted(part.tolist()) == list(range(count))


@given(st.integers(2, 60), st.integers(0, 500), st.data())
def test_a_step_does_not_depend_on_those_before(count, step, data):
    batch = data.draw(st.integers(1, count))
    order = Order(count, batch, 5)
    for earlier in range(max(0, step - 5), step):
        order.batch(earlier)
    np.testing.assert_array_equal(order.batch(step), Order(count, batch, 5).batch(step))


def test_epochs_and_seeds_differ():
    first, second = Order(100, 50, 5), Order(100, 50, 6)
    assert first.batch(0).tolist() != first.batch(2).tolist()
    assert first.batch(0).tolist() != second.batch(0).tolist()


def test_the_first_batches_are_known():
    """They are part of what makes a run repeatable: they must not change between versions."""
    assert Order(10, 5, 1).batch(0).tolist() == [1, 7, 0, 2, 8]
    assert Order(10, 5, 1).batch(1).tolist() == [4, 3, 5, 6, 9]
