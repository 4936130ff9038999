"""Scales and zero points: how a real tensor is written in integers.

``real = scale * (q - zero_point)``, after the TensorFlow Lite 8-bit quantization specification:
activations are asymmetric per tensor (int16: symmetric), weights symmetric per output channel in
[-127, 127], biases int32 at ``s_x * s_w``. Scales are computed in float64 and rounded to float32
once, here, so that every target and every report uses the same number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

INTEGER_TYPES: tuple[str, ...] = ("int8", "uint8", "int16", "int32", "int64")

#: Smallest scale that is given out: the smallest normal float32. Subnormal scales are flushed to
#: zero by some runtimes, and their reciprocal overflows.
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)

#: Default limit of a quantized bias. Half of int32's range: the other half is head-room for the
#: products, enough for 33,000 of the largest ones (255 * 127). ``accumulator_bound`` then proves
#: the sum for the weights at hand.
BIAS_LIMIT = 1 << 30

# Converting the float64 2^63 to int64 overflows; this is the largest float64 below it.
_LARGEST_INT64_DOUBLE = 9223372036854774784.0


@dataclass(frozen=True)
class TensorQuantization:
    """How one tensor is quantized.

    Attributes:
        dtype: ``int8``, ``uint8``, ``int16``, ``int32`` or ``int64``.
        scale: positive; one value, or one a channel. Rounded to float32 on construction.
        zero_point: as many integers as scales, in the range of ``dtype``.
        axis: the channel axis, or None if the whole tensor has one scale.

    Raises:
        ValueError: the fields contradict each other, or a scale is not a positive finite float32.
    """

    dtype: str
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None

    def __post_init__(self) -> None:
        if self.dtype not in INTEGER_TYPES:
            raise ValueError(f"{self.dtype!r} is none of {', '.join(INTEGER_TYPES)}")
        scale = tuple(_to_float32(value) for value in self.scale)
        zero_point = tuple(int(value) for value in self.zero_point)
        if not scale or len(scale) != len(zero_point):
            raise ValueError(f"{len(scale)} scales and {len(zero_point)} zero points")
        if self.axis is None and len(scale) != 1:
            raise ValueError(f"{len(scale)} scales without a channel axis")
        if not all(0.0 < value < math.inf for value in scale):
            raise ValueError("scales must be positive and finite in float32")
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "zero_point", zero_point)
        if any(not self.minimum <= value <= self.maximum for value in zero_point):
            raise ValueError(f"a zero point is out of the range of {self.dtype}")

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The integer type as numpy names it."""
        return np.dtype(self.dtype)

    @property
    def minimum(self) -> int:
        """Smallest value of the integer type."""
        return int(np.iinfo(self.dtype).min)

    @property
    def maximum(self) -> int:
        """Largest value of the integer type."""
        return int(np.iinfo(self.dtype).max)

    @property
    def per_channel(self) -> bool:
        """Whether each channel has its own scale."""
        return self.axis is not None

    def quantize(self, x: ArrayLike) -> NDArray[Any]:
        """Write real values in integers.

        ``clip(round_half_even(x / scale) + zero_point)``, computed in float64. Infinities saturate.

        Args:
            x: real values; with a channel axis, that axis has as many entries as there are scales.

        Returns:
            Integers of ``dtype``, the shape of ``x``. Magnitudes above 2^53 (int64 only) are as
            exact as float64 is.

        Raises:
            ValueError: a value is NaN, or the channels do not match.
        """
        values = np.asarray(x, dtype=np.float64)
        if np.isnan(values).any():
            raise ValueError("cannot quantize NaN")
        scale, zero_point = self._broadcast(values.shape)
        # Infinity from the division (a huge value over a tiny scale) saturates like any other.
        with np.errstate(over="ignore"):
            levels = np.rint(values / scale) + zero_point
        upper = min(float(self.maximum), _LARGEST_INT64_DOUBLE)
        clipped = np.clip(levels, float(self.minimum), upper)
        return np.asarray(clipped.astype(self.numpy_dtype))

    def clamp_levels(self, low: float, high: float) -> tuple[int, int]:
        """The integers between which a clamp to ``[low, high]`` keeps a tensor.

        ``round(bound / scale) + zero_point``, the quotient in float32 and half away from zero, as
        TensorFlow Lite's CalculateActivationRangeQuantized does it; within the range of the type.

        Args:
            low: lower bound, real; may be minus infinity.
            high: upper bound, real; may be infinity.

        Returns:
            Both integers, per tensor.
        """
        levels = []
        for bound in (low, high):
            with np.errstate(over="ignore"):
                steps = float(np.float32(bound) / np.float32(self.scale[0]))
            if math.isinf(steps):
                levels.append(self.minimum if steps < 0 else self.maximum)
                continue
            whole = math.trunc(steps)
            nearest = whole + int(math.copysign(abs(steps - whole) >= 0.5, steps))
            levels.append(min(max(nearest + self.zero_point[0], self.minimum), self.maximum))
        return levels[0], levels[1]

    def dequantize(self, q: ArrayLike) -> NDArray[np.float32]:
        """Read integers as real values.

        Args:
            q: integers, shaped as for :meth:`quantize`.

        Returns:
            float32 ``scale * (q - zero_point)``, the product rounded once; same shape.

        Raises:
            ValueError: ``q`` is not of an integer type, or the channels do not match.
        """
        integers = np.asarray(q)
        if not np.issubdtype(integers.dtype, np.integer):
            raise ValueError(f"cannot dequantize {integers.dtype}")
        scale, zero_point = self._broadcast(integers.shape)
        difference = integers.astype(np.int64) - zero_point
        with np.errstate(over="ignore"):
            return np.asarray((difference * scale).astype(np.float32))

    def to_dict(self) -> dict[str, Any]:
        """A dictionary of plain numbers for JSON; :meth:`from_dict` gives back an equal object."""
        return {
            "dtype": self.dtype,
            "scale": list(self.scale),
            "zero_point": list(self.zero_point),
            "axis": self.axis,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TensorQuantization:
        """Rebuild from :meth:`to_dict`.

        Args:
            data: the dictionary, as it was or after a trip through JSON.

        Returns:
            An object equal to the one that was written.

        Raises:
            ValueError: a key is missing or unknown, or the fields are not valid.
        """
        known = {"dtype", "scale", "zero_point", "axis"}
        if not {"dtype", "scale", "zero_point"} <= set(data) <= known:
            raise ValueError(f"expected the keys {sorted(known)}, found {sorted(data)}")
        return cls(
            dtype=data["dtype"],
            scale=tuple(data["scale"]),
            zero_point=tuple(data["zero_point"]),
            axis=data.get("axis"),
        )

    def _broadcast(self, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        scale = np.array(self.scale, dtype=np.float64)
        zero_point = np.array(self.zero_point, dtype=np.int64)
        if self.axis is None:
            return scale[0], zero_point[0]
        axis = _checked_axis(self.axis, len(shape))
        if shape[axis] != len(scale):
            raise ValueError(f"{len(scale)} scales for {shape[axis]} channels on axis {axis}")
        aligned = tuple(-1 if i == axis else 1 for i in range(len(shape)))
        return scale.reshape(aligned), zero_point.reshape(aligned)


class RaisedScales(NamedTuple):
    """Weight scales after :func:`weight_scales_for_bias`.

    Attributes:
        scales: float32-representable, as many as were given.
        channels: indices of the scales that were raised, ascending.
    """

    scales: tuple[float, ...]
    channels: tuple[int, ...]


def activation_quantization(
    low: float,
    high: float,
    dtype: str = "int8",
    symmetric: bool | None = None,
    zero_in_range: bool = True,
) -> TensorQuantization:
    """Choose the scale and zero point of an activation from its range.

    Asymmetric: ``scale = (high - low) / (levels - 1)`` and the zero point is the integer nearest to
    where 0.0 falls, so 0.0 is exact (padding and ReLU need that) and the ends of the range are at
    most half a step outside the representable one (plus the float32 rounding of the scale).
    Symmetric: ``scale = max(|low|, |high|) / maximum`` (127 for both 8-bit types) with the zero
    point in the middle.

    A range of nothing but zero gets the scale of the range [-1, 1): 1/128 for 8 bits, 1/32768 for
    16, with the zero point in the middle. A range too small for a normal float32 scale gets
    :data:`SMALLEST_SCALE` and lies in the middle of what that can represent.

    Args:
        low: lower end of the observed range, real.
        high: upper end, at least ``low``.
        dtype: ``int8``, ``uint8`` or ``int16``.
        symmetric: None means symmetric for int16 only, as TensorFlow Lite has it.
        zero_in_range: widen the range to hold 0.0. If False, a range that does not hold 0.0 keeps
            its finer scale where the zero point still fits the type.

    Returns:
        Per-tensor quantization.

    Raises:
        ValueError: the range is not finite, reversed, or too wide for a float32 scale; the type is
            not one of the three; or without widening the zero point does not fit the type.
    """
    if dtype not in ("int8", "uint8", "int16"):
        raise ValueError(f"activations are int8, uint8 or int16, not {dtype!r}")
    low, high = float(low), float(high)
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise ValueError(f"[{low}, {high}] is not a range")
    if zero_in_range:
        low, high = min(low, 0.0), max(high, 0.0)
    limits = np.iinfo(dtype)
    minimum, maximum = int(limits.min), int(limits.max)
    middle = (minimum + maximum + 1) // 2
    if low == 0.0 and high == 0.0:
        return TensorQuantization(dtype, (1.0 / (middle - minimum),), (middle,))
    if symmetric is None:
        symmetric = dtype == "int16"
    if symmetric:
        scale = _usable_scale(max(-low, high) / (maximum - middle))
        return TensorQuantization(dtype, (scale,), (middle,))
    levels = maximum - minimum
    # Divided first: the difference of two huge ends would overflow.
    scale = _usable_scale(high / levels - low / levels)
    # In exact arithmetic this is minimum - low / scale. Centering the range shares the float32
    # rounding of the scale between both ends.
    zero_point = round((minimum + maximum - low / scale - high / scale) / 2)
    if zero_in_range:
        zero_point = min(max(zero_point, minimum), maximum)
    elif not minimum <= zero_point <= maximum:
        raise ValueError(
            f"the zero point of [{low}, {high}] is {zero_point}, outside {dtype}; widen the range"
        )
    return TensorQuantization(dtype, (scale,), (zero_point,))


def weight_quantization(
    weight: ArrayLike, axis: int | None, dtype: str = "int8", narrow: bool = True
) -> TensorQuantization:
    """Choose the symmetric scales of a weight tensor, zero point 0.

    ``scale = max|w| / 127``. A channel of zeros gets the largest scale of the tensor (1.0 if the
    whole tensor is zero): any scale is exact for it, and that one keeps its rescale multiplier in
    the range of its neighbors and its bias from overflowing.

    Args:
        weight: real weights, any shape, not empty.
        axis: the output channel axis, or None for one scale.
        dtype: ``int8`` or ``int16``.
        narrow: use [-127, 127] (the TensorFlow Lite specification). If False the most negative
            integer is used as well where that gives a finer scale.

    Returns:
        The quantization; with an axis it has one scale a channel, and ``axis`` counts from 0.

    Raises:
        ValueError: the weights are empty or not finite, or too large for a float32 scale, the axis
            does not exist, or the type is not one of the two.
    """
    if dtype not in ("int8", "int16"):
        raise ValueError(f"weights are int8 or int16, not {dtype!r}")
    values = np.asarray(weight, dtype=np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError("weights must be finite and not empty")
    if axis is None:
        channels = values.reshape(1, -1)
    else:
        axis = _checked_axis(axis, values.ndim)
        channels = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    maximum = int(np.iinfo(dtype).max)
    if narrow:
        raw = np.abs(channels).max(axis=1) / maximum
    else:
        raw = np.maximum(channels.max(axis=1) / maximum, -channels.min(axis=1) / (maximum + 1))
    substitute = float(raw.max()) if raw.any() else 1.0
    scales = tuple(_usable_scale(float(s) if s > 0 else substitute) for s in raw)
    return TensorQuantization(dtype, scales, (0,) * len(scales), axis)


def bias_quantization(input_scale: float, weight: TensorQuantization) -> TensorQuantization:
    """The quantization of the bias that goes with an input and a weight: int32 at ``s_x * s_w``.

    Args:
        input_scale: float32 scale of the input.
        weight: the weight's quantization, zero point 0.

    Returns:
        int32, zero point 0; per channel on axis 0 where the weight is per channel.

    Raises:
        ValueError: a product vanishes or overflows in float32; see :func:`weight_scales_for_bias`.
    """
    scales = tuple(_to_float32(_to_float32(input_scale) * s) for s in weight.scale)
    if not all(0.0 < s < math.inf for s in scales):
        raise ValueError("input scale times weight scale is not a positive finite float32")
    axis = 0 if weight.per_channel else None
    return TensorQuantization("int32", scales, (0,) * len(scales), axis)


def weight_scales_for_bias(
    bias: ArrayLike,
    input_scale: float,
    weight_scales: ArrayLike,
    limit: int = BIAS_LIMIT,
) -> RaisedScales:
    """Raise weight scales until the bias fits its integers.

    Where ``s_x * s_w`` is very small, ``bias / (s_x * s_w)`` overflows int32 and the layer
    collapses silently. Such a channel's weight scale is raised to the smallest float32 with
    ``|bias| <= limit * float32(s_x * s_w)``: its weights lose bits that the bias drowns anyway.
    Scales whose product with the input scale is below :data:`SMALLEST_SCALE` are raised too.

    Args:
        bias: real biases, one a channel.
        input_scale: float32 scale of the input, positive.
        weight_scales: one scale a channel, or a single one for all.
        limit: largest magnitude of a quantized bias. The default leaves half of int32 as head-room
            for the products.

    Returns:
        The scales to use, and the indices of those that changed.

    Raises:
        ValueError: the bias is not finite, the counts differ, or no float32 scale is large enough.
    """
    values = np.abs(np.asarray(bias, dtype=np.float64)).reshape(-1)
    scales = [_to_float32(s) for s in np.asarray(weight_scales, dtype=np.float64).reshape(-1)]
    x = _to_float32(input_scale)
    if not np.isfinite(values).all():
        raise ValueError("biases must be finite")
    if not all(0.0 < s < math.inf for s in (x, *scales)):
        raise ValueError("scales must be positive and finite in float32")
    if limit < 1:
        raise ValueError(f"a bias limit of {limit} leaves no values")
    if len(scales) == 1:
        needed = [float(values.max(initial=0.0))]
    elif len(scales) == len(values):
        needed = [float(v) for v in values]
    else:
        raise ValueError(f"{len(values)} biases for {len(scales)} weight scales")
    raised = tuple(
        _raise_scale(s, x, max(b / limit, SMALLEST_SCALE))
        for s, b in zip(scales, needed, strict=True)
    )
    changed = tuple(i for i, (old, new) in enumerate(zip(scales, raised, strict=True)) if old < new)
    return RaisedScales(raised, changed)


def accumulator_bound(
    weight_q: ArrayLike,
    input_minimum: int,
    input_maximum: int,
    input_zero_point: int,
    bias_q: ArrayLike | None,
) -> NDArray[np.int64]:
    """The largest magnitude that each channel's accumulator can reach, over all inputs.

    Exact worst case from the signs of the weights: each product is the largest (or smallest) of
    ``w * (maximum - z)``, ``w * (minimum - z)`` and 0, the last since a padded element adds
    nothing. With 0 among them no partial sum, in whatever order and with the bias first or last,
    exceeds the bound either. It must be below 2^31 for an int32 accumulator.

    Args:
        weight_q: integer weights, output channels first; the other axes are summed over.
        input_minimum: smallest quantized input.
        input_maximum: largest quantized input.
        input_zero_point: zero point of the input.
        bias_q: integer bias, one a channel, or None.

    Returns:
        int64, one bound a channel; 2^63 - 1 stands for anything larger.

    Raises:
        ValueError: the inputs are no range, an operand is not of an integer type, or the counts
            differ.
    """
    weights = np.asarray(weight_q)
    if not np.issubdtype(weights.dtype, np.integer) or weights.ndim == 0:
        raise ValueError("weights must be an integer array with channels first")
    if input_minimum > input_maximum:
        raise ValueError(f"[{input_minimum}, {input_maximum}] is not a range")
    flat = weights.reshape(weights.shape[0], -1).astype(np.int64)
    at_low = flat * (input_minimum - input_zero_point)
    at_high = flat * (input_maximum - input_zero_point)
    highest = np.maximum(np.maximum(at_low, at_high), 0).sum(axis=1)
    lowest = np.minimum(np.minimum(at_low, at_high), 0).sum(axis=1)
    biases = np.zeros(len(flat), np.int64) if bias_q is None else np.asarray(bias_q).reshape(-1)
    if not np.issubdtype(biases.dtype, np.integer) or len(biases) != len(flat):
        raise ValueError(f"expected {len(flat)} integer biases")
    largest = int(np.iinfo(np.int64).max)
    # Python integers: an int64 bias plus the products may pass 2^63.
    bounds = [
        min(max(top, -bottom, abs(top + b), abs(bottom + b), abs(b)), largest)
        for top, bottom, b in zip(highest.tolist(), lowest.tolist(), biases.tolist(), strict=True)
    ]
    return np.array(bounds, dtype=np.int64)


def _to_float32(value: float) -> float:
    with np.errstate(over="ignore", under="ignore"):
        return float(np.float32(value))


def _usable_scale(value: float) -> float:
    rounded = _to_float32(max(value, SMALLEST_SCALE))
    if rounded == math.inf:
        raise ValueError(f"a scale of {value:g} does not fit float32")
    return rounded


def _raise_scale(scale: float, input_scale: float, needed: float) -> float:
    """The smallest float32 from ``scale`` up whose float32 product with the input is enough."""
    if _to_float32(input_scale * scale) >= needed:
        return scale
    # Half a unit below the quotient may already round up to enough, so start one step lower.
    candidate = np.nextafter(np.float32(_to_float32(needed / input_scale)), np.float32(0))
    candidate = max(candidate, np.float32(scale))
    with np.errstate(over="ignore"):
        while _to_float32(input_scale * float(candidate)) < needed:
            candidate = np.nextafter(candidate, np.float32(np.inf))
    if not np.isfinite(candidate):
        raise ValueError("no float32 weight scale is large enough for the bias")
    return float(candidate)


def _checked_axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} of a tensor with {rank} axes")
    return axis % rank
