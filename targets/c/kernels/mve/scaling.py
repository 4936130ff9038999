"""Rescales of four or eight lanes, exact, with the multiplier and the shift in registers.

``double`` is ``t = round(acc * m / 2^31)``, ties upward, which is ``VQRDMULH``, then a rounding
shift right by ``e = shift - 31``, ties away from zero. ``VRSHL`` moves ties upward, so a negative
value needs one less before it: ``acc >> 31``, which ``VQRDMLAH`` adds to the product for nothing
(``acc`` and ``t`` have the same sign, or ``t`` is 0, and then both give 0).

=========  =====================================================================================
positive   the clamp begins at the zero point, so negative values need no correction
signed     every shift is 32 or more
general    any shift: ``acc`` is shifted left by ``31 - shift`` first where that is positive,
           saturating (what saturates is beyond every clamp to 8 bits then), and channels whose
           ``e`` is 0 have no correction: their sign is shifted out to the left
=========  =====================================================================================

Source of the formulas: :mod:`intaglio.transforms.fixed_point`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.network import Rescale
from intaglio.transforms.fixed_point import Rounding

_KEEP_SIGN, _DROP_SIGN = -31, 32


@dataclasses.dataclass(frozen=True, eq=False)
class Scaling:
    """How the sums of a layer become int8.

    Attributes:
        form: ``positive``, ``signed`` or ``general``.
        columns: int32 ``[channels, 2, 3 or 4]``: multiplier, right shift as a negative number,
            and for ``general`` a left shift and the shift that leaves the sign or nothing.
        zero_point: Added to the result.
        minimum: Smallest result, of int8.
        maximum: Largest result.
    """

    form: str
    columns: NDArray[np.int32]
    zero_point: int
    minimum: int
    maximum: int

    @property
    def name(self) -> str:
        """Part of the name of a function that has it built in."""
        low = "" if self.minimum == -128 else f"_from_{self.minimum}".replace("-", "m")
        high = "" if self.maximum == 127 else f"_to_{self.maximum}".replace("-", "m")
        return self.form + low + high

    @property
    def words(self) -> int:
        """Words that a channel has in a stream, with its bias."""
        return 1 + int(self.columns.shape[1])


def scaling(rescale: Rescale, channels: int) -> Scaling | None:
    """The form of a rescale to int8; None where it is not ``double``."""
    if rescale.rounding is not Rounding.DOUBLE:
        return None
    if rescale.minimum < -128 or rescale.maximum > 127:
        return None
    multiplier = np.broadcast_to(np.asarray(rescale.multiplier, np.int64).reshape(-1), channels)
    shift = np.broadcast_to(np.asarray(rescale.shift, np.int64).reshape(-1), channels)
    shift = np.where(multiplier == 0, 32, shift)
    if rescale.minimum >= rescale.zero_point and shift.min() >= 31:
        form = "positive"
    else:
        form = "signed" if shift.min() >= 32 else "general"
    right = -np.maximum(shift - 31, 0)
    columns = [multiplier, right]
    if form == "general":
        columns.append(np.maximum(31 - shift, 0))
        columns.append(np.where(right < 0, _KEEP_SIGN, _DROP_SIGN))
    stacked = np.stack(columns, axis=1).astype(np.int32)
    return Scaling(form, stacked, rescale.zero_point, rescale.minimum, rescale.maximum)


def narrowing(scale: Scaling, q: int, spare: int, register: str) -> list[str]:
    """Eight int16 lanes with their zero point to eight int8 in the lower halves.

    Args:
        scale: The clamp.
        q: Vector register of the lanes.
        spare: Vector register that is free.
        register: General register that is free.
    """
    lines = []
    for value, operation, usual in (
        (scale.minimum, "vmax", -128),
        (scale.maximum, "vmin", 127),
    ):
        if value != usual:
            lines.append(f"movw {register}, #{value & 0xFFFF}")
            lines.append(f"vdup.16 q{spare}, {register}")
            lines.append(f"{operation}.s16 q{q}, q{q}, q{spare}")
    return [*lines, f"vqmovnb.s16 q{q}, q{q} // clamped to int8"]


def rescaling(
    scale: Scaling, q: int, spare: int, registers: tuple[str, ...]
) -> tuple[list[str], int]:
    """Four sums to int32 results without zero point.

    Args:
        scale: Form.
        q: Vector register of the sums.
        spare: Vector register that is free.
        registers: Bias and columns of the channel.

    Returns:
        Instructions, and the register of the results: one of the two.
    """
    bias, multiplier, right = registers[:3]
    lines = [f"vadd.i32 q{q}, q{q}, {bias}"]
    if scale.form == "positive":
        lines.append(f"vqrdmulh.s32 q{q}, q{q}, {multiplier}")
        return [*lines, f"vrshl.s32 q{q}, {right}"], q
    if scale.form == "signed":
        lines.append(f"vshr.s32 q{spare}, q{q}, #31")
    else:
        left, sign = registers[3:]
        lines.append(f"vmov q{spare}, q{q}")
        lines.append(f"vshl.s32 q{spare}, {sign} // -1 if negative")
        lines.append(f"vqshl.s32 q{q}, {left}")
    lines.append(f"vqrdmlah.s32 q{spare}, q{q}, {multiplier}")
    return [*lines, f"vrshl.s32 q{spare}, {right}"], spare
