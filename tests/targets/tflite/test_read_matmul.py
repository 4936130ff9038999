"""BATCH_MATMUL."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intaglio.errors import InputError
from tests.targets.tflite.one_operator import Judge, T, check, one, options, read

QUICK = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
small = st.integers(1, 4)


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    found = Judge(tmp_path_factory.mktemp("judge"))
    yield found
    found.close()


def turned(shape, adjoint):
    return (*shape[:-2], shape[-1], shape[-2]) if adjoint else shape


def product(batch, rows, inner, columns, first, second, kind):
    shapes = [turned((*batch, rows, inner), first), turned((*batch, inner, columns), second)]
    if kind == "float32":
        tensors = [T(shape) for shape in (*shapes, (*batch, rows, columns))]
    else:
        tensors = [
            T(shapes[0], "int8", scale=0.05, zero_point=-7),
            T(shapes[1], "int8", scale=0.03, zero_point=4),
            T((*batch, rows, columns), "int8", scale=0.4, zero_point=10),
        ]
    chosen = options("BatchMatMul", adjX=first, adjY=second)
    return one("BATCH_MATMUL", tensors[:2], tensors[2:], chosen, 1 if kind == "float32" else 2)


@QUICK
@given(st.lists(small, max_size=2), small, small, small, st.booleans(), st.booleans())
def test_products_of_real_numbers(judge, batch, rows, inner, columns, first, second):
    check(judge, product(batch, rows, inner, columns, first, second, "float32"), tolerance=1e-4)


@QUICK
@given(st.lists(small, max_size=2), small, small, small, st.booleans(), st.booleans())
def test_products_of_int8_tensors(judge, batch, rows, inner, columns, first, second):
    file = product(batch, rows, inner, columns, first, second, "int8")
    check(judge, file, integer=True, codes_off=1)


@pytest.mark.parametrize("adjoint", [False, True])
def test_a_product_with_constant_weights(judge, adjoint):
    rng = np.random.default_rng(0)
    shape = turned((5, 6), adjoint)
    weight = T(shape, "int8", rng.integers(-127, 128, shape).astype(np.int8), 0.02, 0)
    data = T((4, 5), "int8", scale=0.05, zero_point=-7)
    result = T((4, 6), "int8", scale=0.4, zero_point=10)
    chosen = options("BatchMatMul", adjY=adjoint)
    file = one("BATCH_MATMUL", [data, weight], [result], chosen, 2)
    check(judge, file, integer=True, codes_off=1)


def test_a_product_with_a_vector_is_an_error_of_the_file():
    file = one("BATCH_MATMUL", [T((4, 5)), T((5,))], [T((4,))], options("BatchMatMul"))
    with pytest.raises(InputError, match="tensor of 1 dimensions"):
        read(file)
