"""Reductions: read, they compute what LiteRT computes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intaglio.errors import InputError
from tests.targets.tflite.one_operator import Judge, T, check, constant, one, options, read

QUICK = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NAMES = ["MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"]
INT8 = {"dtype": "int8", "scale": 0.05, "zero_point": -7}


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    found = Judge(tmp_path_factory.mktemp("judge"))
    yield found
    found.close()


def reduced(shape, axes, keep):
    gone = {a % len(shape) for a in axes}
    if keep:
        return [1 if a in gone else d for a, d in enumerate(shape)]
    return [d for a, d in enumerate(shape) if a not in gone]


def draw_axes(data, rank):
    places = st.lists(st.integers(0, rank - 1), min_size=1, max_size=rank, unique=True)
    return [a - rank if data.draw(st.booleans()) else a for a in data.draw(places)]


@pytest.mark.parametrize("name", NAMES)
@QUICK
@given(st.data(), st.lists(st.integers(1, 4), min_size=1, max_size=4), st.booleans())
def test_a_reduction_of_real_numbers(judge, name, data, shape, keep):
    axes = draw_axes(data, len(shape))
    chosen = options("Reducer", keepDims=keep)
    file = one(name, [T(shape), constant(axes)], [T(reduced(shape, axes, keep))], chosen)
    exact = name in ("REDUCE_MAX", "REDUCE_MIN")
    check(judge, file, tolerance=0.0 if exact else 1e-5)


@QUICK
@given(st.data(), st.lists(st.integers(1, 4), min_size=1, max_size=4), st.booleans())
def test_an_int8_mean(judge, data, shape, keep):
    axes = draw_axes(data, len(shape))
    result = T(reduced(shape, axes, keep), "int8", scale=0.03, zero_point=4)
    chosen = options("Reducer", keepDims=keep)
    file = one("MEAN", [T(shape, **INT8), constant(axes)], [result], chosen, 2)
    check(judge, file, integer=True, codes_off=1)


@pytest.mark.parametrize("name", ["REDUCE_MAX", "REDUCE_MIN"])
def test_int8_extremes_are_those_of_the_integers(judge, name):
    inputs = [T((2, 3, 4), **INT8), constant([1])]
    file = one(name, inputs, [T((2, 4), **INT8)], options("Reducer"), 2)
    check(judge, file, integer=True)


def test_an_int8_sum(judge):
    inputs = [T((2, 3, 4), **INT8), constant([1])]
    result = T((2, 4), "int8", scale=0.1, zero_point=4)
    # LiteRT 2.3 takes int8 for uint8 here: of negative integers it makes another sum.
    codes = np.random.default_rng(0).integers(0, 30, (2, 3, 4)).astype(np.int8)
    file = one("SUM", inputs, [result], options("Reducer"), 2)
    check(judge, file, integer=True, codes_off=1, inputs=[codes])


@pytest.mark.parametrize("name", ["SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"])
def test_a_reduction_of_plain_integers(judge, name):
    inputs = [T((2, 3), "int32"), constant([1])]
    check(judge, one(name, inputs, [T((2,), "int32")], options("Reducer")))


def test_one_axis_may_be_a_scalar(judge):
    check(
        judge, one("SUM", [T((2, 3)), constant(1)], [T((2,))], options("Reducer")), tolerance=1e-5
    )


def test_a_reduction_over_no_axes_changes_nothing(judge):
    inputs = [T((2, 3)), T((0,), "int32", [])]
    model = read(one("REDUCE_MAX", inputs, [T((2, 3))], options("Reducer")))
    assert [n.op_type for n in model.graph] == ["Identity"]


@pytest.mark.parametrize("kind", ["float32", "int8", "int32"])
@pytest.mark.parametrize("name", ["ARG_MAX", "ARG_MIN"])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_the_place_of_the_extreme(judge, name, kind, dtype):
    data = T((3, 4, 5), **INT8) if kind == "int8" else T((3, 4, 5), kind)
    chosen = options(
        "ArgMax" if name == "ARG_MAX" else "ArgMin", outputType=2 if dtype == "int32" else 4
    )
    for axis in (0, -2, 2):
        result = reduced((3, 4, 5), [axis], False)
        check(judge, one(name, [data, constant(axis)], [T(result, dtype)], chosen))


def test_an_axis_that_is_not_there_is_an_error_of_the_file():
    file = one("MEAN", [T((2, 3)), constant([2])], [T((2,))], options("Reducer"))
    with pytest.raises(InputError, match="MEAN 't2' has axis 2 for a tensor of 2 dimensions"):
        read(file)
