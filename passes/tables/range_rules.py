"""What each operator makes of the bounds of its operands.

A rule gets the node and a range for each input, and returns that of the output, or None where it
knows no more than the type says. Bounds are rounded to float32, as the graph's values are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.canonicalize.editing import (
    constant,
    dims,
    integer,
    ints,
    operand,
    scalar,
    text,
)
from intaglio.passes.tables.ranges import (
    EXACT,
    Bounds,
    IntegerRange,
    aligned,
    bounded,
    of_dtype,
)

Rule = Callable[[ir.Node, Sequence[IntegerRange]], IntegerRange | None]


def _float32(values: Bounds) -> Bounds:
    with np.errstate(all="ignore"):
        rounded = values.astype(np.float32).astype(np.float64)
    return rounded


def _make(low: Bounds, high: Bounds, whole: bool) -> IntegerRange | None:
    if np.isnan(low).any() or np.isnan(high).any():
        return None
    return IntegerRange(_float32(low), _float32(high), whole)


def _monotone(
    function: Callable[[Bounds], Bounds], always_integer: bool = False, keeps: bool = True
) -> Rule:
    """A rising function; ``keeps`` where integers stay integers."""

    def rule(node: ir.Node, inputs: Sequence[IntegerRange]) -> IntegerRange | None:
        x = inputs[0]
        whole = always_integer or (keeps and x.integer)
        return _make(function(x.low), function(x.high), whole)

    return rule


def _negated(node: ir.Node, inputs: Sequence[IntegerRange]) -> IntegerRange | None:
    return _make(-inputs[0].high, -inputs[0].low, inputs[0].integer)


def _absolute(node: ir.Node, inputs: Sequence[IntegerRange]) -> IntegerRange | None:
    x = inputs[0]
    largest = np.maximum(np.abs(x.low), np.abs(x.high))
    smallest = np.where((x.low <= 0) & (x.high >= 0), 0, np.minimum(abs(x.low), abs(x.high)))
    return _make(smallest, largest, x.integer)


def _clip(node: ir.Node, inputs: Sequence[IntegerRange]) -> IntegerRange | None:
    x = inputs[0]
    low, high, whole = x.low, x.high, x.integer
    for index, narrow in ((1, np.maximum), (2, np.minimum)):
        if operand(node, index) is None:
            continue
        bound = scalar(operand(node, index))
        if bound is None:
            return None
        low, high = narrow(low, bound), narrow(high, bound)
        # Where the bound takes part, the result is an integer only if the bound is.
        whole = whole and float(bound).is_integer()
    return _make(low, high, whole)


def _binary(function: Callable[[Bounds, Bounds], Bounds], keeps: bool) -> Rule:
    """The extremes are among those of the four pairs of bounds."""

    def rule(node: ir.Node, inputs: Sequence[IntegerRange]) -> IntegerRange | None:
        if len(inputs) != 2:
            return None
        a, b = aligned(inputs[0], inputs[1])
        with np.errstate(all="ignore"):
            ends = np.stack(
                [function(*pair) for pair in ((a.low, b.low), (a.low, b.high), (a.high, b.low),
                                              (a.high, b.high))]
            )  # fmt: skip
        found = _make(ends.min(axis=0), ends.max(axis=0), keeps and a.integer and b.integer)
        if found is None or (found.integer and max(-found.lowest, found.highest) > EXACT):
            return None
        return found

    return rule


def _divide(node: ir.Node, inputs: Sequence[IntegerRange]) -> IntegerRange | None:
    if len(inputs) != 2 or (inputs[1].lowest <= 0 <= inputs[1].highest):
        return None
    return _binary(np.divide, False)(node, inputs)


def _cast(node: ir.Node, inputs: Sequence[IntegerRange]) -> IntegerRange | None:
    x, dtype = inputs[0], node.outputs[0].dtype
    if dtype is None:
        return None
    if dtype.is_floating_point():
        return _make(x.low, x.high, x.integer)
    held = of_dtype(dtype)
    inside = x.lowest >= held.lowest and x.highest <= held.highest
    return x if x.integer and inside else None


def _same(node: ir.Node, inputs: Sequence[IntegerRange]) -> IntegerRange | None:
    return inputs[0]


def _moved(node: ir.Node, inputs: Sequence[IntegerRange]) -> IntegerRange | None:
    return inputs[0].collapsed()


def _slice(node: ir.Node, inputs: Sequence[IntegerRange]) -> IntegerRange | None:
    axes = constant(operand(node, 3))
    if axes is not None and axes.min() > 1:
        return inputs[0]
    return inputs[0].collapsed()


def _transpose(node: ir.Node, inputs: Sequence[IntegerRange]) -> IntegerRange | None:
    order = ints(node, "perm")
    return inputs[0] if order is not None and order[1:2] == [1] else inputs[0].collapsed()


def _pad(node: ir.Node, inputs: Sequence[IntegerRange]) -> IntegerRange | None:
    if text(node, "mode", "constant") != "constant":
        return inputs[0].collapsed()
    filled = inputs[2] if operand(node, 2) is not None else bounded(0, 0, True)
    return inputs[0].collapsed().union(filled.collapsed())


def _concat(node: ir.Node, inputs: Sequence[IntegerRange]) -> IntegerRange | None:
    shapes = [v.shape if v is not None else None for v in node.inputs]
    if integer(node, "axis", 0) == 1 and all(s is not None and len(s) > 1 for s in shapes):
        counts = [s[1] for s in shapes if s is not None]
        if all(isinstance(count, int) for count in counts):
            sizes = [int(count) for count in counts if isinstance(count, int)]
            pairs = list(zip(inputs, sizes, strict=True))
            return IntegerRange(
                np.concatenate([np.broadcast_to(r.low, n) for r, n in pairs]),
                np.concatenate([np.broadcast_to(r.high, n) for r, n in pairs]),
                all(r.integer for r in inputs),
            )
    result = inputs[0].collapsed()
    for other in inputs[1:]:
        result = result.union(other.collapsed())
    return result


def _reduce_sum(node: ir.Node, inputs: Sequence[IntegerRange]) -> IntegerRange | None:
    axes, sizes = constant(operand(node, 1)), dims(node.inputs[0])
    if axes is None or sizes is None or axes.size == 0:
        return None
    count = 1
    for axis in axes.reshape(-1):
        size = sizes[int(axis)]
        if not isinstance(size, int):
            return None
        count *= size
    x = inputs[0].collapsed()
    if not x.integer or count * max(-x.lowest, x.highest) > EXACT:
        return None
    return _make(x.low * count, x.high * count, True)


def _conv(node: ir.Node, inputs: Sequence[IntegerRange]) -> IntegerRange | None:
    """Bounds of a sum of products; not of integers they are widened by what rounding can add."""
    weight, bias = constant(operand(node, 1)), constant(operand(node, 2))
    x = inputs[0]
    if weight is None or not x.finite or (operand(node, 2) is not None and bias is None):
        return None
    group = integer(node, "group", 1)
    channels = weight.shape[1] * group
    if x.low.size not in (1, channels):
        return None
    low, high = (np.broadcast_to(b, channels) for b in (x.low, x.high))
    if any(ints(node, "pads") or []) or text(node, "auto_pad", "NOTSET") != "NOTSET":
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    real = weight.astype(np.float64).reshape(group, -1, weight.shape[1], weight[0, 0].size)
    up, down = (np.maximum(s * real, 0).sum(axis=3) for s in (1, -1))
    low, high = (b.reshape(group, 1, -1) for b in (low, high))
    added = 0.0 if bias is None else bias.astype(np.float64)
    smallest = (up * low - down * high).sum(axis=2).reshape(-1) + added
    largest = (up * high - down * low).sum(axis=2).reshape(-1) + added
    reach = ((up + down) * np.maximum(abs(low), abs(high))).sum(axis=2).reshape(-1) + abs(added)
    whole = x.integer and _whole(weight) and (bias is None or _whole(bias))
    if whole and reach.max(initial=0) <= EXACT:
        return IntegerRange(smallest, largest, True)
    slack = reach * (real.shape[2] * real.shape[3] + 2) * 2.0**-24
    return _make(smallest - slack, largest + slack, False)


def _whole(array: NDArray[np.float64]) -> bool:
    return bool((array == np.round(array)).all())


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "Relu": _monotone(lambda v: np.maximum(v, 0)),
        "Floor": _monotone(np.floor, always_integer=True),
        "Ceil": _monotone(np.ceil, always_integer=True),
        "Round": _monotone(np.round, always_integer=True),
        "Neg": _negated,
        "Abs": _absolute,
        "Clip": _clip,
        "Add": _binary(np.add, True),
        "Sub": _binary(np.subtract, True),
        "Mul": _binary(np.multiply, True),
        "Max": _binary(np.maximum, True),
        "Min": _binary(np.minimum, True),
        "Div": _divide,
        "Cast": _cast,
        "Identity": _same,
        "MaxPool": _same,
        "Slice": _slice,
        "Transpose": _transpose,
        "Pad": _pad,
        "Concat": _concat,
        "ReduceSum": _reduce_sum,
        "Conv": _conv,
        **dict.fromkeys(
            (
                "DepthToSpace",
                "Expand",
                "Flatten",
                "Gather",
                "GlobalMaxPool",
                "ReduceMax",
                "ReduceMin",
                "Reshape",
                "SpaceToDepth",
                "Squeeze",
                "Tile",
                "Unsqueeze",
            ),
            _moved,
        ),
    }
)
