"""Rescales in C: from accumulator to result, for the kernels of every variant.

How to use it::

    code = rescaling(layer.rescale)         # or rescaling(layer.rescale, high=False)
    code.function                           # the C function it calls: give it to the emitter
    code.apply("acc")                       # one scale: "clamp(rescale_double(acc, 1518500250, 38),
                                            #     -128, 127) + 3": an int32_t, the finished result
    code.apply("acc", "m[o]", "s[o]")       # multiplier and shift from arrays
    code.multiplier, code.shift             # what the C function takes, ``[1]`` or ``[channels]``

A C function takes an accumulator, a multiplier and a shift, and gives an int32_t saturated to the
range of int32; zero point and clamp come after it. ``clamp`` is in ``code.functions``, too.

==================== =========== =================== ==============================================
C function           accumulator multiplier          shift
==================== =========== =================== ==============================================
rescale_double       int32_t     int32_t, 0..2^31-1  2..62, the formula of the name
rescale_double_high  int32_t     int32_t, 0..2^31-1  32..62, the same in 32 bits after the product
rescale_single       int32_t     int32_t, 0..2^31-1  2..62
rescale_single_high  int32_t     int32_t, 0..2^31-1  32..62
rescale_wide         int64_t     int32_t, 0..2^15-1  8..46: multiplier and shift already reduced
rescale_real         int64_t     int64_t, 53 bits    46..97
==================== =========== =================== ==============================================

Functions that layers share take the constants in a struct instead, see :mod:`.stage`.

:func:`rescaling` takes the ``_high`` form where every shift allows it: one multiplication of 32 by
32 bits and a few operations on 32 bits, without a branch. The formulas are those of
:mod:`intaglio.transforms.fixed_point`; the comments in the C code say why it equals them.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InternalError
from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.literals import number
from intaglio.targets.c.network import Rescale
from intaglio.transforms.fixed_point import Rounding

#: Smallest shift of the ``_high`` functions.
MINIMUM_HIGH_SHIFT = 32
_INT32_MINIMUM, _INT32_MAXIMUM = -(1 << 31), (1 << 31) - 1

CLAMP = Function(
    "clamp",
    """\
static inline int32_t clamp(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}""",
)

SATURATE = Function(
    "saturate",
    """\
/* The nearest int32_t. */
static inline int32_t saturate(int64_t value)
{
    return value < INT32_MIN ? INT32_MIN : value > INT32_MAX ? INT32_MAX : (int32_t)value;
}""",
)

DOUBLE = Function(
    "rescale_double",
    """\
/* acc * multiplier * 2^-shift in two roundings: by 31 bits to nearest, ties upward, then by the
   rest to nearest, ties away from zero. Both are halves added before one shift: the first is
   2^30, and a negative value has 2^31 less than that, which moves its ties downward. */
static inline int32_t rescale_double(int32_t acc, int32_t multiplier, int32_t shift)
{
    int64_t sum = (int64_t)acc * multiplier + (INT64_C(1) << (shift - 1));
    if (shift > 31) {
        sum += acc < 0 ? -(INT64_C(1) << 30) : INT64_C(1) << 30;
    }
    return saturate(sum >> shift);
}""",
    (SATURATE,),
)

DOUBLE_HIGH = Function(
    "rescale_double_high",
    """\
/* rescale_double for shifts of 32 and more, where 31 bits of the product are never needed: they are
   rounded away, ties upward; the rest goes in two steps, so that the half of the second rounding is
   1, and a negative value has 1 less before them, which moves its ties downward. */
static inline int32_t rescale_double_high(int32_t acc, int32_t multiplier, int32_t shift)
{
    const int32_t upper = (int32_t)(((int64_t)acc * multiplier + (INT64_C(1) << 30)) >> 31);
    return (((upper - (acc < 0)) >> (shift - 32)) + 1) >> 1;
}""",
)

SINGLE = Function(
    "rescale_single",
    """\
/* acc * multiplier * 2^-shift in one rounding: to nearest, ties upward. */
static inline int32_t rescale_single(int32_t acc, int32_t multiplier, int32_t shift)
{
    return saturate(((int64_t)acc * multiplier + (INT64_C(1) << (shift - 1))) >> shift);
}""",
    (SATURATE,),
)

SINGLE_HIGH = Function(
    "rescale_single_high",
    """\
/* rescale_single for shifts of 32 and more: without the lowest 31 bits of the product, and in two
   steps, so that the half of the rounding is 1. */
static inline int32_t rescale_single_high(int32_t acc, int32_t multiplier, int32_t shift)
{
    const int32_t upper = (int32_t)(((int64_t)acc * multiplier) >> 31);
    return ((upper >> (shift - 32)) + 1) >> 1;
}""",
)

WIDE = Function(
    "rescale_wide",
    """\
/* acc * multiplier * 2^-shift, to nearest, ties upward; acc in [-2^47, 2^47), multiplier of 15
   bits, so that the product fits 63. */
static inline int32_t rescale_wide(int64_t acc, int32_t multiplier, int32_t shift)
{
    return saturate((acc * multiplier + (INT64_C(1) << (shift - 1))) >> shift);
}""",
    (SATURATE,),
)

REAL = Function(
    "rescale_real",
    """\
/* acc * mantissa * 2^-shift as double arithmetic gives it: the product rounded to 53 bits, then to
   an integer, ties away from zero. The product of 44 by 53 bits is taken in parts of 18 bits:
   upper * 2^36 + lower. With k whole steps in it, the tie k + 1/2 has few bits. So rounding to 53
   bits cannot carry the product over the tie; it can only carry it up to the tie, from half a last
   place below it, and then it goes up. */
