"""The memory planner: no overlap in time and space, near the lower bound, the same every time."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intaglio.targets.c.memory import ALIGNMENT, Buffer, live_bytes, plan_memory

buffers = st.lists(
    st.tuples(st.integers(1, 5000), st.integers(0, 12), st.integers(0, 6)), min_size=1, max_size=14
).map(
    lambda rows: [Buffer(f"b{i}", size, at, at + more) for i, (size, at, more) in enumerate(rows)]
)


def overlaps(plan):
    placed = list(zip(plan.buffers, plan.offsets, strict=True))
    return [
        (a.name, b.name)
        for (a, at), (b, bt) in itertools.combinations(placed, 2)
        if a.meets(b) and at < bt + b.bytes and bt < at + a.bytes
    ]


@given(buffers)
@settings(max_examples=150, deadline=None)
def test_what_lives_together_lies_apart(rows):
    plan = plan_memory(rows)
    assert overlaps(plan) == []
    assert all(offset % ALIGNMENT == 0 and offset >= 0 for offset in plan.offsets)
    assert plan.bound <= plan.bytes <= sum(buffer.footprint for buffer in rows)
    assert plan_memory(rows) == plan


@given(buffers)
@settings(max_examples=100, deadline=None)
def test_the_bound_is_the_largest_sum(rows):
    steps = max(buffer.last for buffer in rows) + 1
    by_hand = [sum(b.footprint for b in rows if b.first <= s <= b.last) for s in range(steps)]
    assert live_bytes(rows, steps) == by_hand
    assert plan_memory(rows).bound == max(by_hand)


def test_a_chain_reaches_the_bound():
    sizes = [27648, 18432, 18432, 36864, 9216, 18432, 4608, 9216, 4608, 256]
    chain = [Buffer(f"t{i}", size, i, i + 1) for i, size in enumerate(sizes)]
    plan = plan_memory(chain)
    assert plan.bytes == plan.bound == 18432 + 36864


def test_an_order_that_greed_by_size_gets_wrong():
    """The largest first leaves a gap that nothing fits into; another order has none."""
    rows = [
        Buffer("a", 64, 0, 2), Buffer("b", 48, 2, 4), Buffer("c", 64, 4, 6),
        Buffer("d", 32, 0, 0), Buffer("e", 48, 1, 3), Buffer("f", 32, 4, 5),
    ]  # fmt: skip
    plan = plan_memory(rows)
    assert overlaps(plan) == []
    assert plan.bytes == plan.bound


def test_nothing_needs_nothing():
    plan = plan_memory([])
    assert (plan.bytes, plan.bound, plan.offsets) == (0, 0, ())


@pytest.mark.parametrize(("size", "footprint"), [(1, 16), (16, 16), (17, 32), (0, 0)])
def test_footprints_are_aligned(size, footprint):
    assert Buffer("b", size, 0, 0).footprint == footprint
