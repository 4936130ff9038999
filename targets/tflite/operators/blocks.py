"""DEPTH_TO_SPACE, SPACE_TO_DEPTH, SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND.

Converters write a dilated convolution as SPACE_TO_BATCH_ND, a convolution, BATCH_TO_SPACE_ND: the
batch holds the ``d * d`` grids of every d-th pixel. Such convolutions are put together again, which
computes the same sums of the same products in the same order.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.targets.tflite.operators import convolutions, padding, slices
from intaglio.targets.tflite.operators.arguments import BIND, integers, moving, vector
from intaglio.targets.tflite.schema import schema
from intaglio.targets.tflite.scope import Operator, Reader, Scope, Tensor


def read_depth_to_space(scope: Scope, operator: Operator) -> None:
    """DEPTH_TO_SPACE and SPACE_TO_DEPTH; both order the block before the channels."""
    value = moving(scope, operator, operator.inputs[0])
    shape, block = scope.shape(value), int(operator.options.blockSize)
    if len(shape) != 4 or block < 1:
        raise scope.damaged(f"makes blocks of {block} of a {len(shape)}-D tensor")
    deep = operator.name == "DEPTH_TO_SPACE"
    cut, unit = (shape[3:], block * block) if deep else (shape[1:3], block)
    if any(isinstance(dim, int) and dim % unit for dim in cut):
        raise scope.damaged(f"makes blocks of {block} of {list(shape)}")
    if value.dtype is not None and not value.dtype.is_floating_point():
        value = _block_of_integers(scope, operator, value, block)
    elif block > 1:
        kind = "DepthToSpace" if deep else "SpaceToDepth"
        attributes = {"blocksize": block, "mode": "DCR" if deep else None}
        first = scope.channels_first(value)
        value = scope.channels_last(scope.node(kind, [first], attributes))
    scope.give(operator.outputs[0], value)


def _block_of_integers(scope: Scope, operator: Operator, value: ir.Value, block: int) -> ir.Value:
    """The same of plain integers, for which onnxruntime has no kernel."""
    batch, (height, width, channels) = _dims(scope, operator, value)
    front = 0 if batch is None else batch
    if operator.name == "DEPTH_TO_SPACE":
        kept = channels // (block * block)
        split = [front, height, width, block, block, kept]
        final = [front, height * block, width * block, kept]
    else:
        rows, columns = height // block, width // block
        split = [front, rows, block, columns, block, channels]
        final = [front, rows, columns, channels * block * block]
    cut = scope.node("Reshape", [value, vector(split)])
    turned = scope.node("Transpose", [cut], {"perm": [0, 1, 3, 2, 4, 5]})
    found: ir.Value = scope.node("Reshape", [turned, vector(final)])
    return found


def read_space_to_batch(scope: Scope, operator: Operator) -> None:
    """SPACE_TO_BATCH_ND: Pad, Reshape, Transpose, Reshape."""
    value = moving(scope, operator, operator.inputs[0])
    blocks, pads = _parameters(scope, operator, len(scope.shape(value)))
    count, rank = len(blocks), len(scope.shape(value))
    if any(before or after for before, after in pads):
        rest = [0] * (rank - count - 1)
        amounts = [0, *(p[0] for p in pads), *rest, 0, *(p[1] for p in pads), *rest]
        value = scope.node("Pad", [value, vector(amounts)])
    batch, dims = _dims(scope, operator, value)
    spatial, rest = dims[:count], dims[count:]
    if any(dim % block for dim, block in zip(spatial, blocks, strict=True)):
        raise scope.damaged(f"cuts {spatial} into blocks of {blocks}")
    split = [d for dim, block in zip(spatial, blocks, strict=True) for d in (dim // block, block)]
    value = scope.node("Reshape", [value, vector([batch or 0, *split, *rest])])
    order = [
        *range(2, 2 * count + 1, 2),
        0,
        *range(1, 2 * count, 2),
        *range(2 * count + 1, 2 * count + 1 + len(rest)),
    ]
    value = scope.node("Transpose", [value], {"perm": order})
    final = [-1 if batch is None else batch * math.prod(blocks), *split[::2], *rest]
    value = scope.node("Reshape", [value, vector(final)])
    scope.give(operator.outputs[0], value)


def read_batch_to_space(scope: Scope, operator: Operator) -> None:
    """BATCH_TO_SPACE_ND: the end of a dilated convolution, or a move of its own."""
    if not _read_dilated(scope, operator):
        _read_batch_to_space(scope, operator)


def _read_batch_to_space(scope: Scope, operator: Operator) -> None:
    """Reshape, Transpose, Reshape, Slice."""
    value = moving(scope, operator, operator.inputs[0])
    blocks, crops = _parameters(scope, operator, len(scope.shape(value)))
    count = len(blocks)
    batch, dims = _dims(scope, operator, value)
    spatial, rest = dims[:count], dims[count:]
    if batch is not None and batch % math.prod(blocks):
        raise scope.damaged(f"cuts a batch of {batch} into blocks of {blocks}")
    grown = [dim * block for dim, block in zip(spatial, blocks, strict=True)]
    if any(sum(crop) > dim for crop, dim in zip(crops, grown, strict=True)):
        raise scope.damaged(f"crops {crops} of {grown}")
    kept = -1 if batch is None else batch // math.prod(blocks)
    value = scope.node("Reshape", [value, vector([*blocks, kept, *spatial, *rest])])
    order = [count]
    for axis in range(count):
        order += [count + 1 + axis, axis]
    order += range(2 * count + 1, 2 * count + 1 + len(rest))
    value = scope.node("Transpose", [value], {"perm": order})
    value = scope.node("Reshape", [value, vector([kept, *grown, *rest])])
    cut = [axis for axis in range(count) if any(crops[axis])]
    if cut:
        starts = vector(crops[axis][0] for axis in cut)
        ends = vector(grown[axis] - crops[axis][1] for axis in cut)
        axes = vector(axis + 1 for axis in cut)
        value = scope.node("Slice", [value, starts, ends, axes])
    scope.give(operator.outputs[0], value)


def _dims(scope: Scope, operator: Operator, value: ir.Value) -> tuple[int | None, list[int]]:
    """The batch (None where it is open) and the other dimensions."""
    batch, *others = scope.shape(value)
    known = [d for d in others if isinstance(d, int)]
    if len(known) != len(others):
        scope.refuse(operator, f"it needs static dimensions, not {others}", BIND)
    return (batch if isinstance(batch, int) else None), known


def _parameters(
    scope: Scope, operator: Operator, rank: int
) -> tuple[list[int], list[tuple[int, int]]]:
    """Block of each spatial dimension, and its paddings or crops."""
    blocks = integers(scope, operator, 1, "blocks")
    amounts = integers(scope, operator, 2, "paddings")
    if (
        not 0 < len(blocks) < rank
        or len(amounts) != 2 * len(blocks)
        or min(blocks) < 1
        or min(amounts) < 0
    ):
        raise scope.damaged(f"has blocks of {blocks} and paddings of {amounts}")
    return blocks, list(zip(amounts[::2], amounts[1::2], strict=True))


def _read_dilated(scope: Scope, last: Operator) -> bool:
    """Reads a BATCH_TO_SPACE_ND as the end of a dilated convolution, if that is what it is.

    Of the operators before it that were read already, nothing stays unless others need it, too.
    """
    convolution = scope.producer(last.inputs[0])
    if convolution is None or convolution.name not in convolutions.READERS:
        return False
    first = scope.producer(convolution.inputs[0])
    if first is None or first.name != "SPACE_TO_BATCH_ND":
        return False
    if not _is_dilated(scope, first, convolution, last):
        return False
    readers = {**convolutions.READERS, **padding.READERS, **slices.READERS}
    for operator in _dilated(scope, first, convolution, last):
        scope.begin(operator)
        readers[operator.name](scope, operator)
    scope.begin(last)
    return True


def _is_dilated(scope: Scope, first: Operator, convolution: Operator, last: Operator) -> bool:
    """Whether block is the dilation of the convolution between two block operators.

    Strides and dilations must be 1, the blocks the same two, no scale may change, and padding SAME
    must put the same zeros as it would with the dilation (which even kernels do not).
    """
    if convolution.name not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return False
    rank = len(scope.shape(first.inputs[0]))
    blocks, back = integers(scope, first, 1, "blocks"), integers(scope, last, 1, "blocks")
    options, weight = convolution.options, convolution.inputs[1]
    if rank != 4 or len(blocks) != 2 or blocks != back or weight is None:
        return False
    factors = (options.strideH, options.strideW, options.dilationHFactor, options.dilationWFactor)
    if any(factor != 1 for factor in factors) or len(weight.shape) != 4:
        return False
    if options.padding == schema.Padding.SAME and any(k % 2 == 0 for k in weight.shape[1:3]):
        return False
    return _same_scale(first.inputs[0], first.outputs[0]) and _same_scale(
        last.inputs[0], last.outputs[0]
    )


def _same_scale(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None or first.dtype != second.dtype:
        return False
    if first.scale is None or second.scale is None:
        return first.scale is second.scale
    return np.array_equal(first.scale, second.scale) and np.array_equal(
        np.asarray(first.zero_point), np.asarray(second.zero_point)
    )


def _dilated(
    scope: Scope, first: Operator, convolution: Operator, last: Operator
) -> Iterator[Operator]:
    """PAD, the dilated convolution and STRIDED_SLICE, as far as they are needed."""
    block_h, block_w = integers(scope, first, 1, "blocks")
    _, pads = _parameters(scope, first, 4)
    _, crops = _parameters(scope, last, 4)
    source, result = first.inputs[0], last.outputs[0]
    if any(map(any, pads)):
        padded = _new_tensor(scope, first.outputs[0], "padded", -4 * last.index - 2)
        amounts = np.array([(0, 0), *pads, (0, 0)], np.int32)
        yield dataclasses.replace(
            first,
            name="PAD",
            options=schema.PadOptionsT(),
            inputs=(source, _parameter("paddings", amounts)),
            outputs=(padded,),
        )
        source = padded
    options = copy.copy(convolution.options)
    options.dilationHFactor, options.dilationWFactor = block_h, block_w
    cropped = any(map(any, crops))
    whole = _new_tensor(scope, result, "whole", -4 * last.index - 3) if cropped else result
    inputs = (source, *convolution.inputs[1:])
    yield dataclasses.replace(convolution, options=options, inputs=inputs, outputs=(whole,))
    if cropped:
        yield _crop(last, whole, crops)


def _crop(last: Operator, whole: Tensor, crops: Sequence[tuple[int, int]]) -> Operator:
    (top, bottom), (left, right) = crops
    options = schema.StridedSliceOptionsT()
    # Bits of the axes that start or end where the tensor does.
    options.beginMask = 0b1001
    options.endMask = 0b1001 | (0 if bottom else 0b0010) | (0 if right else 0b0100)
    rows = {"begin": (0, top, left, 0), "end": (0, -bottom, -right, 0), "strides": (1, 1, 1, 1)}
    parameters = [_parameter(name, np.array(row, np.int32)) for name, row in rows.items()]
    return dataclasses.replace(
        last, name="STRIDED_SLICE", options=options, inputs=(whole, *parameters)
    )


def _new_tensor(scope: Scope, like: Tensor, suffix: str, index: int) -> Tensor:
    """A tensor that the file does not have; its index is negative, which no other has."""
    name = scope.graph.fresh(f"{like.name}_{suffix}")
    return dataclasses.replace(like, index=index, name=name, data=None)


def _parameter(name: str, array: NDArray[np.int32]) -> Tensor:
    """A constant of a rewritten operator; readers take its numbers, no value is made of it."""
    return Tensor(-1, name, array.shape, "int32", array, None, None, None, array.shape, 32)


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "BATCH_TO_SPACE_ND": read_batch_to_space,
        "DEPTH_TO_SPACE": read_depth_to_space,
        "SPACE_TO_BATCH_ND": read_space_to_batch,
        "SPACE_TO_DEPTH": read_depth_to_space,
    }
)
