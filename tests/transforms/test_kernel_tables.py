"""The kernels' tables against the kernels on Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from intaglio.transforms.fixed_point import quantize_multiplier, rescale_double, rescale_single
from intaglio.transforms.kernel_tables import abs_table, hard_swish_table, leaky_relu_table
from intaglio.transforms.scales import TensorQuantization
from intaglio.transforms.tables import bind, table_int8

# Not below 1/128 of each other, which HARD_SWISH refuses.
SCALE = st.floats(4e-3, 0.5)
ZERO_POINT = st.integers(-128, 127)


def quantization(scale: float, zero_point: int = 0, dtype: str = "int8") -> TensorQuantization:
    return TensorQuantization(dtype, (scale,), (zero_point,))


def clamp(value: int, bits: int = 8) -> int:
    return min(max(value, -(1 << (bits - 1))), (1 << (bits - 1)) - 1)


def divide_by_pot(x: int, exponent: int) -> int:
    magnitude = (abs(x) + ((1 << exponent) >> 1)) >> exponent
    return magnitude if x >= 0 else -magnitude


def high_mul_int16(a: int, b: int) -> int:
    product = a * b
    nudged = product + (1 << 14 if product >= 0 else 1 - (1 << 14))
    return nudged // 32768 if nudged >= 0 else -(-nudged // 32768)


def hard_swish_kernel(q: int, input_q: TensorQuantization, output_q: TensorQuantization) -> int:
    """reference_ops::HardSwish, one element, 16-bit integers."""
    f = np.float32
    fine = f(1 / 128) * f(input_q.scale[0])
    reduced = []
    for ratio in (fine / f(output_q.scale[0]), fine / f(3 / 32768)):
        fixed = quantize_multiplier(float(ratio))
        m = int(fixed.multiplier)
        reduced.append((min((m + 2**15) >> 16, 32767), 31 - int(fixed.shift)))
    (output_multiplier, output_exponent), (gate_multiplier, gate_exponent) = reduced
    x = (q - input_q.zero_point[0]) * 128
    scaled = high_mul_int16(x, output_multiplier)
    gate = x
    if gate_exponent > 0:
        gate = clamp(gate * 2 ** (gate_exponent - 1), 16)
    gate = high_mul_int16(gate, gate_multiplier)
    if gate_exponent > 0:
        gate = clamp(gate * 2, 16)
    if gate_exponent < 0:
        gate = divide_by_pot(gate, -gate_exponent)
    gate = (gate + 32768) >> 1
    product = int(gate * scaled / 32768)  # exact in a double; int() truncates like C
    return clamp(divide_by_pot(product, -output_exponent) + output_q.zero_point[0])


@settings(max_examples=20, deadline=None)
@given(SCALE, ZERO_POINT, SCALE, ZERO_POINT)
@example(0.5, 0, 0.004, -128)
@example(0.002, 5, 0.5, 0)
@example(3 / 256, 0, 3 / 256, 0)
def test_hard_swish(s_in: float, z_in: int, s_out: float, z_out: int) -> None:
    input_q, output_q = quantization(s_in, z_in), quantization(s_out, z_out)
    table = hard_swish_table(input_q, output_q)
    assert table.dtype == np.int8
    assert table.tolist() == [hard_swish_kernel(q, input_q, output_q) for q in range(-128, 128)]


@pytest.mark.parametrize("s_out", [0.03, 0.2])
def test_hard_swish_is_the_function_to_a_step(s_out: float) -> None:
    input_q, output_q = quantization(0.05, 3), quantization(s_out, -100)
    exact = table_int8(bind("HardSwish"), input_q, output_q).astype(int)
    assert np.abs(hard_swish_table(input_q, output_q) - exact).max() == 1


@settings(max_examples=20, deadline=None)
@given(SCALE, ZERO_POINT, SCALE, ZERO_POINT, st.floats(0, 2), st.booleans())
@example(1.0, 0, 2.0, 0, 0.5, True)
def test_leaky_relu(
    s_in: float, z_in: int, s_out: float, z_out: int, alpha: float, double: bool
) -> None:
    input_q, output_q = quantization(s_in, z_in), quantization(s_out, z_out)
    table = leaky_relu_table(input_q, output_q, alpha, "double" if double else "single")
    one = rescale_double if double else rescale_single
    ratio = input_q.scale[0] / output_q.scale[0]
    slope = input_q.scale[0] * float(np.float32(alpha)) / output_q.scale[0]
    for q, entry in enumerate(table.tolist(), start=-128):
        fixed = quantize_multiplier(ratio if q >= z_in else slope)
        scaled = int(one(q - z_in, fixed.multiplier, fixed.shift))
        assert entry == clamp(scaled + z_out), q


def test_leaky_relu_by_hand() -> None:
    # Halves: double rounds them away from zero, single upward.
    double = leaky_relu_table(quantization(1.0), quantization(2.0), 0.5)
    single = leaky_relu_table(quantization(1.0), quantization(2.0), 0.5, "single")
    for q, away, upward in ((-6, -2, -1), (-2, -1, 0), (-4, -1, -1), (0, 0, 0), (3, 2, 2)):
        assert (int(double[q + 128]), int(single[q + 128])) == (away, upward), q


def test_unsigned_tables_equal_signed_ones_shifted_by_128() -> None:
    signed = quantization(0.04, 10), quantization(0.03, -20)
    unsigned = quantization(0.04, 138, "uint8"), quantization(0.03, 108, "uint8")
    for make in (hard_swish_table, lambda i, o: leaky_relu_table(i, o, 0.1)):
        assert (make(*unsigned).astype(int) - 128).tolist() == make(*signed).tolist()


def test_unfit_types_and_scales_are_refused() -> None:
    for pair in (
        (quantization(1.0), quantization(1.0, dtype="uint8")),
        (quantization(1.0, dtype="int16"), quantization(1.0, dtype="int16")),
    ):
        with pytest.raises(ValueError, match="both"):
            hard_swish_table(*pair)
        with pytest.raises(ValueError, match="both"):
            leaky_relu_table(*pair, 0.1)
    with pytest.raises(ValueError, match="1/128"):
        hard_swish_table(quantization(1.0), quantization(0.001))


def test_negative_slopes_turn_negative_inputs_upward() -> None:
    table = leaky_relu_table(quantization(1.0), quantization(1.0), -0.5)
    # -3 * -0.5 is a tie: away from zero.
    assert [int(table[q + 128]) for q in (-4, -3, 0, 5)] == [2, 2, 0, 5]


def test_magnitudes_saturate() -> None:
    table = abs_table(quantization(1.0), quantization(1.0))
    assert [int(table[q + 128]) for q in (-128, -7, 0, 7)] == [127, 7, 0, 7]


def test_a_narrow_quotient_is_that_of_float32() -> None:
    # 5/6 in float32 is below 5/6: three times it is below the tie.
    pair = quantization(5.0), quantization(6.0)
    wide, narrow = abs_table(*pair), abs_table(*pair, narrow=True)
    assert (int(wide[128 + 3]), int(narrow[128 + 3])) == (3, 2)
