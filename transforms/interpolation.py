"""Tables of 513 entries with linear interpolation: functions of 16-bit tensors.

The upper 9 bits of an input choose one of 512 segments, the lower 7 interpolate in it. TensorFlow
Lite's ``LUTPopulateInt16`` (``lite/kernels/internal/common.h``), in float32 or in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

#: Segments of a table; it has one entry more, the end of the last segment.
SEGMENTS = 512

# Stands for infinity: far outside int16, and sums of it stay finite.
_BEYOND = float(1 << 31)


def populate(
    function: Callable[[NDArray[np.float64]], NDArray[Any]],
    low: float,
    high: float,
    gain: float,
    precision: DTypeLike = np.float32,
) -> NDArray[np.int16]:
    """The entries of a function on ``[low, high]``.

    With ``step = (high - low) / 512``, entry ``i`` is ``round(f(low + i*step)*gain) - round(e/2)``,
    where ``e`` is the error that interpolation makes in the middle of the segment:
    ``e = round((f(next)*gain + round(f(this)*gain)) / 2) - round(f(middle)*gain)``. Half of it is
    so moved to the ends of the segment. Entry 512 is ``round(f(high)*gain)``. Rounding is half away
    from zero; the result is clamped to int16.

    Args:
        function: real values to real values; evaluated in float64, its result is narrowed to
            ``precision``. Infinities saturate.
        low: input of the first entry.
        high: input of the last entry.
        gain: output steps in 1.0.
        precision: of everything but the function: many entries hang on the last bit.

    Returns:
        int16, 513 entries.
    """
    kind: Any = np.dtype(precision).type
    first, last = kind(low), kind(high)
    step = kind((last - first) / kind(SEGMENTS))
    factor = kind(gain)

    def sample(x: NDArray[Any]) -> NDArray[Any]:
        with np.errstate(over="ignore"):
            y = np.asarray(function(x.astype(np.float64))).astype(precision) * factor
        return np.asarray(np.clip(y, kind(-_BEYOND), kind(_BEYOND)))

    starts = first + np.arange(SEGMENTS + 1).astype(precision) * step
    values = sample(starts)
    middles = _round(sample(starts[:-1] + step / kind(2)))
    this = _round(values[:-1])
    error = _round((values[1:] + this) / kind(2)) - middles
    end = _round(sample(np.array([last])))
    entries = np.append(this - _round(error / kind(2)), end)
    return np.asarray(np.clip(entries, -32768, 32767).astype(np.int16))


def interpolate(q: ArrayLike, table: NDArray[np.int16]) -> NDArray[np.int64]:
    """``i = (q + 32768) >> 7; t[i] + ((t[i+1] - t[i])*(q & 127) + 64 >> 7)``: LUTLookup.

    Args:
        q: integers in the range of int16, any shape.
        table: int16, 513 entries.

    Returns:
        int64, the shape of ``q``.
    """
    wide = np.asarray(q).astype(np.int64)
    index = (wide + 32768) >> 7
    base = table[index].astype(np.int64)
    delta = table[index + 1].astype(np.int64) - base
    return np.asarray(base + ((delta * (wide & 127) + 64) >> 7))


def _round(x: NDArray[Any]) -> NDArray[Any]:
    """Half away from zero, of the type of ``x``."""
    whole = np.trunc(x)
    return np.asarray(whole + np.copysign((np.abs(x - whole) >= 0.5).astype(x.dtype), x))
