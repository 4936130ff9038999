"""Nodes of table layers in a graph: read, and put in the place of products."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.annotations import get_quantization, set_quantization
from intaglio.passes.canonicalize.editing import (
    add_constant,
    constant,
    dims,
    fresh_name,
    integer,
    ints,
    make_node,
    remove_dead,
    replace_output,
)
from intaglio.passes.dialect.specification import DOMAIN
from intaglio.passes.provenance import inherit_sources
from intaglio.passes.tables.products import Product

OPERATOR = "AdditiveLut"


@dataclasses.dataclass(frozen=True, eq=False)
class Branch:
    """Tables of all taps, and which bits of x are their index.

    Attributes:
        tables: int8 or int16 ``[taps * channels of a group, rows, outputs]``.
        shift: Bits that the index drops.
        mask: Bits that it keeps then.
        low: Index of row 0.
    """

    tables: NDArray[Any]
    shift: int
    mask: int
    low: int

    def rows_of(self, codes: NDArray[Any]) -> NDArray[np.int64]:
        """The row that each input reads: ``clamp(((x >> shift) & mask) - low, 0, rows - 1)``."""
        index = ((np.asarray(codes, np.int64) >> self.shift) & self.mask) - self.low
        return np.asarray(np.clip(index, 0, self.tables.shape[1] - 1))


@dataclasses.dataclass(frozen=True, eq=False)
class TableLayer:
    """One ``AdditiveLut`` node whose tables are constant.

    Attributes:
        node: The node.
        branch: Its tables and index.
        group: Number of groups.
        kernel: Size of the window.
        pads: Its border.
        pad_value: What x is in the border.
    """

    node: ir.Node
    branch: Branch
    group: int
    kernel: tuple[int, ...]
    pads: tuple[int, ...]
    pad_value: int

    @property
    def table_bytes(self) -> int:
        """Bytes of its tables."""
        return int(self.branch.tables.nbytes)

    @property
    def source(self) -> ir.Value:
        """What it reads."""
        value = self.node.inputs[0]
        if value is None:
            raise ValueError("a table layer without data")
        return value

    @property
    def is_padded(self) -> bool:
        """Whether some window reaches into the border."""
        return any(self.pads)

    @property
    def channels(self) -> int:
        """Channels of the input."""
        return int(self.branch.tables.shape[0]) // math.prod(self.kernel) * self.group

    def channel_of(self, tap: int, group: int) -> int:
        """The channel that table ``tap`` reads for the outputs of a group."""
        depth = self.channels // self.group
        return group * depth + tap % depth


def table_layers(graph: ir.Graph) -> Iterator[TableLayer]:
    """The table layers of a graph, in order."""
    for node in graph:
        found = read_layer(node)
        if found is not None:
            yield found


def read_layer(node: ir.Node) -> TableLayer | None:
    """The table layer that ``node`` is, None where it is none or its tables are computed."""
    if node.domain != DOMAIN or node.op_type != OPERATOR:
        return None
    tables = constant(node.inputs[1])
    if tables is None:
        return None
    shift, mask = integer(node, "shift", 0), integer(node, "mask", -1)
    branch = Branch(tables, shift, mask, integer(node, "low", -128))
    return TableLayer(
        node,
        branch,
        integer(node, "group", 1),
        tuple(ints(node, "kernel_shape", (1, 1)) or ()),
        tuple(ints(node, "pads", (0, 0, 0, 0)) or ()),
        integer(node, "pad_value", 0),
    )


def place_layer(graph: ir.Graph, product: Product, branches: Sequence[Branch]) -> None:
    """Puts table layers, and the addition of their sums, in the place of a product.

    Args:
        graph: The graph.
        product: The product; its node goes.
        branches: Tables whose sums add up to those of the product.
    """
    node, result = product.node, product.node.outputs[0]
    data = node.inputs[0]
    if data is None:
        raise ValueError("a product without data")
    placing = _Placing(graph, node)
    axes = dims(data) or []
    if product.is_matrix:
        data = placing.as_image(data, axes)
    sums = [placing.layer(product, branch, data) for branch in branches]
    total = sums[0]
    for other in sums[1:]:
        axes_of_sum = dims(total)
        name = f"{result.name}_sum"
        total = placing.node("Add", [total, other], like=total, name=name, shape=axes_of_sum)
    gone = [node]
    if product.is_matrix:
        behind = _element_wise_behind(result)
        gone += behind
        outputs = product.weights.shape[2]
        for follower in behind:
            total = placing.repeated(follower, total, outputs)
            result = follower.outputs[0]
        total = placing.as_matrix(total, axes)
    replace_output(result, total)
    inherit_sources(placing.made, [node])
    remove_dead(graph, gone)


def _element_wise_behind(sums: ir.Value) -> list[ir.Node]:
    """The additions of a bias and the rescale that alone read sums; none where there is no rescale.

    They move in front of the axes' way back, so that what moves are 8 bits.
    """
    found: list[ir.Node] = []
    value = sums
    while True:
        uses = list(value.uses())
        if len(uses) != 1 or value.is_graph_output() or uses[0].idx != 0:
            return []
        node = uses[0].node
        if any(constant(other) is None for other in node.inputs[1:]):
            return []
        found.append(node)
        if node.domain == DOMAIN and node.op_type.startswith("Rescale"):
            return found
        if node.op_type != "Add" or node.domain not in ("", "ai.onnx"):
            return []
        value = node.outputs[0]


class _Placing:
    """Puts nodes in front of one that they replace."""

    def __init__(self, graph: ir.Graph, before: ir.Node) -> None:
        self._graph = graph
        self._before = before
        self.made: list[ir.Node] = []

    def layer(self, product: Product, branch: Branch, data: ir.Value) -> ir.Value:
        """A table layer on channels-first data."""
        name = str(product.node.name)
        tables = add_constant(self._graph, f"{name}_tables", branch.tables)
        attributes: dict[str, int | list[int]] = {
            "kernel_shape": list(product.kernel),
            "strides": list(product.strides),
            "pads": list(product.pads),
            "dilations": list(product.dilations),
            "group": product.group,
            "shift": branch.shift,
            "mask": branch.mask,
            "low": branch.low,
            "pad_value": product.zero_point,
        }
        named = [ir.convenience.convert_attribute(key, value) for key, value in attributes.items()]
        node = ir.Node(
            DOMAIN, OPERATOR, [data, tables], named, num_outputs=1,
            name=fresh_name(self._graph, f"{name}_tables"),
        )  # fmt: skip
        value = node.outputs[0]
        value.name = fresh_name(self._graph, f"{name}_lookups")
        value.type = ir.TensorType(ir.DataType.INT32)
        value.shape = _convolved_shape(product, branch.tables.shape[2], data)
        return self._insert(node)

    def node(
        self,
        operator: str,
        inputs: Sequence[ir.Value],
        *,
        like: ir.Value,
        name: str,
        perm: Sequence[int] | None = None,
        shape: Sequence[int | str | None] | None = None,
    ) -> ir.Value:
        """A standard node; its output has the type of ``like``."""
        attributes = {} if perm is None else {"perm": list(perm)}
        known = None if shape is None else ir.Shape(list(shape))
        fresh = fresh_name(self._graph, name)
        node = make_node(operator, inputs, like, name=fresh, attributes=attributes, shape=known)
        node.outputs[0].name = fresh
        if shape is None:
            node.outputs[0].shape = None
        return self._insert(node)

    def repeated(self, old: ir.Node, sums: ir.Value, outputs: int) -> ir.Value:
        """A node behind a matrix product, on sums that have their outputs on axis 1."""
        inputs: list[ir.Value | None] = [sums]
        for value in old.inputs[1:]:
            array = constant(value)
            if value is not None and array is not None and array.size == outputs != 1:
                # The notes tell of an axis that is another one now.
                value = add_constant(self._graph, str(value.name), array.reshape(outputs, 1, 1))
            inputs.append(value)
        attributes = list(old.attributes.values())
        name = fresh_name(self._graph, f"{old.name}_pixels")
        node = ir.Node(old.domain, old.op_type, inputs, attributes, num_outputs=1, name=name)
        value = node.outputs[0]
        value.name, value.type, value.shape = name, old.outputs[0].type, sums.shape
        inherit_sources([node], [old])
        quantization = get_quantization(old.outputs[0])
        if quantization is not None:
            set_quantization(value, quantization)
        return self._insert(node)

    def _insert(self, node: ir.Node) -> ir.Value:
        self._graph.insert_before(self._before, node)
        self.made.append(node)
        return node.outputs[0]

    def _axes(self, numbers: Sequence[int]) -> ir.Value:
        return add_constant(self._graph, "axes", np.asarray(numbers, np.int64))

    def as_image(self, data: ir.Value, axes: Sequence[int | str | None]) -> ir.Value:
        """The rows of a matrix, or of several, as the pixels of images: ``[N, K, H, W]``."""
        name, sizes = str(data.name), list(axes)
        if is_batch(axes):
            shape = [*sizes, 1, 1]
            inputs = [data, self._axes([2, 3])]
            return self.node("Unsqueeze", inputs, like=data, name=f"{name}_pixels", shape=shape)
        added = _missing_axes(len(sizes))
        if added:
            sizes = [1, *sizes] if len(sizes) == 2 else sizes
            sizes = [*sizes[:2], 1, sizes[2]]
            inputs = [data, self._axes(added)]
            data = self.node("Unsqueeze", inputs, like=data, name=f"{name}_rows", shape=sizes)
        shape = [sizes[0], sizes[3], sizes[1], sizes[2]]
        return self.node(
            "Transpose", [data], like=data, name=f"{name}_pixels", perm=(0, 3, 1, 2), shape=shape
        )

    def as_matrix(self, sums: ir.Value, axes: Sequence[int | str | None]) -> ir.Value:
        """Undoes :meth:`as_image`."""
        name = str(sums.name)
        if is_batch(axes):
            inputs, shape = [sums, self._axes([2, 3])], (dims(sums) or [])[:2]
            return self.node("Squeeze", inputs, like=sums, name=f"{name}_rows", shape=shape)
        batch, outputs, rows, columns = dims(sums) or [None] * 4
        last = [batch, rows, columns, outputs]
        perm = (0, 2, 3, 1)
        sums = self.node("Transpose", [sums], like=sums, name=f"{name}_last", perm=perm, shape=last)
        added = _missing_axes(len(axes))
        if not added:
            return sums
        kept = [size for axis, size in enumerate(last) if axis not in added]
        inputs = [sums, self._axes(added)]
        return self.node("Squeeze", inputs, like=sums, name=f"{name}_rows", shape=kept)


def is_batch(axes: Sequence[int | str | None]) -> bool:
    """Whether the rows of a matrix are a batch: one, or an open number of them."""
    return len(axes) == 2 and (not isinstance(axes[0], int) or axes[0] == 1)


def _missing_axes(rank: int) -> list[int]:
    """Axes of size one that make four of 2, 3 or 4."""
    return {2: [0, 2], 3: [2], 4: []}[rank]


def _convolved_shape(product: Product, outputs: int, data: ir.Value) -> ir.Shape | None:
    """The shape of the sums of a product; shape inference does not see through the function."""
    sizes = dims(data)
    if sizes is None:
        return None
    images: list[int | str | None] = []
    for axis, size in enumerate(sizes[2:]):
        if not isinstance(size, int):
            images.append(None)
            continue
        border = product.pads[axis] + product.pads[axis + len(product.kernel)]
        reach = product.dilations[axis] * (product.kernel[axis] - 1) + 1
        images.append((size + border - reach) // product.strides[axis] + 1)
    return ir.Shape([sizes[0], outputs, *images])
