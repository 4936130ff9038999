"""LOGISTIC and TANH in integers, as TensorFlow Lite's fixed-point kernels compute them.

8 bits: the input in Q4.27, gemmlowp's exponential and Newton-Raphson division, rounded to 1/256 or
1/128 (``reference_integer_ops::Logistic`` and ``Tanh`` of int8: TensorFlow Lite Micro).

16 bits: ``sigmoid`` at multiples of 1/24 in 256 entries, linear in between;
``tanh(x) = 2*sigmoid(2x) - 1`` (the int16 overloads, in both runtimes). The input is brought to
units of 1/12288 by a 15-bit multiplier. Outputs have scale 1/32768.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from intaglio.transforms.scales import TensorQuantization
from intaglio.transforms.softmax import (
    exp_on_negative_values,
    one_minus_x_over_one_plus_x,
    one_over_one_plus_x,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)

#: Output of the 8-bit kernels: scale and zero point.
LOGISTIC_OUTPUT = (1 / 256, -128)
TANH_OUTPUT = (1 / 128, 0)
#: Output scale of the 16-bit kernels, zero point 0.
INT16_OUTPUT_SCALE = 1 / 32768

_INTEGER_BITS = 4
_ONE = (1 << 31) - 1

#: sigmoid(i / 24) in Q0.16.
SIGMOID_TABLE: tuple[int, ...] = (
    32768, 33451, 34133, 34813, 35493, 36169, 36843, 37513, 38180, 38841, 39498, 40149, 40794,
    41432, 42064, 42688, 43304, 43912, 44511, 45102, 45683, 46255, 46817, 47369, 47911, 48443,
    48964, 49475, 49975, 50464, 50942, 51409, 51865, 52311, 52745, 53169, 53581, 53983, 54374,
    54755, 55125, 55485, 55834, 56174, 56503, 56823, 57133, 57433, 57724, 58007, 58280, 58544,
    58800, 59048, 59288, 59519, 59743, 59959, 60168, 60370, 60565, 60753, 60935, 61110, 61279,
    61441, 61599, 61750, 61896, 62036, 62172, 62302, 62428, 62549, 62666, 62778, 62886, 62990,
    63090, 63186, 63279, 63368, 63454, 63536, 63615, 63691, 63765, 63835, 63903, 63968, 64030,
    64090, 64148, 64204, 64257, 64308, 64357, 64405, 64450, 64494, 64536, 64576, 64614, 64652,
    64687, 64721, 64754, 64786, 64816, 64845, 64873, 64900, 64926, 64950, 64974, 64997, 65019,
    65039, 65060, 65079, 65097, 65115, 65132, 65149, 65164, 65179, 65194, 65208, 65221, 65234,
    65246, 65258, 65269, 65280, 65291, 65301, 65310, 65319, 65328, 65337, 65345, 65352, 65360,
    65367, 65374, 65381, 65387, 65393, 65399, 65404, 65410, 65415, 65420, 65425, 65429, 65433,
    65438, 65442, 65445, 65449, 65453, 65456, 65459, 65462, 65465, 65468, 65471, 65474, 65476,
    65479, 65481, 65483, 65485, 65488, 65489, 65491, 65493, 65495, 65497, 65498, 65500, 65501,
    65503, 65504, 65505, 65507, 65508, 65509, 65510, 65511, 65512, 65513, 65514, 65515, 65516,
    65517, 65517, 65518, 65519, 65520, 65520, 65521, 65522, 65522, 65523, 65523, 65524, 65524,
    65525, 65525, 65526, 65526, 65526, 65527, 65527, 65528, 65528, 65528, 65529, 65529, 65529,
    65529, 65530, 65530, 65530, 65530, 65531, 65531, 65531, 65531, 65531, 65532, 65532, 65532,
    65532, 65532, 65532, 65533, 65533, 65533, 65533, 65533, 65533, 65533, 65533, 65534, 65534,
    65534, 65534, 65534, 65534, 65534, 65534, 65534, 65534, 65535,
)  # fmt: skip


class SigmoidScale(NamedTuple):
    """How a 16-bit input is brought to units of 1/12288: ``(q*multiplier + half) >> shift``.

    Attributes:
        multiplier: at most 32767.
        shift: right shift, 0..31.
    """

    multiplier: int
    shift: int


def logistic_table(input_q: TensorQuantization) -> NDArray[np.int8]:
    """LOGISTIC of every int8 input, with scale 1/256 and zero point -128.

    Args:
        input_q: int8, per tensor.

    Returns:
        256 entries, indexed by ``q + 128``.

    Raises:
        ValueError: the type does not fit, or the scale is beyond the kernel's.
    """
    inside, value = _scaled_inputs(input_q)
    positive = one_over_one_plus_x(exp_on_negative_values(-np.abs(value), _INTEGER_BITS))
    result = np.where(value > 0, positive, _ONE - positive)
    result = np.where(value == 0, 1 << 30, result)
    levels = rounding_divide_by_pot(result, 31 - 8) - 128
    return _finish(inside, levels)


def tanh_table(input_q: TensorQuantization) -> NDArray[np.int8]:
    """TANH of every int8 input, with scale 1/128 and zero point 0.

    Args, result and errors are those of :func:`logistic_table`.
    """
    inside, value = _scaled_inputs(input_q)
    # -2|x| in Q5.26 is -|x| in Q4.27, read with one integer bit more.
    magnitude = one_minus_x_over_one_plus_x(
        exp_on_negative_values(-np.abs(value), _INTEGER_BITS + 1)
    )
    result = np.where(value < 0, -magnitude, magnitude)
    result = np.where(value == 0, 0, result)
    return _finish(inside, rounding_divide_by_pot(result, 31 - 7))


def logistic_scale(input_scale: float) -> SigmoidScale:
    """Constants of the 16-bit LOGISTIC.

    Args:
        input_scale: float32 scale of the input, zero point 0; below 2.6, as the kernel's multiplier
            has 15 bits.

    Returns:
        Multiplier and shift. A scale of 2^-12 has the multiplier 3 and no rounding.

    Raises:
        ValueError: the scale is too large.
    """
    return SigmoidScale(3, 0) if input_scale == 2.0**-12 else _general_scale(input_scale)


def tanh_scale(input_scale: float) -> SigmoidScale:
    """Constants of the 16-bit TANH; powers of two are 2^-12 and 2^-11 here.

    Args, result and errors are those of :func:`logistic_scale`.
    """
    exact = {2.0**-12: 3, 2.0**-11: 6}
    if input_scale in exact:
        return SigmoidScale(exact[input_scale], 0)
    return _general_scale(input_scale)


def logistic_int16(q: ArrayLike, scale: SigmoidScale) -> NDArray[np.int16]:
    """LOGISTIC of int16.

    Args:
        q: int16, any shape.
        scale: of :func:`logistic_scale`.

    Returns:
        int16, the shape of ``q``, scale 1/32768.
    """
    value = _scale_int16(q, scale)
    size = np.abs(value)
    table = np.array(SIGMOID_TABLE, np.int64)
    index = np.minimum(size >> 9, 254)
    result = (table[index] << 9) + (size & 511) * (table[index + 1] - table[index])
    result = np.where(size >> 9 >= 255, 0x7FFF << 10, result)
    result = np.where(value >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1)
    return np.asarray((result >> 10).astype(np.int16))


def tanh_int16(q: ArrayLike, scale: SigmoidScale) -> NDArray[np.int16]:
    """TANH of int16.

    Args:
        q: int16, any shape.
        scale: of :func:`tanh_scale`.

    Returns:
        int16, the shape of ``q``, scale 1/32768.
    """
    value = _scale_int16(q, scale)
    size = np.abs(value)
    table = np.array(SIGMOID_TABLE, np.int64)
    index = np.minimum(size >> 8, 254)
    result = (table[index] << 8) + (size & 255) * (table[index + 1] - table[index])
    result = np.where(size >> 8 >= 255, 0xFFFF << 8, result)
    half, nudge = 1 << 23, 1 << 7
    result = np.where(value >= 0, result - half + nudge, -result + half + nudge - 1)
    return np.asarray((result >> 8).astype(np.int16))


def _general_scale(input_scale: float) -> SigmoidScale:
    multiplier, shift = float(np.float32(input_scale)) * 4096.0 * 3.0, 0
    while multiplier <= 32767.0 / 2.0 and shift <= 30:
        multiplier, shift = multiplier * 2.0, shift + 1
    if multiplier >= 32768.0:
        raise ValueError(f"an input scale of {input_scale:g} is too large for the 16-bit kernel")
    return SigmoidScale(int(multiplier), shift)


def _scale_int16(q: ArrayLike, scale: SigmoidScale) -> NDArray[np.int64]:
    half = 1 << (scale.shift - 1) if scale.shift > 0 else 0
    return np.asarray((np.asarray(q).astype(np.int64) * scale.multiplier + half) >> scale.shift)


def _scaled_inputs(input_q: TensorQuantization) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each input -1, 0 or 1 (below, in, above the range of Q4.27), and its value there."""
    if input_q.dtype != "int8" or input_q.per_channel:
        raise ValueError("the input must be int8, per tensor")
    real = input_q.scale[0] * float(1 << (31 - _INTEGER_BITS))
    mantissa, left = math.frexp(real)
    multiplier = math.floor(mantissa * (1 << 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier, left = 1 << 30, left + 1
    if left < 0:
        raise ValueError(f"an input scale of {input_q.scale[0]:g} is too small for the kernel")
    radius = (((1 << _INTEGER_BITS) - 1) << (31 - _INTEGER_BITS)) / 2.0**left
    limit = math.floor(radius)
    difference = np.arange(-128, 128, dtype=np.int64) - input_q.zero_point[0]
    outside = np.where(difference >= limit, 1, np.where(difference <= -limit, -1, 0))
    kept = np.where(outside == 0, difference, 0)
    return outside, saturating_rounding_doubling_high_mul(kept << left, multiplier)


def _finish(outside: NDArray[np.int64], levels: NDArray[np.int64]) -> NDArray[np.int8]:
    levels = np.where(outside == 0, np.clip(levels, -128, 127), np.where(outside > 0, 127, -128))
    return np.asarray(levels.astype(np.int8))
