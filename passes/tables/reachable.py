"""Which numbers the tensors of an integer graph can take, proved from the operators that make them.

An int8 tensor has a set of codes, a 32-bit tensor a range; each for every channel (axis 1) where
that is known, else for all. Inputs of the graph can be anything. Clamps, tables, and the ranges of
sums under a rescale narrow; moves keep; what is not known here can be anything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.canonicalize.editing import constant, integer, rank
from intaglio.passes.dialect.functions import SPECIFICATIONS
from intaglio.passes.dialect.specification import DOMAIN
from intaglio.passes.tables.placing import read_layer
from intaglio.passes.tables.products import NoTableError, read_product
from intaglio.passes.tables.rescaling import by_channel, is_rescale, rescaled

#: bool ``[C or 1, 256]``: code ``v`` at ``v + 128``.
Codes = NDArray[np.bool_]

_CODES = np.arange(-128, 128, dtype=np.int64)


@dataclasses.dataclass(frozen=True, eq=False)
class Range:
    """The smallest and largest value of a 32-bit tensor, int64 ``[C]`` or ``[1]``."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]


class Reachable:
    """What the tensors of a graph can hold.

    Args:
        graph: An integer graph, in order.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self._codes: dict[ir.Value, Codes] = {}
        self._ranges: dict[ir.Value, Range] = {}
        for node in graph:
            self._visit(node)

    def codes(self, value: ir.Value | None) -> Codes:
        """The codes that an int8 tensor can hold."""
        array = constant(value)
        if array is not None and array.dtype == np.int8:
            return _these(array.astype(np.int64))[None]
        return _anything() if value is None else self._codes.get(value, _anything())

    def range(self, value: ir.Value | None) -> Range | None:
        """The range of a 32-bit tensor, or None."""
        return None if value is None else self._ranges.get(value)

    def _visit(self, node: ir.Node) -> None:
        result = node.outputs[0] if node.outputs else None
        if result is None:
            return
        if result.dtype == ir.DataType.INT8:
            for output in node.outputs:
                self._codes[output] = self._made(node)
        elif result.dtype == ir.DataType.INT32:
            found = self._sums(node)
            if found is not None:
                self._ranges[result] = found

    # -- int8 ----------------------------------------------------------------------------------

    def _made(self, node: ir.Node) -> Codes:
        limits = _clamp(node)
        if is_rescale(node):
            sums, axes = self.range(node.inputs[0]), rank(node.outputs[0])
            ends = None
            if sums is not None:
                ends = rescaled(node, np.stack([sums.low, sums.high], axis=1), axes)
            if ends is not None:
                return _between(ends[:, 0], ends[:, 1])
        if limits is not None:
            return _between(np.array([limits[0]]), np.array([limits[1]]))
        if node.domain == DOMAIN and node.op_type == "Table":
            return _looked_up(self.codes(node.inputs[0]), np.asarray(constant(node.inputs[1])))
        if node.domain == DOMAIN and node.op_type == "TableChannelwise":
            table = np.asarray(constant(node.inputs[1]))
            return _looked_up(np.broadcast_to(self.codes(node.inputs[0]), table.shape), table)
        move = _MOVES.get(node.op_type)
        return _anything() if move is None else move(self, node)

    # -- int32 ---------------------------------------------------------------------------------

    def _sums(self, node: ir.Node) -> Range | None:
        if node.domain == DOMAIN:
            return self._looked_up_sums(node)
        if node.op_type == "Cast":
            source = node.inputs[0]
            if source is None or source.dtype != ir.DataType.INT8:
                return self.range(source)
            return _ends(self.codes(source))
        if node.op_type in ("Add", "Sub") and len(node.inputs) == 2:
            return self._added(node)
        if node.op_type in ("ConvInteger", "MatMulInteger"):
            return self._products(node)
        if node.op_type in ("Squeeze", "Unsqueeze", "Reshape", "Transpose"):
            found = self.range(node.inputs[0])
            return None if found is None else Range(found.low.min()[None], found.high.max()[None])
        return None

    def _added(self, node: ir.Node) -> Range | None:
        axes = rank(node.outputs[0]) or rank(node.inputs[0])
        terms = []
        for value in node.inputs:
            found = self.range(value)
            if found is None:
                number = by_channel(value, axes)
                found = None if number is None else Range(number, number)
            if found is None:
                return None
            terms.append(found)
        first, second = terms
        if node.op_type == "Sub":
            second = Range(-second.high, -second.low)
        return Range(first.low + second.low, first.high + second.high)

    def _products(self, node: ir.Node) -> Range | None:
        """Sums of products: each weight takes the end of its channel's range that suits it."""
        try:
            product = read_product(node)
        except NoTableError:
            return None
        if product.is_matrix and rank(node.inputs[0]) != 2:
            return None
        _, depth, outputs = product.weights.shape
        ends = _ends(self.codes(node.inputs[0]))
        channels = product.group * depth
        low = np.broadcast_to(ends.low - product.zero_point, channels).reshape(-1, depth)
        high = np.broadcast_to(ends.high - product.zero_point, channels).reshape(-1, depth)
        if any(product.pads):
            low, high = np.minimum(low, 0), np.maximum(high, 0)
        # The part of each group: [taps, depth, group, outputs of a group].
        weights = product.weights.reshape(-1, depth, product.group, outputs // product.group)
        at_low = weights * low.T[None, :, :, None]
        at_high = weights * high.T[None, :, :, None]
        return Range(
            np.minimum(at_low, at_high).sum(axis=(0, 1)).reshape(-1),
            np.maximum(at_low, at_high).sum(axis=(0, 1)).reshape(-1),
        )

    def _looked_up_sums(self, node: ir.Node) -> Range | None:
        layer = read_layer(node)
        if layer is None or layer.source.dtype != ir.DataType.INT8:
            return None
        used = used_rows(self, node)
        if used is None:
            return None
        tables = layer.branch.tables.astype(np.int64)
        taps, rows, outputs = tables.shape
        split = tables.reshape(taps, rows, layer.group, outputs // layer.group)
        limits = np.iinfo(np.int64)
        open_rows = used.transpose(0, 2, 1)[..., None]
        low = np.where(open_rows, split, limits.max).min(axis=1).sum(axis=0)
        high = np.where(open_rows, split, limits.min).max(axis=1).sum(axis=0)
        return Range(low.reshape(-1), high.reshape(-1))


def used_rows(reachable: Reachable, node: ir.Node) -> NDArray[np.bool_] | None:
    """The rows that a table layer can read, the border's among them.

    Args:
        reachable: What its input can hold.
        node: The layer.

    Returns:
        bool ``[taps, groups, rows]``, each with at least one row; None where it is no such layer.
    """
    layer = read_layer(node)
    if layer is None or layer.source.dtype != ir.DataType.INT8:
        return None
    codes = np.broadcast_to(reachable.codes(layer.source), (layer.channels, 256)).copy()
    if layer.is_padded:
        codes[:, layer.pad_value + 128] = True
    codes[~codes.any(axis=1)] = True
    taps, rows, _ = layer.branch.tables.shape
    row_of = layer.branch.rows_of(_CODES)
    by_row = np.zeros((layer.channels, rows), np.bool_)
    for row in range(rows):
        by_row[:, row] = codes[:, row_of == row].any(axis=1)
    depth = layer.channels // layer.group
    # Channel g * depth + c serves tap t * depth + c of group g.
    grouped = by_row.reshape(layer.group, depth, rows).transpose(1, 0, 2)
    return np.tile(grouped, (taps // depth, 1, 1))


def _anything() -> Codes:
    return np.ones((1, 256), np.bool_)


def _these(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    found = np.zeros(256, np.bool_)
    found[numbers.reshape(-1) + 128] = True
    return found


def _between(low: NDArray[np.int64], high: NDArray[np.int64]) -> Codes:
    return np.asarray((low[:, None] <= _CODES) & (high[:, None] >= _CODES))


def _ends(codes: Codes) -> Range:
    """Smallest and largest code of each channel; all of them where a channel has none."""
    known = np.where(codes.any(axis=1, keepdims=True), codes, True)
    return Range(_CODES[known.argmax(axis=1)], _CODES[255 - known[:, ::-1].argmax(axis=1)])


def _clamp(node: ir.Node) -> tuple[int, int] | None:
    """The limits that a function of the dialect ends in."""
    if node.domain != DOMAIN or node.op_type not in SPECIFICATIONS:
        return None
    names = [tensor.name for tensor in SPECIFICATIONS[node.op_type].inputs]
    if names[-2:] != ["minimum", "maximum"]:
        return None
    numbers = [constant(value) for value in node.inputs[-2:]]
    if any(number is None or number.size != 1 for number in numbers):
        return None
    low, high = (int(np.asarray(number).reshape(-1)[0]) for number in numbers)
    return low, high


def _looked_up(codes: Codes, table: NDArray[np.int8]) -> Codes:
    tables = np.broadcast_to(table, codes.shape).astype(np.int64)
    return np.stack([_these(entries[some]) for entries, some in zip(tables, codes, strict=True)])


def _joined(codes: Codes) -> Codes:
    return np.asarray(codes.any(axis=0, keepdims=True))


def _same(reachable: Reachable, node: ir.Node) -> Codes:
    """Each channel keeps its codes."""
    return reachable.codes(node.inputs[0])


def _mixed(reachable: Reachable, node: ir.Node) -> Codes:
    """Any channel may end up anywhere."""
    return _joined(reachable.codes(node.inputs[0]))


def _one_of_all(reachable: Reachable, node: ir.Node) -> Codes:
    """Every result is an element of some operand."""
    found = [_joined(reachable.codes(value)) for value in node.inputs if value is not None]
    return np.asarray(np.logical_or.reduce(found))


def _concatenated(reachable: Reachable, node: ir.Node) -> Codes:
    if integer(node, "axis", 0) != 1:
        return _one_of_all(reachable, node)
    parts: list[Codes] = []
    for value in node.inputs:
        channels = None if value is None or value.shape is None else value.shape[1]
        if not isinstance(channels, int):
            return _one_of_all(reachable, node)
        parts.append(np.broadcast_to(reachable.codes(value), (channels, 256)))
    return np.concatenate(parts)


def _padded(reachable: Reachable, node: ir.Node) -> Codes:
    """The border may be any channel's; modes but ``constant`` repeat what is there."""
    mode = node.attributes.get_string("mode", "constant")
    codes = _joined(reachable.codes(node.inputs[0]))
    if mode != "constant":
        return codes
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None:
        return codes | _these(np.zeros(1, np.int64))
    return _anything() if constant(value) is None else codes | reachable.codes(value)


def _hull(reachable: Reachable, node: ir.Node) -> Codes:
    """An average of elements of one channel."""
    ends = _ends(reachable.codes(node.inputs[0]))
    return _between(ends.low, ends.high)


_Move = Callable[[Reachable, ir.Node], Codes]

_MOVES: Mapping[str, _Move] = {
    **dict.fromkeys(("Identity", "MaxPool", "MaxPoolInteger"), _same),
    **dict.fromkeys(
        (
            "DepthToSpace", "Expand", "Flatten", "Gather", "ReduceMax", "ReduceMaxInteger",
            "ReduceMin", "ReduceMinInteger", "Reshape", "Slice", "SpaceToDepth", "Split",
            "Squeeze", "Tile", "Transpose", "Unsqueeze",
        ),
        _mixed,
    ),
    **dict.fromkeys(("Max", "MaxInteger", "Min", "MinInteger"), _one_of_all),
    "AveragePoolInteger": _hull,
    "Concat": _concatenated,
    "Pad": _padded,
}  # fmt: skip
