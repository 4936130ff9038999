"""The entries of a region: its own float operators run on every integer that its root can hold.

onnx's reference evaluator computes each node. It is done three times: with the integers as a batch,
with them as positions of one image and in reverse order, and in float64. Entries on which these
agree do not depend on the order in which a runtime adds. Where they do not agree, a result lies on
the boundary of a rounding and the float graph itself has no certain value there: a *near tie*.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.canonicalize.editing import constant
from intaglio.passes.rewriting import evaluate
from intaglio.passes.tables.find_scalar_regions import ScalarRegion
from intaglio.passes.tables.ranges import IntegerRange


@dataclasses.dataclass(frozen=True, eq=False)
class Entries:
    """A region as numbers.

    Attributes:
        values: int64 [rows, J], for the integers from the root's lowest to its highest; beyond the
            bounds of a channel the entry of the nearest one inside.
        again: the same, computed in another layout; near ties are not.
        near_ties: number of results that are rounded differently in another layout or in float64.
        margin: smallest distance of a number that is rounded from the boundary of that rounding,
            among the numbers that float32 does not hold exactly; None where it holds them all.
            Far above float32's errors, every runtime agrees.
    """

    values: NDArray[np.int64]
    again: NDArray[np.int64]
    near_ties: int
    margin: float | None


class NotATableError(Exception):
    """Why a region has no table of integers."""


def evaluate_region(found: ScalarRegion, known: IntegerRange) -> Entries:
    """Tabulates a region.

    Args:
        found: the region.
        known: what its root holds.

    Raises:
        NotATableError: an operator cannot be evaluated, or the results are no integers.
    """
    grid = known.grid()
    batch, rounded = _run(found, grid, image=False)
    image = _run(found, grid[::-1], image=True)[0][::-1]
    if not np.isfinite(batch).all() or (batch != np.round(batch)).any():
        raise NotATableError(
            "its results are not integers: nothing rounds them before they are used"
        )
    wide, rounded_wide = _run(found, grid, image=False, wide=True)
    near = (batch != image) | (batch != wide)
    values = batch.astype(np.int64)
    again = np.where(near, batch, image).astype(np.int64)
    return Entries(values, again, int(near.sum()), _margin(rounded, rounded_wide))


def _margin(rounded: Sequence[NDArray[Any]], wide: Sequence[NDArray[Any]]) -> float | None:
    """The smallest distance from the middle between two integers, of what is not exact."""
    distances = [
        np.abs(np.abs(second - np.floor(second)) - 0.5)[first != second]
        for first, second in zip(rounded, wide, strict=True)
    ]
    every = np.concatenate(distances) if distances else np.zeros(0)
    return float(every.min()) if every.size else None


def _run(
    found: ScalarRegion, grid: NDArray[np.float64], *, image: bool, wide: bool = False
) -> tuple[NDArray[np.float64], list[NDArray[Any]]]:
    """Results [rows, J] of the region on samples [rows, C or 1], and what its Rounds read."""
    dims = found.root.shape
    dtype = found.root.dtype
    if dims is None or dtype is None:
        raise NotATableError("the shape of its input is not known")
    axes = len(dims) - 2
    owners = int(dims[1]) if isinstance(dims[1], int) else grid.shape[1]
    samples = np.broadcast_to(grid, (grid.shape[0], owners)).astype(dtype.numpy())
    if image:
        start = samples.T.reshape(1, owners, *(1,) * (axes - 1), -1)
    else:
        start = samples.reshape(*samples.shape, *(1,) * axes)
    known: dict[ir.Value, NDArray[Any]] = {found.root: _precise(start, wide)}
    rounded = []
    for node in found.nodes:
        operands = [None if v is None else _operand(v, known, wide) for v in node.inputs]
        if node.op_type == "Round" and operands[0] is not None:
            rounded.append(operands[0])
        try:
            [result] = evaluate(node, operands)
        except ValueError as error:
            raise NotATableError(f"it cannot be evaluated: {error}") from error
        known[node.outputs[0]] = _precise(np.asarray(result), wide)
    last = np.asarray(known[found.output], np.float64)
    flat = last.reshape(last.shape[1], -1).T if image else last.reshape(last.shape[0], -1)
    return np.asarray(flat), rounded


def _operand(value: ir.Value, known: dict[ir.Value, NDArray[Any]], wide: bool) -> NDArray[Any]:
    array = constant(value)
    return known[value] if array is None else _precise(array, wide)


def _precise(array: NDArray[Any], wide: bool) -> NDArray[Any]:
    return array.astype(np.float64) if wide and array.dtype.kind == "f" else array
