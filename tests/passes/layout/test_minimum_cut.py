"""The minimum cut against trying everything."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from intaglio.passes.layout.minimum_cut import PairwiseCosts


@st.composite
def problems(draw):
    count = draw(st.integers(1, 6))
    singles = [draw(st.tuples(st.integers(0, 9), st.integers(0, 9))) for _ in range(count)]
    pairs = []
    for _ in range(draw(st.integers(0, 8))):
        x, y = draw(st.integers(0, count - 1)), draw(st.integers(0, count - 1))
        c00, c01, c10, c11 = (draw(st.integers(0, 9)) for _ in range(4))
        # Agreeing costs no more than differing.
        lack = max(0, c00 + c11 - c01 - c10)
        pairs.append((x, y, (c00, c01 + lack, c10, c11)))
    return singles, pairs


def total(problem, choice):
    singles, pairs = problem
    cost = sum(single[int(picked)] for single, picked in zip(singles, choice, strict=True))
    return cost + sum(costs[2 * int(choice[x]) + int(choice[y])] for x, y, costs in pairs)


@given(problems())
def test_the_cut_is_a_cheapest_choice(problem):
    singles, pairs = problem
    costs = PairwiseCosts()
    for zero, one in singles:
        costs.add_single(costs.variable(), zero, one)
    for x, y, pair in pairs:
        costs.add_pair(x, y, pair)
    best = min(total(problem, c) for c in itertools.product([0, 1], repeat=len(singles)))
    assert total(problem, costs.solve()) == best


def test_nothing_changes_where_both_cost_the_same():
    costs = PairwiseCosts()
    x, y = costs.variable(), costs.variable()
    costs.add_single(x, 3, 3)
    costs.add_pair(x, y, (0, 5, 5, 0))
    assert costs.solve() == [False, False]
