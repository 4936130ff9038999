"""The end of a kernel: from accumulator to int8 in five instructions.

``double`` rounds ``acc * m`` twice: by 31 bits to nearest with ties upward, then by ``e = s - 31``
bits to nearest with ties away from zero. The first is ``round(2 acc * m / 2^32)``, what SMMULR
does, as long as ``2 acc`` fits 32 bits. The second is ``(t + 2^(e-1) - (t < 0)) >> e``, where
``acc < 0`` serves for ``t < 0``: they differ only for ``t = 0``, which becomes 0 with either since
``e >= 1``. The zero point, times ``2^e``, joins the half ``2^(e-1)``: SMMLAR adds both for nothing.

``single`` is ``(acc * m + 2^(s-1)) >> s``. With ``e = s - 32 >= 1`` the half is a multiple of
``2^32``, so that it can be added to the upper word of the product: SMMLA.

What the conditions leave out (scales above one half, accumulators of 31 bits) is computed by the
portable kernels.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.dsp.intrinsics import ASSEMBLER, HIGH, SATURATE
from intaglio.targets.c.network import Rescale
from intaglio.transforms.fixed_point import Rounding

#: Accumulators are smaller in magnitude, so that twice of them fits an int32.
ACCUMULATOR_LIMIT = 1 << 30
#: Largest last shift: 2^22 times a zero point of 8 bits is 2^29, and the sum fits with it.
_LARGEST_SHIFT = 22


@dataclasses.dataclass(frozen=True, eq=False)
class Finish:
    """A rescale as the kernels of this folder have it.

    Attributes:
        rounding: ``double`` or ``single``.
        multiplier: int32, as given.
        shift: int8: the last shift, ``s - 31`` or ``s - 32``; 1 to 22.
        zero_point: Zero point of the result.
        low: Smallest result.
        high: Largest result.
    """

    rounding: Rounding
    multiplier: NDArray[np.int32]
    shift: NDArray[np.int8]
    zero_point: int
    low: int
    high: int

    @property
    def clamps(self) -> bool:
        """Whether saturation to int8 is not enough."""
        return (self.low, self.high) != (-128, 127)

    @property
    def factor(self) -> int:
        """What the multiplication wants the accumulator multiplied by."""
        return 2 if self.rounding is Rounding.DOUBLE else 1

    @property
    def name(self) -> str:
        """Part of the names of the C functions that end so."""
        return f"{self.rounding.value}{'_clamped' if self.clamps else ''}"

    def function(self) -> Function:
        """``dsp_finish_<name>(acc, multiplier, half, shift, low, high)``, an int8_t.

        ``half`` comes from ``dsp_half(zero_point, shift)``.
        """
        if self.rounding is Rounding.DOUBLE:
            first = "dsp_high_rounded(2 * acc, multiplier, half) + (acc >> 31)"
        else:
            first = "dsp_high(acc, multiplier, half)"
        result = "dsp_saturate(value >> shift)"
        arguments = ""
        if self.clamps:
            arguments = ", int32_t low, int32_t high"
            result = "(int8_t)(value < low ? low : value > high ? high : value)"
            first = f"({first}) >> shift"
        return Function(
            f"dsp_finish_{self.name}",
            f"""\
/* acc * multiplier * 2^-shift, rounded ({self.rounding.value}), with the zero point in half. */
DSP_INLINE int8_t dsp_finish_{self.name}(int32_t acc, int32_t multiplier, int32_t half,
                                            int32_t shift{arguments})
{{
    const int32_t value = {first};
    return {result};
}}""",
            (HIGH, HALF, SATURATE),
        )

    def call(self, acc: str, multiplier: str, half: str, shift: str) -> str:
        """The call of :meth:`function`; ``low`` and ``high`` by name where it clamps."""
        clamp = ", low, high" if self.clamps else ""
        return f"dsp_finish_{self.name}({acc}, {multiplier}, {half}, {shift}{clamp})"

    def assembler(
        self,
        acc: str,
        constants: tuple[str, str, str],
        to: str,
        limits: tuple[str, str],
        *,
        is_scaled: bool = False,
    ) -> list[str]:
        """Instructions that leave the result in ``to``; ``acc`` is lost.

        Args:
            acc: Register of the accumulator.
            constants: Registers of multiplier, half and shift.
            to: Register of the result.
            limits: Registers of low and high, read only where it clamps.
            is_scaled: The accumulator is multiplied by ``factor`` already.
        """
        multiplier, half, shift = constants
        low, high = limits
        if self.rounding is Rounding.DOUBLE:
            lines = [
                *([] if is_scaled else [f"lsl {acc}, {acc}, #1"]),
                f"smmlar {to}, {acc}, {multiplier}, {half}",
                f"add {to}, {to}, {acc}, asr #31",
            ]
        else:
            lines = [f"smmla {to}, {acc}, {multiplier}, {half}"]
        lines.append(f"asr {to}, {to}, {shift}")
        if not self.clamps:
            return [*lines, f"ssat {to}, #8, {to}"]
        return [
            *lines,
            f"cmp {to}, {low}",
            "it lt",
            f"movlt {to}, {low}",
            f"cmp {to}, {high}",
            "it gt",
            f"movgt {to}, {high}",
        ]


HALF = Function(
    "dsp_half",
    """\
/* What is added before the last shift: a half, and the zero point. */
DSP_INLINE int32_t dsp_half(int32_t zero_point, int32_t shift)
{
    return (2 * zero_point + 1) * (INT32_C(1) << (shift - 1));
}""",
    (ASSEMBLER,),
)


def is_finished(rescale: Rescale, channel: int, largest: int) -> bool:
    """Whether the conditions hold for one channel.

    Args:
        rescale: ``double`` or ``single``, as many multipliers as channels.
        channel: The channel.
        largest: No accumulator of it is larger in magnitude.
    """
    last = int(rescale.shift[channel]) - _fixed_shift(rescale.rounding)
    is_zero = int(rescale.multiplier[channel]) == 0
    return largest < ACCUMULATOR_LIMIT and (is_zero or 1 <= last <= _LARGEST_SHIFT)


def _fixed_shift(rounding: Rounding) -> int:
    """What the multiplication shifts by."""
    return 31 if rounding is Rounding.DOUBLE else 32


def finish(rescale: Rescale, channels: int, largest: int) -> Finish | None:
    """How a rescale to int8 is computed here, or None where the conditions do not hold.

    Args:
        rescale: The rescale.
        channels: Number of multipliers that the kernel reads.
        largest: No accumulator is larger in magnitude.
    """
    if rescale.rounding not in (Rounding.DOUBLE, Rounding.SINGLE) or largest >= ACCUMULATOR_LIMIT:
        return None
    low, high = max(rescale.minimum, -128), min(rescale.maximum, 127)
    if not -128 <= rescale.zero_point <= 127 or low > high:
        return None
    multiplier = np.broadcast_to(np.asarray(rescale.multiplier, np.int64).reshape(-1), channels)
    shift = np.broadcast_to(np.asarray(rescale.shift, np.int64).reshape(-1), channels)
    last = shift - _fixed_shift(rescale.rounding)
    last = np.where(multiplier == 0, 1, last)
    if last.min() < 1 or last.max() > _LARGEST_SHIFT:
        return None
    return Finish(
        rescale.rounding,
        multiplier.astype(np.int32),
        last.astype(np.int8),
        rescale.zero_point,
        low,
        high,
    )
