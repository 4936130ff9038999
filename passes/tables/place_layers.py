"""Puts an ``AdditiveLut`` in the place of a region and the sum behind it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.canonicalize.editing import (
    add_constant,
    constant,
    fresh_name,
    integer,
    ints,
    is_standard,
    make_node,
    operand,
    remove_dead,
    replace_output,
    text,
)
from intaglio.passes.dialect.specification import DOMAIN
from intaglio.passes.provenance import inherit_sources, source_name
from intaglio.passes.tables.build_tables import fold_picker
from intaglio.passes.tables.find_scalar_regions import channels
from intaglio.passes.tables.find_sums import ChannelSum


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """What stands in the place of a region.

    Attributes:
        index: the integer tensor that is looked up.
        dtype: the 8-bit type of its indices.
        tables: [taps * channels of a group, rows, outputs].
        low: index of row 0.
        group: number of groups.
        kernel: size of the window.
        strides: distance of neighboring windows.
        dilations: distance of the taps of a window.
        pads: border, where the index is 0.
    """

    index: ir.Value
    dtype: ir.DataType
    tables: NDArray[Any]
    low: int
    group: int
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]


def with_window(layer: Layer) -> Layer:
    """The layer with its own window, where its index is made by picking channels out of one.

    A convolution whose kernels have a single 1 does nothing but that.
    """
    node = layer.index.producer()
    weight = constant(operand(node, 1)) if node is not None and is_standard(node, "Conv") else None
    if node is None or weight is None or layer.group != 1 or any(k != 1 for k in layer.kernel):
        return layer
    source, outputs = node.inputs[0], weight.shape[0]
    flat = weight.reshape(outputs, -1)
    single = (np.count_nonzero(flat, axis=1) == 1).all() and (flat.max(axis=1) == 1).all()
    inputs = channels(source)
    if not single or source is None or inputs is None or not _plain(node):
        return layer
    kernel = tuple(weight.shape[2:])
    taps, within = int(np.prod(kernel)), weight.shape[1]
    first = np.arange(outputs) // (outputs // integer(node, "group", 1)) * within
    channel, tap = np.divmod(flat.argmax(axis=1), taps)
    tables = fold_picker(layer.tables, tap * inputs + first + channel, taps, inputs)
    if tables is None:
        return layer
    ones = [1] * len(kernel)
    return dataclasses.replace(
        layer,
        index=source,
        tables=tables,
        kernel=kernel,
        strides=tuple(ints(node, "strides", ones) or ones),
        dilations=tuple(ints(node, "dilations", ones) or ones),
        pads=tuple(ints(node, "pads", [0, 0] * len(kernel)) or ()),
    )


def _plain(node: ir.Node) -> bool:
    """Whether a convolution adds nothing, and says its padding in numbers."""
    bias = constant(operand(node, 2))
    if operand(node, 2) is not None and (bias is None or bias.any()):
        return False
    return text(node, "auto_pad", "NOTSET") == "NOTSET"


class Placer:
    """Places layers in one graph; layers with equal tables share them, and casts of one tensor."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._tables: dict[tuple[bytes, tuple[int, ...], str], ir.Value] = {}
        self._indices: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def place(
        self, layer: Layer, total: ChannelSum, replaced: list[ir.Node], picking: list[ir.Node]
    ) -> ir.Node:
        """Replaces the result of ``total`` by that of ``layer``.

        Args:
            layer: what to place.
            total: the sum whose result it gives.
            replaced: nodes whose work it does; those that nothing else reads are removed.
            picking: nodes that made what it reads now itself, a window or a cast; likewise.

        Returns:
            The node of the layer.
        """
        graph, end = self._graph, replaced[-1]
        name = str(end.name)
        axes = len(layer.kernel)
        pads = layer.pads or (0,) * (2 * axes)
        node = ir.Node(
            DOMAIN,
            "AdditiveLut",
            [self._index(layer, replaced), self._shared(layer.tables, name)],
            [
                ir.AttrInt64s("kernel_shape", layer.kernel),
                ir.AttrInt64s("strides", layer.strides),
                ir.AttrInt64s("pads", pads),
                ir.AttrInt64s("dilations", layer.dilations),
                ir.AttrInt64("group", layer.group),
                ir.AttrInt64("low", layer.low),
            ],
            num_outputs=1,
            name=f"{name}_lut",
        )
        sums = node.outputs[0]
        sums.name = fresh_name(graph, f"{total.result.name}_sums")
        sums.type = ir.TensorType(ir.DataType.INT32)
        sums.shape = _sums_shape(layer, total)
        new = [node]
        like = total.result
        if total.shape_source is not None:
            new += self._reshaped(total, sums, name)
        back = make_node(
            "Cast", [new[-1].outputs[0]], like, name=f"{name}_real",
            attributes={"to": int(like.dtype or ir.DataType.FLOAT)},
        )  # fmt: skip
        new.append(back)
        inherit_sources(new, replaced)
        graph.insert_before(end, new)
        replace_output(total.result, back.outputs[0])
        remove_dead(graph, [*replaced, *picking])
        return node

    def _index(self, layer: Layer, replaced: list[ir.Node]) -> ir.Value:
        """The 8-bit indices: what the tensor was cast from, or a cast of it."""
        source = layer.index
        if source.dtype == layer.dtype:
            return source
        maker = source.producer()
        if maker is not None and is_standard(maker, "Cast"):
            before = maker.inputs[0]
            if before is not None and before.dtype == layer.dtype:
                return before
        key = (source, layer.dtype)
        if key not in self._indices:
            cast = make_node(
                "Cast", [source], source, name=fresh_name(self._graph, f"{source.name}_index"),
                attributes={"to": int(layer.dtype)},
            )  # fmt: skip
            cast.outputs[0].type = ir.TensorType(layer.dtype)
            inherit_sources([cast], [maker] if maker is not None else replaced)
            if maker is not None:
                self._graph.insert_after(maker, cast)
            else:
                self._graph.insert_before(self._graph[0], cast)
            self._indices[key] = cast.outputs[0]
        return self._indices[key]

    def _shared(self, tables: NDArray[Any], name: str) -> ir.Value:
        key = (tables.tobytes(), tables.shape, str(tables.dtype))
        if key not in self._tables:
            self._tables[key] = add_constant(self._graph, f"{name}_tables", tables)
        return self._tables[key]

    def _reshaped(self, total: ChannelSum, sums: ir.Value, name: str) -> list[ir.Node]:
        """The image shape that the Reshape in front of the sum gave."""
        axes = range(len(total.kernel) + 3)
        kept = [axis for axis in axes if axis != total.summed_axis]
        chosen = add_constant(self._graph, f"{name}_kept", np.asarray(kept, np.int64))
        shape = total.shape_source
        if shape is None:
            return []
        sizes = make_node("Gather", [shape, chosen], shape, name=f"{name}_sizes",
                          shape=ir.Shape([len(kept)]))  # fmt: skip
        shaped = make_node("Reshape", [sums, sizes.outputs[0]], sums, name=f"{name}_shaped",
                           shape=total.result.shape)  # fmt: skip
        return [sizes, shaped]


def _sums_shape(layer: Layer, total: ChannelSum) -> ir.Shape | None:
    """Shape of the layer's sums; a Reshape behind them gives the image its final shape."""
    known = total.result.shape
    if known is None or total.shape_source is None:
        return known
    return ir.Shape([known[0], layer.tables.shape[2], *(None for _ in layer.kernel)])


def described(nodes: list[ir.Node]) -> str:
    """The operators of some nodes in one phrase."""
    counts: dict[str, int] = {}
    for node in nodes:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def layer_name(replaced: list[ir.Node]) -> str:
    """The source name that reports use for a layer."""
    return source_name(replaced[-1])
