"""What a Rescale node computes, in numpy: for analyses that need its results, not only its name."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.canonicalize.editing import constant
from intaglio.passes.dialect.specification import DOMAIN
from intaglio.transforms.fixed_point import (
    rescale_double,
    rescale_real,
    rescale_single,
    rescale_wide,
)

_INT32 = 1 << 31
_PREFIX = "Rescale"


def is_rescale(node: ir.Node | None) -> bool:
    """Whether ``node`` rescales sums and all its parameters are constants."""
    return (
        node is not None
        and node.domain == DOMAIN
        and node.op_type.startswith(_PREFIX)
        and all(constant(value) is not None for value in node.inputs[1:])
    )


def by_channel(value: ir.Value | None, rank: int | None) -> NDArray[np.int64] | None:
    """A constant as one number, or one for each channel (axis 1): ``[1]`` or ``[C]``.

    Args:
        value: The constant.
        rank: Number of axes of what it broadcasts with; None where not known.

    Returns:
        None where it is computed, or differs along another axis.
    """
    array = constant(value)
    if array is None:
        return None
    if array.size == 1:
        return array.reshape(1).astype(np.int64)
    if rank is None or rank < 2:
        return None
    shape = (1,) * (rank - array.ndim) + array.shape
    if len(shape) != rank or any(size != 1 for axis, size in enumerate(shape) if axis != 1):
        return None
    return array.reshape(-1).astype(np.int64)


def rescaled(node: ir.Node, sums: NDArray[np.int64], rank: int | None) -> NDArray[np.int64] | None:
    """The results of a Rescale node.

    Args:
        node: A node for which :func:`is_rescale` holds.
        sums: ``[C or 1, ...]``: sums of each channel.
        rank: Number of axes of the node's tensor.

    Returns:
        ``[C or 1, ...]``; None where its constants do not go by channels, or the sums are beyond
        what the rounding takes.
    """
    multiplier, shift = (by_channel(node.inputs[index], rank) for index in (1, 2))
    if multiplier is None or shift is None:
        return None
    zero_point, minimum, maximum = (
        int(np.asarray(constant(value)).reshape(-1)[0]) for value in node.inputs[3:6]
    )
    if sums.size and max(-sums.min(), sums.max()) >= _INT32:
        return None
    ones = (1,) * (sums.ndim - 1)
    multiplier, shift = multiplier.reshape(-1, *ones), shift.reshape(-1, *ones)
    scaled = rescale_sums(node.op_type, sums, multiplier, shift)
    return np.asarray(np.clip(scaled + zero_point, minimum, maximum))


def rescale_sums(
    operator: str, sums: NDArray[np.int64], multiplier: NDArray[np.int64], shift: NDArray[np.int64]
) -> NDArray[np.int64]:
    """``round(sums * multiplier * 2^-shift)`` as a Rescale operator rounds.

    Args:
        operator: ``RescaleDouble``, ``RescaleReal``, ``RescaleSingle`` or ``RescaleWide``.
        sums: Integers that fit 32 bits.
        multiplier: Broadcasts with the sums.
        shift: Likewise.
    """
    rounding = operator[len(_PREFIX) :]
    if rounding == "Real":
        return rescale_real(sums, np.ldexp(multiplier.astype(np.float64), -shift))
    functions = {"Double": rescale_double, "Single": rescale_single, "Wide": rescale_wide}
    return np.asarray(functions[rounding](sums, multiplier, shift))