static inline int32_t rescale_real(int64_t acc, int64_t mantissa, int32_t shift)
{
    const uint64_t part = (UINT64_C(1) << 18) - 1;
    const uint64_t value = acc < 0 ? (uint64_t)-acc : (uint64_t)acc;
    const uint64_t scale = (uint64_t)mantissa;
    const uint64_t first = value * (scale & part);
    const uint64_t second = value * ((scale >> 18) & part) + (first >> 18);
    const uint64_t upper = value * (scale >> 36) + (second >> 18);
    uint64_t lower = ((second & part) << 18) + (first & part);
    const int32_t places = shift - 36;
    const uint64_t steps = upper >> places;
    const uint64_t half = UINT64_C(1) << (places - 1);
    uint64_t fraction = upper - (steps << places);
    uint32_t rounded, left;
    int32_t last_place;
    if (steps >= INT32_MAX) {
        return acc < 0 ? INT32_MIN : INT32_MAX;
    }
    /* Half of the last of 53 places just below the tie is 2^last_place. */
    last_place = shift - 54 - (steps == 0);
    for (left = (uint32_t)steps; left != 0; left >>= 1) {
        last_place++;
    }
    if (last_place >= 0) {
        lower += UINT64_C(1) << last_place;
    }
    fraction += lower >> 36;
    rounded = (uint32_t)steps + (fraction >= half);
    return acc < 0 ? (int32_t)-(int64_t)rounded : (int32_t)rounded;
}""",
)


@dataclasses.dataclass(frozen=True, eq=False)
class Rescaling:
    """A rescale as C has it.

    Attributes:
        function: Does the rescale without zero point and clamp.
        multiplier: Its second argument: int32, of ``rescale_real`` int64.
        shift: Its third argument: int8.
        accumulator: C type of its first argument.
        zero_point: Added last.
        low: Smallest value before the zero point is added, of int32.
        high: Largest value before the zero point is added, of int32.
    """

    function: Function
    multiplier: NDArray[np.int32] | NDArray[np.int64]
    shift: NDArray[np.int8]
    accumulator: str
    zero_point: int
    low: int
    high: int

    @property
    def per_channel(self) -> bool:
        """Whether there is more than one scale."""
        return self.multiplier.size > 1

    @property
    def clamps(self) -> bool:
        """Whether the clamp does anything to an int32_t."""
        return (self.low, self.high) != (_INT32_MINIMUM, _INT32_MAXIMUM)

    @property
    def functions(self) -> tuple[Function, ...]:
        """What the expression of :meth:`apply` calls."""
        return (self.function, CLAMP) if self.clamps else (self.function,)

    def apply(self, acc: str, multiplier: str | None = None, shift: str | None = None) -> str:
        """C expression of the finished result, an int32_t.

        Args:
            acc: Expression of the accumulator.
            multiplier: Expression of the multiplier; the number itself where there is only one.
            shift: Expression of the shift; the number itself where there is only one.
        """
        if self.per_channel and (multiplier is None or shift is None):
            raise InternalError("a rescale per channel needs its channel's multiplier and shift")
        factor = number(int(self.multiplier[0])) if multiplier is None else multiplier
        places = str(int(self.shift[0])) if shift is None else shift
        text = f"{self.function.name}({acc}, {factor}, {places})"
        if self.clamps:
            text = f"clamp({text}, {number(self.low)}, {number(self.high)})"
        if self.zero_point:
            text += f" {'+' if self.zero_point > 0 else '-'} {abs(self.zero_point)}"
        return text


def rescaling(rescale: Rescale, *, high: bool = True) -> Rescaling:
    """C form of ``rescale``.

    Args:
        rescale: The rescale of a layer.
        high: Take the ``_high`` function where the shifts allow it.

    Raises:
        InternalError: The rounding has no form in integers, or the clamp does not fit.
    """
    low, top = rescale.minimum - rescale.zero_point, rescale.maximum - rescale.zero_point
    if rescale.zero_point and not _INT32_MINIMUM <= low <= top <= _INT32_MAXIMUM:
        raise InternalError("a rescale with a zero point needs a clamp that leaves room for it")
    multiplier = np.asarray(rescale.multiplier, np.int64).reshape(-1)
    shift = np.asarray(rescale.shift, np.int64).reshape(-1)
    accumulator = "int32_t"
    if rescale.rounding is Rounding.REAL:
        function, accumulator = REAL, "int64_t"
    elif rescale.rounding is Rounding.WIDE:
        function, accumulator = WIDE, "int64_t"
        multiplier, shift = np.minimum((multiplier + (1 << 15)) >> 16, 0x7FFF), shift - 16
    elif rescale.rounding in (Rounding.DOUBLE, Rounding.SINGLE):
        function = DOUBLE if rescale.rounding is Rounding.DOUBLE else SINGLE
        # A multiplier of 0 gives 0 with any shift: it takes one that is no exception.
        fitted = np.where(multiplier == 0, max(int(shift.max()), MINIMUM_HIGH_SHIFT), shift)
        if high and fitted.min() >= MINIMUM_HIGH_SHIFT:
            function = DOUBLE_HIGH if rescale.rounding is Rounding.DOUBLE else SINGLE_HIGH
            shift = fitted
    else:
        raise InternalError(f"no rescale of integers rounds as {rescale.rounding.value}")
    stored = multiplier if function is REAL else multiplier.astype(np.int32)
    return Rescaling(
        function, stored, shift.astype(np.int8), accumulator, rescale.zero_point, low, top
    )
