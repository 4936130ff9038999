"""The integer LOGISTIC and TANH: near the real functions, symmetric, saturating."""

from __future__ import annotations

import math

import numpy as np
import pytest

from intaglio.transforms.logistic import (
    SIGMOID_TABLE,
    logistic_int16,
    logistic_scale,
    logistic_table,
    tanh_int16,
    tanh_scale,
    tanh_table,
)
from intaglio.transforms.scales import TensorQuantization

EVERY = np.arange(-32768, 32768).astype(np.int16)


def int8(scale: float, zero_point: int = 0) -> TensorQuantization:
    return TensorQuantization("int8", (scale,), (zero_point,))


@pytest.mark.parametrize("scale", [0.001, 0.02, 1 / 16, 0.5, 3.0])
@pytest.mark.parametrize("zero_point", [-128, -5, 0, 127])
def test_8_bit_tables_are_within_one_step(scale: float, zero_point: int) -> None:
    x = (np.arange(-128, 128) - zero_point) * scale
    logistic = np.clip(256.0 / (1 + np.exp(np.clip(-x, -700, 700))) - 128, -128, 127)
    assert np.abs(logistic_table(int8(scale, zero_point)) - logistic).max() < 1
    tanh = np.clip(128.0 * np.tanh(x), -128, 127)
    assert np.abs(tanh_table(int8(scale, zero_point)) - tanh).max() < 1


def test_8_bit_tables_have_exact_middles() -> None:
    assert logistic_table(int8(0.1))[128] == 0
    assert tanh_table(int8(0.1))[128] == 0


def test_other_types_and_scales_are_refused() -> None:
    with pytest.raises(ValueError, match="int8"):
        logistic_table(TensorQuantization("int16", (0.1,), (0,)))
    with pytest.raises(ValueError, match="too small"):
        tanh_table(int8(2.0**-30))
    for constants in (logistic_scale, tanh_scale):
        with pytest.raises(ValueError, match="too large"):
            constants(2.7)


def test_the_table_of_sigmoids() -> None:
    real = [65536 / (1 + math.exp(-i / 24)) for i in range(256)]
    assert np.abs(np.array(SIGMOID_TABLE) - np.array(real)).max() <= 1.3


@pytest.mark.parametrize("scale", [2.0**-12, 2.0**-11, 1e-4, 3.3e-4, 0.01, 2.5])
def test_16_bit_functions_are_near_the_real_ones(scale: float) -> None:
    x = EVERY * scale
    with np.errstate(over="ignore"):
        logistic = 32768.0 / (1 + np.exp(-x))
    error = np.abs(logistic_int16(EVERY, logistic_scale(scale)) - logistic)
    assert error.max() < 5
    error = np.abs(tanh_int16(EVERY, tanh_scale(scale)) - 32768.0 * np.tanh(x))
    assert error.max() < 20


@pytest.mark.parametrize("constants", [logistic_scale, tanh_scale])
def test_the_multiplier_has_15_bits(constants) -> None:
    for scale in (1e-6, 1e-3, 0.1, 1.0):
        found = constants(scale)
        assert 1 << 14 <= found.multiplier < 1 << 15
        assert found.multiplier * 2.0**-found.shift == pytest.approx(scale * 12288, rel=1e-4)
