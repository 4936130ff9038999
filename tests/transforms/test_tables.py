from __future__ import annotations

import math
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from intaglio.transforms.scales import TensorQuantization
from intaglio.transforms.tables import (
    UNARY_FUNCTIONS,
    bind,
    lookup_int8,
    lookup_int16,
    round_half_away,
    table_int8,
    table_int16,
)


def quantization(dtype: str, scale: float, zero_point: int = 0) -> TensorQuantization:
    return TensorQuantization(dtype, (scale,), (zero_point,))


def half_away(x: float) -> int:
    return int(Decimal(x).quantize(Decimal(1), rounding=ROUND_HALF_UP))


# Name, attributes, and the ONNX definition on one Python float.
DEFINITIONS: list[tuple[str, dict[str, Any], Callable[[float], float]]] = [
    ("Relu", {}, lambda x: max(x, 0.0)),
    ("LeakyRelu", {}, lambda x: x if x >= 0 else 0.01 * x),
    ("LeakyRelu", {"alpha": 0.3}, lambda x: x if x >= 0 else 0.3 * x),
    ("ThresholdedRelu", {"alpha": 0.7}, lambda x: x if x > 0.7 else 0.0),
    ("ThresholdedRelu", {}, lambda x: x if x > 1.0 else 0.0),
    ("Clip", {}, lambda x: x),
    ("Clip", {"min": -1.0, "max": 2.5}, lambda x: min(max(x, -1.0), 2.5)),
    ("Clip", {"min": None, "max": 1.0}, lambda x: min(x, 1.0)),
    ("Clip", {"min": 2.0, "max": 1.0}, lambda x: 1.0),
    ("Sigmoid", {}, lambda x: 1 / (1 + math.exp(-x))),
    ("Tanh", {}, math.tanh),
    ("HardSigmoid", {}, lambda x: max(0.0, min(1.0, 0.2 * x + 0.5))),
    ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.4}, lambda x: max(0.0, min(1.0, x / 6 + 0.4))),
    ("HardSwish", {}, lambda x: x * max(0.0, min(1.0, x / 6 + 0.5))),
    ("Elu", {}, lambda x: x if x >= 0 else math.exp(x) - 1),
    ("Elu", {"alpha": 0.5}, lambda x: x if x >= 0 else 0.5 * (math.exp(x) - 1)),
    (
        "Selu",
        {},
        lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * (math.exp(x) - 1)),
    ),
    ("Celu", {"alpha": 2.0}, lambda x: max(0.0, x) + min(0.0, 2.0 * (math.exp(x / 2.0) - 1))),
    ("Softplus", {}, lambda x: math.log(math.exp(x) + 1)),
    ("Softsign", {}, lambda x: x / (1 + abs(x))),
    ("Mish", {}, lambda x: x * math.tanh(math.log(1 + math.exp(x)))),
    ("Swish", {"alpha": 1.7}, lambda x: x / (1 + math.exp(-1.7 * x))),
    ("Gelu", {}, lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2)))),
    (
        "Gelu",
        {"approximate": "tanh"},
        lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
    ("Erf", {}, math.erf),
    ("Exp", {}, math.exp),
    ("Reciprocal", {}, lambda x: 1 / x if x else math.inf),
    ("Abs", {}, abs),
    ("Neg", {}, lambda x: -x),
    ("Sign", {}, lambda x: float((x > 0) - (x < 0))),
    ("Floor", {}, math.floor),
    ("Ceil", {}, math.ceil),
    ("Round", {}, round),
    ("Sin", {}, math.sin),
    ("Cos", {}, math.cos),
    ("Add", {"constant": 1.5}, lambda x: x + 1.5),
    ("Sub", {"constant": 1.5}, lambda x: x - 1.5),
    ("Sub", {"constant": 1.5, "constant_is_first": True}, lambda x: 1.5 - x),
    ("Mul", {"constant": np.float32(-0.5)}, lambda x: x * -0.5),
    ("Div", {"constant": np.array([3.0])}, lambda x: x / 3.0),
    ("Div", {"constant": 1.0, "constant_is_first": True}, lambda x: 1 / x if x else math.inf),
    ("Pow", {"constant": 2.0}, lambda x: x**2),
    ("Pow", {"constant": 2.0, "constant_is_first": True}, lambda x: 2.0**x),
    ("Max", {"constant": 0.25}, lambda x: max(x, 0.25)),
    ("Min", {"constant": 0.25}, lambda x: min(x, 0.25)),
]
# Not defined for negative inputs; the zero point is put at the lower end for these.
POSITIVE: list[tuple[str, dict[str, Any], Callable[[float], float]]] = [
    ("Log", {}, lambda x: math.log(x) if x else -math.inf),
    ("Sqrt", {}, math.sqrt),
    ("Pow", {"constant": 0.5}, math.sqrt),
]


