"""Positions along axes as strided copies, and permutations as blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intaglio.targets.c.grouping.strided import (
    NOTHING,
    blocks_of,
    is_whole,
    runs,
    transposition,
)

_SETTINGS = settings(max_examples=200, deadline=None, derandomize=True, database=None)


def copied(blocks, source, shape):
    """What blocks make of a tensor; unwritten elements are -7."""
    flat, result = source.reshape(-1), np.full(math.prod(shape), -7)
    for block in blocks:
        for index in np.ndindex(*block.sizes):
            to = block.to + sum(i * s for i, s in zip(index, block.to_strides, strict=True))
            start = block.start + sum(i * s for i, s in zip(index, block.strides, strict=True))
            assert result[to] == -7
            result[to] = flat[start]
    return result.reshape(shape)


@_SETTINGS
@given(data=st.data())
def test_blocks_pick_the_positions_of_every_axis(data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    places = [
        data.draw(st.lists(st.integers(NOTHING, size - 1), min_size=1, max_size=6))
        for size in shape
    ]
    source = np.arange(math.prod(shape)).reshape(shape)
    after = [len(axis) for axis in places]
    wanted = _picked(source, places)
    blocks = blocks_of(0, shape, after, [runs(axis) for axis in places])
    np.testing.assert_array_equal(copied(blocks, source, after), wanted)


def _picked(source, places):
    result = np.full([len(axis) for axis in places], -7)
    for index in np.ndindex(*result.shape):
        taken = tuple(axis[i] for axis, i in zip(places, index, strict=True))
        if NOTHING not in taken:
            result[index] = source[taken]
    return result


@_SETTINGS
@given(data=st.data())
def test_a_transposition_is_one_block(data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    order = data.draw(st.permutations(range(len(shape))))
    source = np.arange(math.prod(shape)).reshape(shape)
    block = transposition(shape, order)
    wanted = source.transpose(order)
    np.testing.assert_array_equal(copied([block], source, wanted.shape), wanted)
    assert 1 not in block.sizes
    moves = not np.array_equal(wanted.reshape(-1), source.reshape(-1))
    assert is_whole([block], source.size, source.size) == (not moves)


@pytest.mark.parametrize(
    ("places", "steps"),
    [
        ([0, 1, 2, 3], ((4, 1, 1),)),
        ([5, 3, 1], ((3, -2, 1),)),
        ([2, 2, 2], ((3, 0, 1),)),
        ([0, 0, 1, 1, 2, 2], ((3, 1, 2), (2, 0, 1))),
        ([0, 1, 2, 0, 1, 2], ((2, 0, 3), (3, 1, 1))),
        ([4], ((1, 0, 1),)),
    ],
)
def test_regular_positions_are_one_run(places, steps):
    [run] = runs(places)
    assert (run.start, run.to, run.steps) == (places[0], 0, steps)


def test_axes_that_lie_behind_each_other_are_one():
    block = transposition((2, 3, 4, 5), (2, 3, 0, 1))
    assert block.sizes == (20, 6)
    assert block.strides == (1, 20)
    assert block.to_strides == (6, 1)
