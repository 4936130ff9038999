"""8-bit tables of functions that runtimes compute in integers instead of looking them up.

LEAKY_RELU, ABS and HARD_SWISH have kernels of their own in TensorFlow Lite, whose results differ
from the rounded real function in a few percent of the entries, by one step. A kernel of one 8-bit
input is a table all the same: these are the ones that give the runtime's own bits. Sources:
``reference_ops::QuantizeLeakyRelu``, ``AbsEvalQuantized`` and ``reference_ops::HardSwish``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.fixed_point import Rounding, quantize_multiplier, rescale
from intaglio.transforms.scales import TensorQuantization
from intaglio.transforms.softmax import rounding_divide_by_pot

Integers = NDArray[np.int64]

_INT16_MINIMUM = -(1 << 15)
_INT16_MAXIMUM = (1 << 15) - 1
# Bits that HARD_SWISH shifts its input up by, so that its 16-bit arithmetic has some to lose.
_HIGH_RESOLUTION_BITS = 7


def leaky_relu_table(
    input_q: TensorQuantization,
    output_q: TensorQuantization,
    alpha: float,
    rounding: Rounding | str = Rounding.DOUBLE,
    narrow: bool = False,
) -> NDArray[Any]:
    """LEAKY_RELU as its kernel computes it: one rescale for each sign of ``q - z``.

    Args:
        input_q: int8 or uint8, per tensor.
        output_q: the same type, per tensor.
        alpha: slope for negative inputs; rounded to float32, as files have it. Zero is ReLU.
        rounding: of the rescales, from the arithmetic profile.
        narrow: whether the scales are computed in float32, from the profile likewise.

    Returns:
        256 entries of the output's type, indexed by ``q - minimum``.

    Raises:
        ValueError: the types do not fit, or a scale has no fixed point.
    """
    difference = _differences(input_q, output_q)
    real = np.float32 if narrow else np.float64
    step = real(output_q.scale[0])
    ratio = real(input_q.scale[0]) / step
    slope = real(input_q.scale[0]) * real(np.float32(abs(alpha))) / step
    sloped = difference if alpha >= 0 else -difference
    positive = rescale(difference, quantize_multiplier(ratio), rounding)
    negative = rescale(sloped, quantize_multiplier(slope), rounding)
    return _finish(np.where(difference >= 0, positive, negative), output_q)


def abs_table(
    input_q: TensorQuantization,
    output_q: TensorQuantization,
    rounding: Rounding | str = Rounding.DOUBLE,
    narrow: bool = False,
) -> NDArray[Any]:
    """ABS as its kernel computes it: one rescale of ``|q - z|``.

    Args, result and errors are those of :func:`leaky_relu_table`, without slope.
    """
    difference = _differences(input_q, output_q)
    real = np.float32 if narrow else np.float64
    ratio = real(input_q.scale[0]) / real(output_q.scale[0])
    return _finish(rescale(np.abs(difference), quantize_multiplier(ratio), rounding), output_q)


def hard_swish_table(input_q: TensorQuantization, output_q: TensorQuantization) -> NDArray[Any]:
    """HARD_SWISH as its kernel computes it, in 16-bit fixed point.

    With ``x = 128 (q - z)``: ``x`` on the output's scale times ``relu6(x + 3) / 6``, the latter as
    ``(x on the scale 3/32768, saturated, plus 32768) / 2``.

    Args:
        input_q: int8 or uint8, per tensor.
        output_q: the same type, per tensor.

    Returns:
        256 entries of the output's type, indexed by ``q - minimum``.

    Raises:
        ValueError: the types do not fit, or the scales are so far apart that the kernel's own
            preparation refuses them (output finer than 1/128 of the input).
    """
    difference = _differences(input_q, output_q)
    # In float32, as the kernel's preparation.
    fine = np.float32(1.0 / 128.0) * np.float32(input_q.scale[0])
    output_multiplier, output_exponent = _int16_multiplier(fine / np.float32(output_q.scale[0]))
    gate_multiplier, gate_exponent = _int16_multiplier(fine / np.float32(3.0 / 32768.0))
    if output_exponent > 0:
        raise ValueError("the output scale of HARD_SWISH is below 1/128 of the input scale")
    x = difference << _HIGH_RESOLUTION_BITS
    on_output_scale = _high_mul_int16(x, output_multiplier)
    # The left shift saturates; its last bit comes after the multiplication, which halves values.
    gate = _saturate(x << max(gate_exponent - 1, 0))
    gate = _high_mul_int16(gate, gate_multiplier)
    gate = _saturate(gate << min(max(gate_exponent, 0), 1))
    gate = rounding_divide_by_pot(gate, max(-gate_exponent, 0))
    gate = (gate + (1 << 15)) >> 1
    # C's division: toward zero. The gate is not negative.
    product = gate * on_output_scale
    truncated = np.sign(product) * (np.abs(product) >> 15)
    return _finish(rounding_divide_by_pot(truncated, -output_exponent), output_q)


def _differences(input_q: TensorQuantization, output_q: TensorQuantization) -> Integers:
    for q in (input_q, output_q):
        if q.dtype not in ("int8", "uint8") or q.per_channel or q.dtype != input_q.dtype:
            raise ValueError("input and output must both be int8 or both uint8, per tensor")
    values = np.arange(input_q.minimum, input_q.maximum + 1, dtype=np.int64)
    return np.asarray(values - input_q.zero_point[0])


def _finish(values: Integers, output_q: TensorQuantization) -> NDArray[Any]:
    shifted = values + output_q.zero_point[0]
    clipped = np.clip(shifted, output_q.minimum, output_q.maximum)
    return np.asarray(clipped.astype(output_q.numpy_dtype))


def _int16_multiplier(scale: np.float32) -> tuple[int, int]:
    """A scale as a Q15 multiplier and a left shift, through the 32-bit one as the kernel has it."""
    fixed = quantize_multiplier(float(scale))
    multiplier = int(fixed.multiplier)
    # Values that would round up to 2^15 are cut instead.
    reduced = 0x7FFF if multiplier >= 0x7FFF8000 else (multiplier + (1 << 15)) >> 16
    return reduced, 31 - int(fixed.shift)


def _high_mul_int16(a: Integers, b: int) -> Integers:
    """``round(a * b / 2^15)``, ties upward: gemmlowp's doubling high multiplication on int16."""
    return np.asarray(np.minimum((a * b + (1 << 14)) >> 15, _INT16_MAXIMUM))


def _saturate(value: Integers) -> Integers:
    return np.asarray(np.clip(value, _INT16_MINIMUM, _INT16_MAXIMUM))