def test_every_function_has_a_definition_to_compare_with() -> None:
    assert {name for name, _, _ in DEFINITIONS + POSITIVE} == set(UNARY_FUNCTIONS)


@pytest.mark.parametrize(("name", "attributes", "definition"), DEFINITIONS + POSITIVE)
@pytest.mark.parametrize("output", [("int8", 0.031, -7), ("uint8", 1 / 256, 0), ("int8", 2.0, 100)])
def test_int8_table_is_the_function_rounded(
    name: str, attributes: dict, definition: Callable[[float], float], output: tuple
) -> None:
    positive = any(entry[0] is name and entry[1] is attributes for entry in POSITIVE)
    input_q = quantization("int8", 0.0421, -128 if positive else 5)
    output_q = quantization(*output)
    table = table_int8(bind(name, attributes), input_q, output_q)
    assert table.shape == (256,)
    assert table.dtype == output_q.numpy_dtype
    for index, entry in enumerate(table.tolist()):
        y = definition((index - 128 - input_q.zero_point[0]) * input_q.scale[0])
        steps = y / output_q.scale[0]
        if math.isinf(steps):
            assert entry == (output_q.maximum if steps > 0 else output_q.minimum)
            continue
        exact = half_away(steps) + output_q.zero_point[0]
        expected = min(max(exact, output_q.minimum), output_q.maximum)
        # Two correct evaluations may fall on either side of a half.
        on_a_tie = abs(abs(steps - math.trunc(steps)) - 0.5) < 1e-9
        assert entry == expected or (on_a_tie and abs(entry - expected) == 1), index


def test_int8_table_rounds_halves_away_from_zero_before_the_zero_point() -> None:
    input_q, output_q = quantization("int8", 1.0), quantization("int8", 2.0, 1)
    table = table_int8(lambda x: x, input_q, output_q)
    # -3, -1, 1, 3 are -1.5, -0.5, 0.5, 1.5 steps.
    assert [int(table[128 + x]) for x in (-3, -1, 0, 1, 3)] == [-1, 0, 1, 2, 3]


def test_unsigned_inputs_index_from_zero() -> None:
    table = table_int8(
        lambda x: x, quantization("uint8", 1.0, 128), quantization("uint8", 1.0, 128)
    )
    np.testing.assert_array_equal(table, np.arange(256))
    q = np.array([[0, 255], [128, 3]], np.uint8)
    np.testing.assert_array_equal(lookup_int8(q, table), q)


def test_lookup_int8_indexes_from_the_smallest_integer() -> None:
    table = np.arange(-128, 128).astype(np.int8)[::-1].copy()
    q = np.array([[-128, 127], [0, -1]], np.int8)
    result = lookup_int8(q, table)
    assert result.dtype == np.int8
    assert result.tolist() == [[127, -128], [-1, 0]]


def test_undefined_inputs_are_named() -> None:
    with pytest.raises(ValueError, match=r"input -64"):
        table_int8(np.log, quantization("int8", 0.5), quantization("int8", 1.0))
    with pytest.raises(ValueError, match=r"input -16384"):
        table_int16(np.sqrt, quantization("int16", 0.5), quantization("int16", 1.0))


def test_infinities_saturate() -> None:
    table = table_int8(bind("Log"), quantization("int8", 0.01, -128), quantization("int8", 0.1))
    assert table[0] == -128
    wide = table_int16(
        bind("Reciprocal"), quantization("int16", 1 / 32768), quantization("int16", 1 / 8)
    )
    assert wide.dtype == np.int16
    assert wide.max() > 4000


def lut_populate(function: Callable[[float], float], s_in: float, s_out: float) -> list[int]:
    """TensorFlow Lite's 16-bit LUTPopulate in its own loop, every operation on float32."""
    f = np.float32
    low, high = f(s_in) * f(-32768), f(s_in) * f(32767)
    step = (high - low) / f(512)
    gain = f(65536) / (f(s_out) * f(32767) - f(s_out) * f(-32768))

    def value(x: np.float32) -> np.float32:
        return f(function(float(x)))

    table = []
    for i in range(512):
        sample = f(half_away(float(value(low + f(i) * step) * gain)))
        middle = f(half_away(float(value(low + f(i) * step + step / f(2)) * gain)))
        following = value(low + f(i + 1) * step) * gain
        interpolated = f(half_away(float((following + sample) / f(2))))
        bias = half_away(float((interpolated - middle) / f(2)))
        table.append(min(max(int(sample) - bias, -32768), 32767))
    table.append(min(max(half_away(float(value(high) * gain)), -32768), 32767))
    return table


