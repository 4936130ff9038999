"""The end of a kernel in vectors: four accumulators rescaled at once, and results narrowed.

With ``s`` the total right shift and ``e = s - 31``:

* ``double``: ``v = vqrdmulh(acc, m) = (acc*m + 2^30) >> 31``; then a rounding shift by ``e`` whose
  ties go away from zero: 1 less where ``v`` is negative, then ``vrshl`` (ties upward). As floors of
  floors are floors, that is the one shift of :mod:`intaglio.transforms.fixed_point`.
* ``single``: ``vqdmulh(acc, m) = acc*m >> 31``, then ``vrshl``; the same argument.
* ``wide``: a product of 64 bits and one rounding shift.

Where ``s`` is 31 or less the accumulator is shifted to the left first, and a bound of it proves
that nothing is lost; else there is no vector tail. :func:`convolution_tail` then has the results
computed one by one.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.neon.each import Stage, stage_of
from intaglio.targets.c.literals import number
from intaglio.targets.c.network import Rescale
from intaglio.transforms.fixed_point import Rounding

_LIMIT = 1 << 31

DOUBLE = Function(
    "neon_rescale_double",
    """\
/* (acc * multiplier + 2^30) >> 31, then a right shift by -shift bits (1 and more) to nearest, ties
   away from zero: negative values go down by 1, so that ties upward are ties downward. */
static inline int32x4_t neon_rescale_double(int32x4_t acc, int32x4_t multiplier, int32x4_t shift)
{
    const int32x4_t value = vqrdmulhq_s32(acc, multiplier);
    return vrshlq_s32(vsraq_n_s32(value, value, 31), shift);
}""",
)

DOUBLE_MIXED = Function(
    "neon_rescale_double_mixed",
    """\
/* As neon_rescale_double, for any shift: one that is not negative is a left shift that comes first,
   and there is no second rounding then. */
static inline int32x4_t neon_rescale_double_mixed(
    int32x4_t acc, int32x4_t multiplier, int32x4_t shift)
{
    const int32x4_t right = vminq_s32(shift, vdupq_n_s32(0));
    const int32x4_t left = vmaxq_s32(shift, vdupq_n_s32(0));
    const int32x4_t value = vqrdmulhq_s32(vshlq_s32(acc, left), multiplier);
    return vrshlq_s32(vsraq_n_s32(value, vandq_s32(value, right), 31), right);
}""",
)

SINGLE = Function(
    "neon_rescale_single",
    """\
/* acc * multiplier >> 31, then a right shift by -shift bits (1 and more), ties upward. */
static inline int32x4_t neon_rescale_single(int32x4_t acc, int32x4_t multiplier, int32x4_t shift)
{
    return vrshlq_s32(vqdmulhq_s32(acc, multiplier), shift);
}""",
)

SINGLE_MIXED = Function(
    "neon_rescale_single_mixed",
    """\
/* As neon_rescale_single, for any shift: what is missing to -1 is a left shift that comes first. */
static inline int32x4_t neon_rescale_single_mixed(
    int32x4_t acc, int32x4_t multiplier, int32x4_t shift)
{
    const int32x4_t right = vminq_s32(shift, vdupq_n_s32(-1));
    const int32x4_t left = vsubq_s32(shift, right);
    return vrshlq_s32(vqdmulhq_s32(vshlq_s32(acc, left), multiplier), right);
}""",
)

WIDE = Function(
    "neon_rescale_wide",
    """\
/* acc * multiplier of 64 bits, shifted right by -shift bits to nearest, ties upward, saturated. */
static inline int32x4_t neon_rescale_wide(int32x4_t acc, int32x4_t multiplier, int32x4_t shift)
{
    const int64x2_t low = vmull_s32(vget_low_s32(acc), vget_low_s32(multiplier));
    const int64x2_t high = vmull_high_s32(acc, multiplier);
    return vcombine_s32(
        vqmovn_s64(vrshlq_s64(low, vmovl_s32(vget_low_s32(shift)))),
        vqmovn_s64(vrshlq_s64(high, vmovl_high_s32(shift))));
}""",
)

NARROW8 = Function(
    "neon_narrow8",
    """\
/* Eight rescaled values as bytes: moved by the zero point, clamped to low .. high. */
static inline int8x8_t neon_narrow8(
    int32x4_t a, int32x4_t b, int16x8_t zero_point, int8x16_t low, int8x16_t high)
{
    const int16x8_t words = vqmovn_high_s32(vqmovn_s32(a), b);
    const int8x8_t bytes = vqmovn_s16(vqaddq_s16(words, zero_point));
    return vmin_s8(vmax_s8(bytes, vget_low_s8(low)), vget_low_s8(high));
}""",
)

NARROW8_TWICE = Function(
    "neon_narrow8_twice",
    """\
/* Sixteen rescaled values as bytes: moved by the zero point, clamped to low .. high. */
static inline int8x16_t neon_narrow8_twice(int32x4_t a, int32x4_t b, int32x4_t c, int32x4_t d,
    int16x8_t zero_point, int8x16_t low, int8x16_t high)
{
    const int16x8_t first = vqmovn_high_s32(vqmovn_s32(a), b);
    const int16x8_t second = vqmovn_high_s32(vqmovn_s32(c), d);
    const int8x16_t bytes = vqmovn_high_s16(
        vqmovn_s16(vqaddq_s16(first, zero_point)), vqaddq_s16(second, zero_point));
    return vminq_s8(vmaxq_s8(bytes, low), high);
}""",
)

NARROW16 = Function(
    "neon_narrow16",
    """\
