"""Which single nodes give back their first input, and why.

Each predicate answers with the reason in words, or None. Shapes are compared by number and by
symbol: the same symbol means the same size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from intaglio.passes.canonicalize.editing import (
    constant,
    dims,
    integer,
    ints,
    is_standard,
    operand,
    text,
)

_NEUTRAL = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0, "Pow": 1.0}


def identity_source(node: ir.Node) -> tuple[ir.Value, str] | None:
    """The input that ``node`` gives back unchanged and the reason; None when it does something."""
    if not is_standard(node, node.op_type) or not node.inputs:
        return None
    if node.op_type in _NEUTRAL:
        return _neutral_operand(node)
    predicate = _PREDICATES.get(node.op_type)
    source = node.inputs[0]
    if predicate is None or source is None:
        return None
    reason = predicate(node)
    return None if reason is None else (source, reason)


def same_shape(left: ir.Value | None, right: ir.Value | None) -> bool:
    """Whether both shapes are known and equal, dimension by dimension."""
    first, second = dims(left), dims(right)
    return first is not None and first == second and None not in first


def _neutral_operand(node: ir.Node) -> tuple[ir.Value, str] | None:
    for index in (1, 0) if node.op_type in ("Add", "Mul") else (1,):
        array, other = constant(operand(node, index)), operand(node, 1 - index)
        neutral = _NEUTRAL[node.op_type]
        if array is None or other is None or array.size == 0 or not (array == neutral).all():
            continue
        if same_shape(other, node.outputs[0]) and other.dtype == node.outputs[0].dtype:
            return other, f"its constant is {neutral:g} everywhere"
    return None


def _always(node: ir.Node) -> str | None:
    return "it copies its input"


def _dropout(node: ir.Node) -> str | None:
    training = operand(node, 2)
    if training is not None:
        array = constant(training)
        if array is None or array.any():
            return None
    return "dropout does nothing in inference"


def _keeps_shape(node: ir.Node) -> str | None:
    return "its shape stays" if same_shape(node.inputs[0], node.outputs[0]) else None


def _transpose(node: ir.Node) -> str | None:
    perm = ints(node, "perm")
    if perm is not None and perm == list(range(len(perm))):
        return "its order of axes stays"
    return None


def _cast(node: ir.Node) -> str | None:
    source = node.inputs[0]
    same = source is not None and source.dtype is not None
    if same and source is not None and source.dtype == node.outputs[0].dtype:
        return "its element type stays"
    return None


def _pad(node: ir.Node) -> str | None:
    pads = constant(operand(node, 1))
    return "it pads by nothing" if pads is not None and not pads.any() else None


def _single(node: ir.Node) -> str | None:
    return "it has one input" if len(node.inputs) == 1 else None


def _split(node: ir.Node) -> str | None:
    return "it has one part" if len(node.outputs) == 1 else None


def _slice(node: ir.Node) -> str | None:
    steps = operand(node, 4)
    array = constant(steps)
    if steps is not None and (array is None or (array != 1).any()):
        return None
    return _keeps_shape(node)


def _tile(node: ir.Node) -> str | None:
    repeats = constant(operand(node, 1))
    return "it repeats once" if repeats is not None and (repeats == 1).all() else None


def _resize(node: ir.Node) -> str | None:
    mode = text(node, "coordinate_transformation_mode", "half_pixel")
    if text(node, "mode", "nearest") not in ("nearest", "linear") or mode == "tf_crop_and_resize":
        return None
    scales = constant(operand(node, 2))
    if scales is not None and scales.size and not np.all(scales == 1):
        return None
    return _keeps_shape(node)


def _pool(node: ir.Node) -> str | None:
    if len(node.outputs) > 1 or any(ints(node, "pads") or []):
        return None
    ones = [*(ints(node, "kernel_shape") or [0]), *(ints(node, "strides") or [])]
    return "its window is one element" if all(v == 1 for v in ones) else None


def _block(node: ir.Node) -> str | None:
    return "its block is one element" if integer(node, "blocksize", 0) == 1 else None


def _clip(node: ir.Node) -> str | None:
    bounds = [operand(node, 1), operand(node, 2)]
    return "it has no bounds" if bounds == [None, None] else None


_PREDICATES: dict[str, Callable[[ir.Node], str | None]] = {
    "AveragePool": _pool,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _single,
    "DepthToSpace": _block,
    "Dropout": _dropout,
    "Expand": _keeps_shape,
    "Flatten": _keeps_shape,
    "Identity": _always,
    "Max": _single,
    "MaxPool": _pool,
    "Mean": _single,
    "Min": _single,
    "Pad": _pad,
    "Reshape": _keeps_shape,
    "Resize": _resize,
    "Slice": _slice,
    "SpaceToDepth": _block,
    "Split": _split,
    "Squeeze": _keeps_shape,
    "Sum": _single,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _keeps_shape,
}
