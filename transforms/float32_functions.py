"""Real functions with the float32 roundings of TensorFlow Lite's table generators.

Each step of the C++ expression is narrowed to float32; what the C library computes (``exp``,
``tanh``, ``erfc``, ...) is evaluated in float64 and rounded once, which a good C library does, too.
Sources: ``activations.cc`` and ``elementwise.cc`` of LiteRT, ``elu.cc`` of TensorFlow Lite Micro,
``reference/gelu.h``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
Float32 = NDArray[np.float32]

_ONE, _HALF = np.float32(1), np.float32(0.5)
_SQRT_HALF = np.float32(math.sqrt(0.5))
_SQRT_2_OVER_PI = np.float32(1.12837916709551257390 * 0.70710678118654752440)
_CUBIC = np.float32(0.044715)


def sigmoid(x: Real) -> Real:
    """``1 / (1 + exp(-x))``.

    Args:
        x: real values, narrowed to float32 first.

    Returns:
        float32 values as float64, the shape of ``x``.
    """
    return _wide(_ONE / (_ONE + _narrow(np.exp, -_float32(x))))


def tanh(x: Real) -> Real:
    """``tanh(x)``; arguments as :func:`sigmoid`."""
    return _wide(_narrow(np.tanh, _float32(x)))


def exp(x: Real) -> Real:
    """``exp(x)``; arguments as :func:`sigmoid`."""
    return _wide(_narrow(np.exp, _float32(x)))


def elu(x: Real) -> Real:
    """``expm1(x)`` for negative inputs; arguments as :func:`sigmoid`."""
    narrow = _float32(x)
    return _wide(np.where(narrow < 0, _narrow(np.expm1, narrow), narrow))


def elu_exp_minus_one(x: Real) -> Real:
    """``exp(x) - 1`` for negative inputs; arguments as :func:`sigmoid`."""
    narrow = _float32(x)
    return _wide(np.where(narrow < 0, _narrow(np.exp, narrow) - _ONE, narrow))


def gelu(x: Real) -> Real:
    """``0.5 x erfc(-x / sqrt(2))``; arguments as :func:`sigmoid`."""
    narrow = _float32(x)
    return _wide(_HALF * narrow * _narrow(_erfc, narrow * -_SQRT_HALF))


def gelu_tanh(x: Real) -> Real:
    """``0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))``; arguments as :func:`sigmoid`."""
    narrow = _float32(x)
    inner = _SQRT_2_OVER_PI * (narrow + _CUBIC * narrow * narrow * narrow)
    return _wide(_HALF * narrow * (_ONE + _narrow(np.tanh, inner)))


def log_above(lowest: float) -> Callable[[Real], Real]:
    """``log(x)``, and ``lowest`` where ``x`` is not positive.

    Args:
        lowest: the smallest real value of the output.

    Returns:
        A function with the arguments of :func:`sigmoid`.
    """

    def log(x: Real) -> Real:
        narrow = _float32(x)
        positive = narrow > 0
        found = _narrow(np.log, np.where(positive, narrow, _ONE))
        return _wide(np.where(positive, found, np.float32(lowest)))

    return log


def _float32(x: Real) -> Float32:
    with np.errstate(over="ignore"):
        return np.asarray(x).astype(np.float32)


def _narrow(function: Callable[[Any], Any], x: Float32) -> Float32:
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(function(x.astype(np.float64))).astype(np.float32)


def _wide(x: Float32) -> Real:
    return np.asarray(x).astype(np.float64)


def _erfc(x: Real) -> Real:
    return np.array([math.erfc(v) for v in x.reshape(-1)], np.float64).reshape(x.shape)