@pytest.mark.parametrize(
    ("name", "s_in", "s_out"),
    [("Tanh", 8 / 32768, 1 / 32768), ("Gelu", 5 / 32768, 5 / 32768), ("Exp", 3e-4, 2e-2)],
)
def test_int16_table_is_that_of_lut_populate(name: str, s_in: float, s_out: float) -> None:
    definition = next(d for n, a, d in DEFINITIONS if n == name and not a)
    input_q, output_q = quantization("int16", s_in), quantization("int16", s_out)
    table = table_int16(bind(name), input_q, output_q)
    expected = lut_populate(definition, input_q.scale[0], output_q.scale[0])
    np.testing.assert_array_equal(table, expected)


@pytest.mark.parametrize(("name", "tolerance"), [("Tanh", 8), ("Sigmoid", 8), ("HardSwish", 8)])
def test_int16_lookup_follows_the_function(name: str, tolerance: int) -> None:
    input_q, output_q = quantization("int16", 6 / 32768), quantization("int16", 6 / 32768)
    table = table_int16(bind(name), input_q, output_q)
    q = np.arange(-32768, 32768).astype(np.int16)
    real = bind(name)(q.astype(np.float64) * input_q.scale[0])
    exact = np.clip(np.rint(real / output_q.scale[0]), -32768, 32767)
    # The points of LUTPopulate are spaced by 65535/512 instead of 128, which costs a few steps.
    assert np.abs(lookup_int16(q, table) - exact).max() <= tolerance


@settings(max_examples=200, deadline=None)
@given(st.integers(-32768, 32767), st.integers(0, 2**32 - 1))
@example(32767, 0)
@example(-32768, 0)
def test_lookup_int16_interpolates_in_integers(q: int, seed: int) -> None:
    table = np.random.default_rng(seed).integers(-32768, 32768, 513).astype(np.int16)
    index, offset = divmod(q + 32768, 128)
    base, following = int(table[index]), int(table[index + 1])
    expected = base + math.floor((following - base) * offset / 128 + 0.5)
    assert lookup_int16(np.array([q], np.int16), table).tolist() == [expected]


def test_lookup_int16_rounds_halves_upward() -> None:
    table = np.zeros(513, np.int16)
    table[257] = 1  # rises to 1 at q = 128 and falls again
    q = np.array([0, 63, 64, 128, 192, 193], np.int16)
    assert lookup_int16(q, table).tolist() == [0, 0, 1, 1, 1, 0]


def test_tables_refuse_other_types() -> None:
    int8, int16 = quantization("int8", 1.0), quantization("int16", 1.0)
    per_channel = TensorQuantization("int8", (1.0, 1.0), (0, 0), axis=0)
    for pair in ((int16, int8), (int8, int16), (per_channel, int8)):
        with pytest.raises(ValueError, match="of a table"):
            table_int8(bind("Relu"), *pair)
    with pytest.raises(ValueError, match="zero point 0"):
        table_int16(bind("Relu"), quantization("int16", 1.0, 1), int16)
    with pytest.raises(ValueError, match="look int16 up"):
        lookup_int8(np.zeros(3, np.int16), np.zeros(256, np.int8))
    with pytest.raises(ValueError, match="look int16 up"):
        lookup_int16(np.zeros(3, np.int16), np.zeros(512, np.int16))


def test_unknown_functions_and_attributes_are_refused() -> None:
    with pytest.raises(ValueError, match="Softmax"):
        bind("Softmax")
    with pytest.raises(ValueError, match="beta"):
        bind("LeakyRelu", {"beta": 1.0})(np.zeros(1))
    with pytest.raises(ValueError, match="constant"):
        bind("Add")(np.zeros(1))
    with pytest.raises(ValueError, match="2 values"):
        bind("Add", {"constant": [1.0, 2.0]})(np.zeros(1))
    with pytest.raises(ValueError, match="quick"):
        bind("Gelu", {"approximate": "quick"})(np.zeros(1))


def test_functions_stay_finite_far_out() -> None:
    x = np.array([-1e4, 1e4])
    np.testing.assert_array_equal(bind("Sigmoid")(x), [0.0, 1.0])
    np.testing.assert_array_equal(bind("Softplus")(x), [0.0, 1e4])
    np.testing.assert_array_equal(bind("Mish")(x), [0.0, 1e4])
    np.testing.assert_array_equal(bind("Celu")(x), [-1.0, 1e4])
    np.testing.assert_array_equal(bind("Elu")(x), [-1.0, 1e4])


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e15, 1e15))
@example(0.5)
@example(-0.5)
@example(math.nextafter(0.5, 0.0))
@example(-2.5)
def test_round_half_away_is_exact(x: float) -> None:
    assert round_half_away(x) == half_away(x)
