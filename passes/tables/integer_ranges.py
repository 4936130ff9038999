"""Which float tensors hold integers, and between which bounds.

Bounds go forward through the graph by interval arithmetic, for each channel (axis 1) where they
differ. Float rounding is monotone, so the bounds of an element-wise result are the results of the
bounds, computed in float32 like the graph. What depends on one small integer tensor alone, element
by element, is evaluated on all its values instead: ``x - 4 * floor(x / 4)`` is 0..3, which
intervals do not see. NaN is left out of account: it is no integer, and no graph of integers makes
one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.canonicalize.editing import constant, rank
from intaglio.passes.tables.element_wise import is_point_wise, point_wise
from intaglio.passes.tables.range_rules import RULES
from intaglio.passes.tables.ranges import UNKNOWN, IntegerRange, of_array, of_dtype

#: Most values of a tensor that element-wise results are evaluated on.
_MOST_LEVELS = 1 << 12


@dataclasses.dataclass(frozen=True)
class _Samples:
    """An element-wise function of an integer tensor, evaluated on all its values.

    Attributes:
        root: the tensor.
        values: [levels, C or 1, 1, ...].
    """

    root: ir.Value
    values: NDArray[Any]


def integer_ranges(graph: ir.Graph) -> dict[ir.Value, IntegerRange]:
    """What each tensor of a graph can hold.

    Args:
        graph: the graph; not changed.

    Returns:
        A range for every input and node output; unbounded where nothing is known.
    """
    ranges = {value: of_dtype(value.dtype) for value in graph.inputs}
    samples: dict[ir.Value, _Samples] = {}
    for node in graph:
        _infer(node, ranges, samples)
    return ranges


def _infer(
    node: ir.Node, ranges: dict[ir.Value, IntegerRange], samples: dict[ir.Value, _Samples]
) -> None:
    """Adds the ranges of the outputs of ``node``, and what they are of their roots."""
    for output in node.outputs:
        ranges[output] = of_dtype(output.dtype)
    output = node.outputs[0]
    if node.domain not in ("", "ai.onnx") or len(node.outputs) != 1 or not _is_exact(output):
        return
    rule = RULES.get(node.op_type)
    if rule is not None:
        found = rule(node, [_operand(value, rank(output), ranges) for value in node.inputs])
        # Integers that leave their type wrap around.
        if found is not None and _fits(found, output):
            ranges[output] = found
    if is_point_wise(node):
        traced = _extend(node, ranges, samples)
        if traced is not None:
            samples[output] = traced
            ranges[output] = ranges[output].narrowed(_of_samples(traced.values))


def _is_exact(value: ir.Value) -> bool:
    """Whether bounds rounded to float32 are those of the values: not in float64 or float16."""
    dtype = value.dtype
    return dtype is not None and (not dtype.is_floating_point() or dtype == ir.DataType.FLOAT)


def _operand(
    value: ir.Value | None, axes: int | None, ranges: dict[ir.Value, IntegerRange]
) -> IntegerRange:
    """What an operand holds; for each channel only where its axis 1 is that of the result."""
    if value is None:
        return UNKNOWN
    array = constant(value)
    if array is not None:
        return of_array(array, axes or 0)
    known = ranges.get(value, of_dtype(value.dtype))
    return known if rank(value) == axes and axes is not None else known.collapsed()


def _fits(found: IntegerRange, value: ir.Value) -> bool:
    if value.dtype is None or value.dtype.is_floating_point():
        return True
    held = of_dtype(value.dtype)
    return found.lowest >= held.lowest and found.highest <= held.highest


def _extend(
    node: ir.Node, ranges: Mapping[ir.Value, IntegerRange], samples: Mapping[ir.Value, _Samples]
) -> _Samples | None:
    """The function of one root that ``node`` computes, or None where it has several."""
    inputs = [v for v in node.inputs if v is not None and constant(v) is None]
    traces = []
    for value in inputs:
        trace = samples.get(value) or _start(value, ranges.get(value, UNKNOWN))
        if trace is None:
            return None
        traces.append(trace)
    # Where an operand is no function of the other's root, both may still be of one further on.
    if len({trace.root for trace in traces}) != 1:
        return None
    computed = point_wise(node, [trace.values for trace in traces])
    return None if computed is None else _Samples(traces[0].root, computed)


def _start(value: ir.Value, known: IntegerRange) -> _Samples | None:
    """The values of a small integer tensor themselves, clamped to the bounds of each channel."""
    axes, dtype = rank(value), value.dtype
    if axes is None or axes < 2 or dtype is None:
        return None
    if not known.integer or known.rows > _MOST_LEVELS:
        return None
    grid = known.grid().astype(dtype.numpy())
    return _Samples(value, grid.reshape(*grid.shape, *(1,) * (axes - 2)))


def _of_samples(values: NDArray[Any]) -> IntegerRange:
    flat = values.reshape(values.shape[0], -1).astype(np.float64)
    if not np.isfinite(flat).all():
        return UNKNOWN
    return IntegerRange(flat.min(axis=0), flat.max(axis=0), bool((flat == np.round(flat)).all()))