/* Four rescaled values as words: moved by the zero point, clamped to low .. high. */
static inline int16x4_t neon_narrow16(
    int32x4_t a, int32x4_t zero_point, int16x4_t low, int16x4_t high)
{
    return vmin_s16(vmax_s16(vqmovn_s32(vqaddq_s32(a, zero_point)), low), high);
}""",
)


@dataclasses.dataclass(frozen=True, eq=False)
class Tail:
    """A vector tail: ``function(acc, multiplier, shift)`` of four lanes.

    Attributes:
        function: The C function.
        multiplier: int32, one for each channel, or one for all.
        shift: int32, likewise: ``31 - s``, negative to the right (``wide``: ``16 - s``).
        zero_point: Added to the result.
        minimum: Smallest result.
        maximum: Largest result.
        stage: What computes the results one by one, in place of ``function``; mostly None.
    """

    function: Function
    multiplier: NDArray[np.int32]
    shift: NDArray[np.int32]
    zero_point: int
    minimum: int
    maximum: int
    stage: Stage | None = None

    @property
    def functions(self) -> tuple[Function, ...]:
        """What the end of a tile calls for it."""
        return (self.function,) if self.stage is None else (self.stage.finish,)

    @property
    def name(self) -> str:
        """Its word in the names of functions."""
        if self.stage is not None:
            return f"each_{self.stage.name}"
        return self.function.name.removeprefix("neon_rescale_")

    def blocks(self, bias: NDArray[np.int64], lanes: int) -> NDArray[np.int32]:
        """``[blocks, 3, lanes]``: bias, multiplier and shift of ``lanes`` channels at a time.

        Args:
            bias: What each channel's accumulator begins with; kept modulo 2^32.
            lanes: Channels of a block; the last is filled up with zeros.
        """
        count = len(bias)
        wrapped = ((bias + _LIMIT) & 0xFFFFFFFF) - _LIMIT
        rows = np.stack(
            [wrapped, *(np.broadcast_to(v, count) for v in (self.multiplier, self.shift))]
        )
        padded = np.pad(rows, ((0, 0), (0, -count % lanes)))
        return np.asarray(padded.reshape(3, -1, lanes).transpose(1, 0, 2), np.int32)

    def call(self, acc: str) -> str:
        """The function's result with the one multiplier and shift, given as numbers."""
        factor, shift = number(int(self.multiplier[0])), int(self.shift[0])
        return f"{self.function.name}({acc}, vdupq_n_s32({factor}), vdupq_n_s32({shift}))"


def make_tail(rescale: Rescale, bound: NDArray[np.int64]) -> Tail | None:
    """The vector tail of a rescale, or None where there is none.

    Args:
        rescale: What it computes.
        bound: Largest magnitude of the accumulators, for each channel or for all.
    """
    multiplier = np.asarray(rescale.multiplier, np.int64).reshape(-1)
    shift = np.asarray(rescale.shift, np.int64).reshape(-1)
    if np.any(bound >= _LIMIT):
        return None
    if rescale.rounding is Rounding.WIDE:
        multiplier = np.minimum((multiplier + (1 << 15)) >> 16, 0x7FFF)
        return _tail(WIDE, rescale, multiplier, 16 - shift)
    if rescale.rounding not in (Rounding.DOUBLE, Rounding.SINGLE):
        return None
    # A multiplier of 0 gives 0 with any shift.
    left = np.where(multiplier == 0, -1, 31 - shift)
    # Without a second shift both have the one rounding of the product.
    single = rescale.rounding is Rounding.SINGLE and bool(np.any(left < 0))
    first = np.maximum(left + single, 0)
    if np.any(bound * np.left_shift(np.int64(1), np.minimum(first, 31)) >= _LIMIT):
        return None
    if np.all(left < 0):
        return _tail(SINGLE if single else DOUBLE, rescale, multiplier, left)
    return _tail(SINGLE_MIXED if single else DOUBLE_MIXED, rescale, multiplier, left)


def convolution_tail(rescale: Rescale, bound: NDArray[np.int64]) -> Tail | None:
    """As :func:`make_tail`, with a tail for each channel where there is none in vectors.

    Args:
        rescale: What it computes.
        bound: Largest magnitude of the accumulators of each channel; it must fit 32 bits.
    """
    found = make_tail(rescale, bound)
    if found is not None or np.any(bound >= _LIMIT):
        return found
    none = np.zeros(1, np.int32)
    limits = rescale.zero_point, rescale.minimum, rescale.maximum
    return Tail(DOUBLE, none, none, *limits, stage_of(rescale))


def _tail(
    function: Function, rescale: Rescale, multiplier: NDArray[np.int64], shift: NDArray[np.int64]
) -> Tail:
    return Tail(
        function,
        multiplier.astype(np.int32),
        shift.astype(np.int32),
        rescale.zero_point,
        rescale.minimum,
        rescale.maximum,
    )
