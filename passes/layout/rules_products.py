"""Products with a matrix: its rows take the order of the data, its columns that of the result.

The last axis of the data is summed over, so it may be shuffled as long as the rows of the matrix
are; a constant matrix is reordered for free. So is the result's last axis by the columns. Axes in
front pass through.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import onnx_ir as ir

from intaglio.passes.canonicalize.editing import constant, integer
from intaglio.passes.layout.layouts import Layout, Shuffle, full, identity
from intaglio.passes.layout.rules import Assignment, Rule, dims_of, is_absent, rank_of


class Product(Rule):
    """``data @ matrix`` with a matrix of two axes, and Gemm.

    Args:
        zero_points: Inputs that are zero points: one number each.
        given_matrix: Whether a computed matrix is taken as it comes: weights that train are no
            constant, and nobody reorders them at every step.
    """

    def __init__(self, zero_points: tuple[int, ...] = (), *, given_matrix: bool = False) -> None:
        self._zero_points = zero_points
        self._given_matrix = given_matrix

    def by_input(
        self, node: ir.Node, index: int, layout: Layout | None, current: Assignment
    ) -> Assignment | None:
        """Data shuffled along the summed axis, or the matrix along either."""
        if not self._has_form(node) or index > 1:
            return None
        rows, columns = _matrix_axes(node)
        if index == 1:
            matrix = full(layout, 2)
            if matrix.perm != (0, 1):
                return None
            lead = full(current.inputs[0], rank_of(node.inputs[0]) or 2)
            return self._assemble(node, lead, matrix.shuffle(rows), matrix.shuffle(columns))
        data = full(layout, rank_of(node.inputs[0]) or 2)
        return self._assemble(
            node, data, data.shuffle(data.rank - 1), full(current.inputs[1], 2).shuffle(columns)
        )

    def by_output(
        self, node: ir.Node, index: int, layout: Layout | None, current: Assignment
    ) -> Assignment | None:
        """The result shuffled along its columns."""
        if not self._has_form(node):
            return None
        rows, _ = _matrix_axes(node)
        result = full(layout, rank_of(node.outputs[0]) or 2)
        return self._assemble(
            node,
            result,
            full(current.inputs[1], 2).shuffle(rows),
            result.shuffle(result.rank - 1),
        )

    def _assemble(
        self, node: ir.Node, lead: Layout, rows: Shuffle | None, columns: Shuffle | None
    ) -> Assignment | None:
        given = self._given_matrix and constant(node.inputs[1]) is None
        if given and (rows is not None or columns is not None):
            return None
        return _assemble(node, lead, rows, columns)

    def _has_form(self, node: ir.Node) -> bool:
        data, matrix, result = (
            rank_of(node.inputs[0]),
            rank_of(node.inputs[1]),
            rank_of(node.outputs[0]),
        )
        if data is None or data < 2 or matrix != 2 or result != data:
            return False
        if integer(node, "transA", 0):
            return False
        points = [node.inputs[i] for i in self._zero_points if not is_absent(node, i)]
        return all(dims_of(v) in ((), (1,)) for v in points)


def _matrix_axes(node: ir.Node) -> tuple[int, int]:
    """Axes of the matrix that are summed over and that make the result."""
    return (1, 0) if integer(node, "transB", 0) else (0, 1)


def _assemble(
    node: ir.Node, lead: Layout, rows: Shuffle | None, columns: Shuffle | None
) -> Assignment | None:
    """The node with leading axes as in ``lead`` and the matrix shuffled."""
    last = lead.rank - 1
    if lead.perm[last] != last:
        return None
    row_axis, column_axis = _matrix_axes(node)
    front = tuple(s for s in lead.shuffles if s.axis != last)
    data = Layout(lead.perm, front + _on_axis(rows, last))
    result = Layout(lead.perm, front + _on_axis(columns, last))
    matrix = Layout((0, 1), _on_axis(rows, row_axis) + _on_axis(columns, column_axis))
    inputs: list[Layout | None] = [data, matrix, *(None for _ in node.inputs[2:])]
    if node.op_type == "Gemm" and not is_absent(node, 2):
        possible, inputs[2] = _bias(node.inputs[2], lead, columns)
        if not possible:
            return None
    return Assignment(tuple(inputs), (result,))


def _bias(
    value: ir.Value | None, lead: Layout, columns: Shuffle | None
) -> tuple[bool, Layout | None]:
    """Whether Gemm's bias can follow, and its layout."""
    sizes = dims_of(value)
    if sizes is None or len(sizes) > 2:
        return False, None
    rows = sizes[-2] if len(sizes) == 2 else 1
    if (lead.perm != (0, 1) or lead.shuffle(0) is not None) and rows != 1:
        return False, None
    if columns is None or not sizes or sizes[-1] == 1:
        return True, None
    if sizes[-1] != columns.size:
        return False, None
    axes = len(sizes)
    return True, Layout(identity(axes).perm, _on_axis(columns, axes - 1))


def _on_axis(shuffle: Shuffle | None, axis: int) -> tuple[Shuffle, ...]:
    return () if shuffle is None else (dataclasses.replace(shuffle, axis=axis),)


STANDARD: Mapping[str, Rule] = {
    "Gemm": Product(),
    "MatMul": Product(),
    "MatMulInteger": Product((2, 3)),
}

FUNCTIONS: Mapping[str, Rule] = {
    "MatMulInteger16": Product(),
    "MatMulInteger16By16": Product(),
    "MatMulInteger8By16": Product((2,), given_matrix=True),
}
