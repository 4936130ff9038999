"""Arithmetic of two tensors: sums, products, extremes, PRelu."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.c.grouping.reader import Begun, Grouping, Reader
from intaglio.targets.c.grouping.shapes import Freedom
from intaglio.targets.c.grouping.stages import output_stage, plain_stage
from intaglio.targets.c.network import Extreme, Multiplication, PRelu, Sum, Tensor


def _operands(reader: Reader, node: ir.Node) -> list[Tensor]:
    return [
        reader.centered(node.inputs[index], reader.number(node.inputs[index + 2]), shaped=True)
        for index in (0, 1)
    ]


def _sum(reader: Reader, node: ir.Node) -> None:
    """Add and Sub: both operands on one fine scale."""
    layer = Sum(
        *_begin(reader, node, _operands(reader, node)),
        sign=1 if node.op_type.startswith("Add") else -1,
        left_shift=reader.number(node.inputs[4]),
        first=plain_stage(reader, node, 5),
        second=plain_stage(reader, node, 7),
        rescale=output_stage(reader, node, 9),
    )
    reader.layers.append(layer)


def _product(reader: Reader, node: ir.Node) -> None:
    begun = _begin(reader, node, _operands(reader, node))
    reader.layers.append(Multiplication(*begun, output_stage(reader, node, 4)))


def _prelu(reader: Reader, node: ir.Node) -> None:
    source = reader.centered(node.inputs[0], reader.number(node.inputs[1]), shaped=True)
    slope = _of_rank(reader.centered(node.inputs[2], 0, shaped=True), len(source.shape))
    begun = _begin(reader, node, [source, slope])
    positive, negative = output_stage(reader, node, 3), output_stage(reader, node, 5)
    reader.layers.append(PRelu(*begun, positive, negative))


def _begin(reader: Reader, node: ir.Node, operands: Sequence[Tensor], dtype: str = "") -> Begun:
    """The first fields of a layer whose operands broadcast to its result.

    Raises:
        RefusedError: They do not: a constant is made for another batch than one.
    """
    shape = reader.shape(node.outputs[0])
    for tensor in operands:
        sizes = zip(shape[::-1], tensor.shape[::-1], strict=False)
        if len(tensor.shape) > len(shape) or any(size not in (1, whole) for whole, size in sizes):
            raise RefusedError(
                f"its operand '{tensor.name}' of shape {list(tensor.shape)} does not fit the "
                f"result of one input, {list(shape)}",
                "make constants independent of the batch",
            )
    return reader.begin(operands, reader.new(node.outputs[0], dtype, Freedom.NONE), node)


def _of_rank(tensor: Tensor, rank: int) -> Tensor:
    """A constant without leading ones that the other operand has no axes for."""
    extra = len(tensor.shape) - rank
    if tensor.data is None or extra <= 0:
        return tensor
    shape = tensor.shape[extra:]
    return dataclasses.replace(tensor, shape=shape, data=tensor.data.reshape(shape))


def _extreme(reader: Reader, node: ir.Node) -> None:
    """Max and Min, also of the int32 that stands for int16 where onnxruntime has no kernel."""
    operands = [reader.shaped(value) for value in node.inputs]
    dtypes = {tensor.dtype for tensor in operands if tensor.data is None}
    if len(dtypes) != 1:
        raise RefusedError(f"its operands are {', '.join(sorted(dtypes))}")
    dtype = dtypes.pop()
    begun = _begin(reader, node, [_narrow(tensor, dtype) for tensor in operands], dtype)
    reader.layers.append(Extreme(*begun, largest=node.op_type.startswith("Max")))


def _narrow(tensor: Tensor, dtype: str) -> Tensor:
    """A constant as ``dtype``; numbers beyond it become its ends, which are as good."""
    if tensor.data is None or tensor.dtype == dtype:
        return tensor
    limits = np.iinfo(dtype)
    data = np.clip(tensor.data, limits.min, limits.max).astype(dtype)
    return dataclasses.replace(tensor, dtype=dtype, data=data)


GROUPINGS: dict[str, Grouping] = {
    **dict.fromkeys(("AddDouble", "AddSingle", "SubDouble", "SubSingle"), _sum),
    **dict.fromkeys(("MulDouble", "MulSingle"), _product),
    **dict.fromkeys(("PReluDouble", "PReluSingle"), _prelu),
    **dict.fromkeys(("MaxInteger", "MinInteger", "Max", "Min"), _extreme),
}
