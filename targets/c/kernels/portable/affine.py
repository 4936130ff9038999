"""Sums of products with integers, shifted, in place of exact rescales.

The result of an int8 layer has few different arguments: 256 values of one operand, 65,536 pairs of
two. A rescale of them is nearly the real function ``sum of slope * x``, rounded, so there often are
integers with

    result = clip((x_0*factor_0 + x_1*factor_1 + ... + offset) >> places, minimum, maximum)

for each argument, all in 32 bits. They are looked for near the real slopes and taken only if every
argument gives the exact result: what is found is not an approximation.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.portable.values import INT32_MAXIMUM
from intaglio.targets.c.literals import number

#: How far from the rounded slope a factor is looked for.
_REACH = 3
#: How many more places than seem to fit, and how many fewer, are tried.
_PLACES = (1, 0, -1, -2)


@dataclasses.dataclass(frozen=True)
class Affine:
    """``clip((sum of x_k * factors[k] + offset) >> places, minimum, maximum)``.

    No sum of some of the terms leaves int32, the offset among them or not.

    Attributes:
        factors: One for each operand.
        offset: Added to the products.
        places: Arithmetic right shift of the sum, less than 31.
    """

    factors: tuple[int, ...]
    offset: int
    places: int

    def expression(self, *values: str) -> str:
        """The shifted sum as C text, to be clamped."""
        terms = [f"{v} * {number(f)}" for v, f in zip(values, self.factors, strict=True)]
        sign = "-" if self.offset < 0 else "+"
        return f"({' + '.join(terms)} {sign} {abs(self.offset)}) >> {self.places}"

    def results(
        self, operands: Sequence[NDArray[np.int64]], minimum: int, maximum: int
    ) -> NDArray[np.int64]:
        """What it gives for values of the operands."""
        total = np.full(operands[0].shape, self.offset, np.int64)
        for operand, factor in zip(operands, self.factors, strict=True):
            total += operand * factor
        return np.asarray(np.clip(total >> self.places, minimum, maximum))


def affine(
    operands: Sequence[NDArray[np.int64]],
    results: NDArray[np.int64],
    slopes: Sequence[float],
    minimum: int,
    maximum: int,
    places: int | None = None,
) -> Affine | None:
    """Integers that give exactly ``results``; None where none are found.

    Args:
        operands: Each operand's value in every argument; of one shape.
        results: The result of every argument, of the same shape, in ``minimum .. maximum``.
        slopes: The real factor of each operand.
        minimum: Smallest result.
        maximum: Largest result.
        places: The shift to take; None for any.
    """
    flat = [operand.reshape(-1) for operand in operands]
    values = results.reshape(-1)
    sizes = [int(np.abs(operand).max()) for operand in flat]
    if values.min() == values.max():
        shift = places or 1
        return Affine((0,) * len(flat), int(values[0]) << shift, shift)
    # A result at a rail allows all sums beyond it.
    lower, upper = values > minimum, values < maximum
    spread = sum(abs(slope) * size for slope, size in zip(slopes, sizes, strict=True))
    room = 2 * spread + float(np.abs(values).max()) + 1
    fitting = int(np.floor(np.log2(INT32_MAXIMUM / room)))
    for shift in [fitting + more for more in _PLACES] if places is None else [places]:
        if not 0 < shift < 31:
            continue
        low = _Bound([operand[lower] for operand in flat], values[lower] << shift)
        high = _Bound([operand[upper] for operand in flat], ((values[upper] + 1) << shift) - 1)
        found = _search(low, high, [slope * 2.0**shift for slope in slopes], sizes)
        if found is not None:
            taken = Affine(found[0], found[1], shift)
            if np.array_equal(taken.results(flat, minimum, maximum), values):
                return taken
    return None


@dataclasses.dataclass(frozen=True, eq=False)
class _Bound:
    """What the sum of products and offset must reach, or must not exceed, for each argument."""

    operands: Sequence[NDArray[np.int64]]
    limits: NDArray[np.int64]

    def offsets(self, factors: Sequence[float] | Sequence[int]) -> NDArray[np.float64]:
        """The offset that meets each limit; exact for integers, as all sums are below 2^53."""
        products = sum(
            operand * float(factor) for operand, factor in zip(self.operands, factors, strict=True)
        )
        return np.asarray(self.limits - products)

    def near(self, kept: NDArray[np.bool_]) -> _Bound:
        """Only some of the arguments."""
        return _Bound([operand[kept] for operand in self.operands], self.limits[kept])


def _search(
    low: _Bound, high: _Bound, ideal: Sequence[float], sizes: Sequence[int]
) -> tuple[tuple[int, ...], int] | None:
    """Factors near the ideal ones and an offset between both bounds."""
    # With factors at most `_REACH` + 1/2 off, an argument further away than twice what that makes
    # of the sum never decides.
    doubt = 2 * (_REACH + 1) * sum(sizes)
    exact = low.offsets(ideal)
    low = low.near(exact >= exact.max() - doubt)
    exact = high.offsets(ideal)
    high = high.near(exact <= exact.min() + doubt)
    steps = itertools.product(range(-_REACH, _REACH + 1), repeat=len(ideal))
    for step in sorted(steps, key=lambda step: sum(s * s for s in step)):
        factors = tuple(round(f) + s for f, s in zip(ideal, step, strict=True))
        least, most = low.offsets(factors).max(), high.offsets(factors).min()
        if least > most:
            continue
        offset = (int(least) + int(most)) // 2
        terms = sum(abs(f) * size for f, size in zip(factors, sizes, strict=True))
        if terms + abs(offset) <= INT32_MAXIMUM:
            return factors, offset
    return None
