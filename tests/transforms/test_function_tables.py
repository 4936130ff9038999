"""What a profile's kernels compute for one function of one tensor."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.transforms import float32_functions
from intaglio.transforms.function_tables import function_table, function_table_int16
from intaglio.transforms.profiles import get_profile
from intaglio.transforms.scales import TensorQuantization
from intaglio.transforms.tables import bind, table_int8, table_int8_float32

X = np.linspace(-12, 12, 4001)


def q(scale: float, zero_point: int = 0, dtype: str = "int8") -> TensorQuantization:
    return TensorQuantization(dtype, (scale,), (zero_point,))


@pytest.mark.parametrize(
    ("narrow", "operator", "attributes"),
    [
        (float32_functions.sigmoid, "Sigmoid", {}),
        (float32_functions.tanh, "Tanh", {}),
        (float32_functions.exp, "Exp", {}),
        (float32_functions.elu, "Elu", {}),
        (float32_functions.elu_exp_minus_one, "Elu", {}),
        (float32_functions.gelu, "Gelu", {}),
        (float32_functions.gelu_tanh, "Gelu", {"approximate": "tanh"}),
    ],
)
def test_float32_functions_are_the_real_ones_to_float32(narrow, operator, attributes) -> None:
    real = bind(operator, attributes)(X.astype(np.float32).astype(np.float64))
    found = narrow(X)
    assert (found == found.astype(np.float32)).all()
    np.testing.assert_allclose(found, real, rtol=1e-5, atol=2e-6)


def test_the_logarithm_of_nothing_is_the_lowest_number() -> None:
    log = float32_functions.log_above(-7.5)
    assert log(np.array([-1.0, 0.0])).tolist() == [-7.5, -7.5]
    assert log(np.array([1.0])).tolist() == [0.0]


def test_tables_in_float32_differ_from_rounded_ones_in_ties_alone() -> None:
    pair = q(0.05, 3), q(0.01, -20)
    wide, narrow = table_int8(np.tanh, *pair), table_int8_float32(np.tanh, *pair)
    assert np.abs(wide.astype(int) - narrow).max() <= 1
    assert (wide != narrow).mean() < 0.02


def test_tables_in_float32_multiply_with_the_reciprocal() -> None:
    # 0.5 / 5 is a tenth; the reciprocal of 5 in float32 is above a fifth: 2.5 of them is above 1/2.
    pair = q(5.0), q(10.0)
    step = np.float32(1) / np.float32(10.0)
    expected = [int(np.trunc(np.float32(5 * k) * step + np.float32(0.5))) for k in range(20)]
    assert table_int8_float32(lambda x: x, *pair)[128:148].tolist() == expected


@pytest.mark.parametrize(
    "operator", ["Sigmoid", "Tanh", "Elu", "Gelu", "Exp", "Abs", "LeakyRelu", "HardSwish"]
)
@pytest.mark.parametrize("profile", ["tflm", "litert"])
def test_kernels_are_within_two_steps_of_the_real_function(operator, profile) -> None:
    output = {"Sigmoid": q(1 / 256, -128), "Tanh": q(1 / 128)}.get(operator, q(0.06, -10))
    source = q(0.04, 5)
    found = function_table(operator, {}, source, output, get_profile(profile))
    expected = table_int8(bind(operator), source, output).astype(int)
    if found is None:
        assert (operator, profile) in {("Gelu", "tflm"), ("Exp", "tflm")}
        return
    assert np.abs(found.astype(int) - expected).max() <= 2


def test_profiles_choose_the_kernel() -> None:
    source = q(0.05)
    micro, lite = get_profile("tflm"), get_profile("litert")
    assert function_table("Sigmoid", {}, source, q(0.01), micro) is None
    assert function_table("Sigmoid", {}, source, q(0.01), lite) is not None
    assert function_table("Softplus", {}, source, q(0.01), lite) is None
    assert function_table("Elu", {"alpha": 0.5}, source, q(0.01), micro) is None
    assert function_table("Sigmoid", {}, source, q(0.01), get_profile("tosa-single")) is None
    wide = q(1e-4, dtype="int16")
    assert function_table_int16("Gelu", {}, wide, wide, micro) is None
    table = function_table_int16("Gelu", {}, wide, wide, lite)
    assert table is not None
    assert table.shape == (513,)
    assert function_table_int16("Sigmoid", {}, wide, wide, lite) is None
