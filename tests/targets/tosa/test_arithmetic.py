"""Rescales that stand for others: tried for every sum, product and pair that there is."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from intaglio.targets.tosa.emitters.arithmetic import Operand, once_rounded
from intaglio.targets.tosa.emitters.common import Stage
from intaglio.targets.tosa.emitters.parameters import kept_in_range
from intaglio.transforms.fixed_point import quantize_multiplier, rescale_double, rescale_single


def stage(scale, zero_point, limits=(-128, 127)):
    fixed = quantize_multiplier(scale)
    return Stage(np.array([fixed.multiplier]), np.array([fixed.shift]), zero_point, limits, True)


@given(
    st.floats(0.001, 1), st.floats(0.001, 1), st.floats(0.001, 1),
    st.integers(-128, 127), st.integers(-128, 127), st.integers(-128, 127),
    st.sampled_from([1, -1]),
)  # fmt: skip
def test_what_rounds_once_gives_the_same_for_every_pair(a, b, c, za, zb, zc, sign):
    twice = 2 * max(a, b)
    operands = []
    for scale, point in ((a, za), (b, zb)):
        fixed = quantize_multiplier(scale / twice)
        operands.append(Operand(point, 20, int(fixed.multiplier), int(fixed.shift)))
    double = stage(twice / (2**20 * c), zc)
    single = once_rounded(operands, sign, double)
    if single is None:
        return
    assert not single.double
    codes = np.arange(-128, 128, dtype=np.int64)
    wide = [rescale_double((codes - o.zero_point) << 20, o.multiplier, o.shift) for o in operands]
    narrow = [rescale_single(codes - o.zero_point, o.multiplier, o.shift - 20) for o in operands]
    wanted = rescale_double(
        wide[0][:, None] + sign * wide[1], double.multiplier[0], double.shift[0]
    )
    found = rescale_single(
        narrow[0][:, None] + sign * narrow[1], single.multiplier[0], single.shift[0]
    )
    ends = (-128 - zc, 127 - zc)
    assert np.array_equal(np.clip(wanted, *ends), np.clip(found, *ends))


def test_biases_that_saturate_come_nearer_and_others_stay():
    weight = np.array([[1, -2], [0, 0], [0, 0], [3, 4], [100, 27]])
    bias = np.array([2**30, 2**30, -(2**31), 500, 2**29], np.int32)
    near = Stage(np.array([2**31 - 1]), np.array([31]), 5, (-128, 127), True)
    kept = kept_in_range(bias, weight, near)
    assert kept[3:].tolist() == [500, 2**29]
    reach = 255 * np.abs(weight).sum(1)
    assert (np.abs(kept.astype(np.int64)) + reach < 2**30).all()
    for sign in (-1, 1):
        before, after = (
            np.clip(rescale_double(each.astype(np.int64) + sign * reach, 2**31 - 1, 31), -133, 122)
            for each in (bias, kept)
        )
        assert np.array_equal(before, after)


def test_equal_scales_round_once():
    half = quantize_multiplier(0.5)
    operand = Operand(0, 20, int(half.multiplier), int(half.shift))
    assert once_rounded([operand, operand], 1, stage(2 / 2**20, 0)) is not None
