"""Functions of one tensor: tables, sigmoids, softmax, and the border of real numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.dialect.functions import SPECIFICATIONS
from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.c.grouping.moves import transposed
from intaglio.targets.c.grouping.reader import Grouping, Reader
from intaglio.targets.c.grouping.shapes import Freedom
from intaglio.targets.c.network import (
    Border,
    InterpolatedTable,
    Sigmoid16,
    Softmax,
    Softmax16,
    Table,
    Tensor,
)
from intaglio.targets.integer_graph import required


def _table(reader: Reader, node: ir.Node) -> None:
    begun = reader.begin([reader.tensor(node.inputs[0])], reader.new(node.outputs[0]), node)
    reader.layers.append(Table(*begun, reader.numbers(node.inputs[1])))


def _table_channelwise(reader: Reader, node: ir.Node) -> None:
    """The function's channels are axis 1, the layer's the last axis."""
    rank = len(reader.shape(required(node.inputs[0])))
    source, target, finish = _on_last_axis(reader, node, 1 % rank)
    begun = reader.begin([source], target, node)
    reader.layers.append(Table(*begun, reader.numbers(node.inputs[1])))
    finish()


def _interpolated(reader: Reader, node: ir.Node) -> None:
    begun = reader.begin([reader.tensor(node.inputs[0])], reader.new(node.outputs[0]), node)
    reader.layers.append(InterpolatedTable(*begun, reader.numbers(node.inputs[1])))


def _sigmoid(reader: Reader, node: ir.Node) -> None:
    source = reader.centered(node.inputs[0], 0)
    begun = reader.begin([source], reader.new(node.outputs[0]), node)
    layer = Sigmoid16(
        *begun,
        table=reader.numbers(node.inputs[1]),
        multiplier=reader.number(node.inputs[2]),
        shift=reader.number(node.inputs[3]),
        tanh=node.op_type == "TanhInteger16",
    )
    reader.layers.append(layer)


def _softmax(reader: Reader, node: ir.Node) -> None:
    rank = len(reader.shape(required(node.inputs[0])))
    axis = node.attributes.get_int("axis", -1) % rank
    source, target, finish = _on_last_axis(reader, node, axis)
    begun = reader.begin([source], target, node)
    kind = Softmax if node.op_type == "SoftmaxInteger" else Softmax16
    reader.layers.append(kind(*begun, constants(reader, node)))
    finish()


def constants(reader: Reader, node: ir.Node) -> dict[str, NDArray[Any]]:
    """All inputs of a function but the first, by the names that the function gives them."""
    names = [tensor.name for tensor in SPECIFICATIONS[node.op_type].inputs[1:]]
    return {name: reader.numbers(value) for name, value in zip(names, node.inputs[1:], strict=True)}


class _Finish:
    """Appends the transpose behind a layer that worked on the last axis, if there is one."""

    def __init__(
        self, reader: Reader, node: ir.Node, made: Tensor, target: Tensor, back: list[int]
    ) -> None:
        self._parts = (reader, node, made, target, back)

    def __call__(self) -> None:
        reader, node, made, target, back = self._parts
        if made is not target:
            transposed(reader, node, made, target, made.shape, back)


def _on_last_axis(reader: Reader, node: ir.Node, axis: int) -> tuple[Tensor, Tensor, _Finish]:
    """What a layer reads and makes that works on the last axis, for a node that works on another.

    Args:
        reader: The reader.
        node: A node of one tensor.
        axis: The axis it works on.

    Returns:
        Input and output of the layer, and what is to be called behind it.
    """
    value = node.outputs[0]
    shape = reader.shape(value)
    target = reader.new(value, freedom=Freedom.ROWS)
    order = [a for a in range(len(shape)) if a != axis] + [axis]
    back = [int(a) for a in np.argsort(order)]
    if order == sorted(order):
        source = reader.in_rows(node.inputs[0])
        return source, target, _Finish(reader, node, target, target, back)
    source = reader.tensor(node.inputs[0])
    turned = [shape[a] for a in order]
    moved = reader.part(source, f"{source.name}_turned", turned)
    transposed(reader, node, source, moved, shape, order)
    made = reader.part(target, f"{target.name}_turned", turned)
    return moved, made, _Finish(reader, node, made, target, back)


def _border(reader: Reader, node: ir.Node) -> None:
    begun = reader.begin([reader.tensor(node.inputs[0])], reader.new(node.outputs[0]), node)
    reader.layers.append(Border(*begun))


def _dynamic(reader: Reader, node: ir.Node) -> None:
    raise RefusedError(
        "no C function computes features with dynamic ranges",
        "use static ranges, or --target onnx-integer",
    )


GROUPINGS: dict[str, Grouping] = {
    "DequantizeLinear": _border,
    "FeatureDecode": _dynamic,
    "FeatureEncode": _dynamic,
    "FeatureRanges": _dynamic,
    "QuantizeLinear": _border,
    "SigmoidInteger16": _sigmoid,
    "SoftmaxInteger": _softmax,
    "SoftmaxInteger16": _softmax,
    "Table": _table,
    "TableChannelwise": _table_channelwise,
    "TableInterpolated": _interpolated,
    "TanhInteger16": _sigmoid,
}
