"""One GATHER that reads a row of a table for every number, and sums of what it reads."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.tosa.emitters.common import reduced
from intaglio.targets.tosa.scope import Scope


def looked_up(
    scope: Scope, numbers: str, first: int, area: int, tables: NDArray[Any], name: str
) -> str:
    """Appends the look-ups of a row for each term at each place.

    Args:
        scope: The file.
        numbers: int8, ``area`` times one number for each table.
        first: The number of the first row.
        area: Number of places.
        tables: [tables, rows, outputs].
        name: For the tensors.

    Returns:
        int32 [1, area * tables, outputs].
    """
    terms, rows, outputs = tables.shape
    flat = (1, area, terms)
    number = scope.reshape(numbers, flat, scope.intermediate(f"{name}_taps", flat, "int8"))
    wide = scope.intermediate(f"{name}_row", flat, "int32")
    wide = scope.rescale(number, wide, dtypes=("int8", "int32"), zero_points=(first, 0))
    starts = scope.constant("starts", np.arange(terms).reshape(1, 1, terms) * rows, "int32")
    index = scope.operator("ADD", [wide, starts], scope.intermediate(f"{name}_at", flat, "int32"))
    long = (1, area * terms)
    index = scope.reshape(index, long, scope.intermediate(f"{name}_index", long, "int32"))
    entries = np.ascontiguousarray(tables).reshape(1, terms * rows, outputs)
    dtype, size = entries.dtype.name, (1, area * terms, outputs)
    values = scope.constant(f"{name}_entries", entries)
    found = scope.intermediate(f"{name}_found", size, dtype)
    scope.operator("GATHER", [values, index], found)
    return scope.rescale(
        found, scope.intermediate(f"{name}_wide", size, "int32"), dtypes=(dtype, "int32")
    )


def summed(scope: Scope, data: str, shape: tuple[int, ...], axis: int) -> str:
    """Appends a sum along an axis of the data in a shape; the axis stays with size 1."""
    apart = scope.reshape(data, shape, scope.intermediate(f"{data}_apart", shape, "int32"))
    return reduced(scope, "REDUCE_SUM", apart, shape, axis, "int32")
