"""Weights and biases as portable kernels store them, and how wide their sums are."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.network import Tensor

_INT32_LIMIT = 1 << 31


@dataclasses.dataclass(frozen=True, eq=False)
class Constants:
    """Weights and bias of a layer.

    Attributes:
        weights: int8, or int16 where they have a zero point, which is then subtracted.
        bias: int32, or int64 where it does not fit.
        wide: Whether sums need 64 bits.
    """

    weights: NDArray[Any]
    bias: NDArray[Any]
    wide: bool

    @property
    def sum_type(self) -> str:
        """C type of the sums."""
        return "int64_t" if self.wide else "int32_t"


def largest_magnitude(tensor: Tensor) -> int:
    """The largest ``|x - zero_point|`` of an integer tensor."""
    limits = np.iinfo(tensor.dtype)
    return max(int(limits.max) - tensor.zero_point, tensor.zero_point - int(limits.min))


def constants(
    x: Tensor,
    weights: NDArray[np.int8],
    weight_zero_point: int,
    bias: NDArray[np.int64],
    fold: bool,
) -> Constants:
    """Prepares the constants of a convolution.

    Args:
        x: Its input.
        weights: Filters first, in the order of the layer.
        weight_zero_point: Their zero point.
        bias: One for each filter.
        fold: Take ``-x.zero_point * sum(weights)`` into the bias, so that ``x`` can be multiplied
            as it is.

    Partial sums stay below ``|bias| + sum |w| * max |x - zero_point|``, folded or not: a folded sum
    is ``bias + (x - zero_point) * w`` of the taps done, less ``zero_point * w`` of the others.
    """
    shifted = weights.astype(np.int64) - weight_zero_point
    flat = shifted.reshape(weights.shape[0], -1)
    bound = np.abs(flat).sum(1) * largest_magnitude(x) + np.abs(bias)
    folded = bias - x.zero_point * flat.sum(1) if fold else bias
    wide = bool(bound.size and bound.max() >= _INT32_LIMIT)
    fits = not wide or bool(folded.size and np.abs(folded).max() < _INT32_LIMIT)
    return Constants(
        weights=shifted.astype(np.int16) if weight_zero_point else weights,
        bias=folded.astype(np.int32 if fits else np.int64),
        wide=wide,
    )


def function_name(
    kind: str, x: str, w: str, bias: str, y: str, rounding: str, *, wide: bool
) -> str:
    """Name of a C function from its types: the common ones are not named."""
    parts = [kind, x.removesuffix("_t")]
    parts += ["weights16"] if w == "int16_t" else []
    parts += ["bias64"] if bias == "int64_t" else []
    parts += ["wide_sum"] if wide else []
    parts += [f"to_{y.removesuffix('_t')}"] if y != x else []
    return "_".join([*parts, rounding])
