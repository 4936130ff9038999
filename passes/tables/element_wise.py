"""Element-wise operators on a tensor of samples: one position, all values of its integer input.

Samples are arrays [levels, C or 1, 1, ...] with the axes of the graph's tensor: the levels stand
where the batch is, and the image is one position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.canonicalize.editing import constant
from intaglio.passes.operators import BINARY, UNARY
from intaglio.passes.rewriting import evaluate

_MORE = ("Cast", "Identity", "Mod", "Where", "PRelu", "Less", "Greater", "Equal", "Not", "And")


def is_point_wise(node: ir.Node) -> bool:
    """Whether each element of the result depends on the same element of the operands only.

    Constants among the operands may differ between channels, not between positions.
    """
    if node.domain not in ("", "ai.onnx") or len(node.outputs) != 1:
        return False
    if node.op_type not in UNARY and node.op_type not in BINARY and node.op_type not in _MORE:
        return False
    shape = node.outputs[0].shape
    if shape is None or len(shape) < 2:
        return False
    tensors = 0
    for value in node.inputs:
        if value is None:
            continue
        array = constant(value)
        if array is None:
            tensors += 1
            # A tensor of fewer axes would be broadcast: its axis 1 is not the result's.
            if value.shape is None or len(value.shape) != len(shape):
                return False
        elif not _same_everywhere(array, len(shape)):
            return False
    return tensors > 0


def _same_everywhere(array: NDArray[Any], rank: int) -> bool:
    shape = (1,) * (rank - array.ndim) + array.shape
    return len(shape) == rank and shape[0] == 1 and all(size == 1 for size in shape[2:])


def point_wise(node: ir.Node, tensors: Sequence[NDArray[Any]]) -> NDArray[Any] | None:
    """The result of an element-wise node on samples of its operands that are no constants.

    Returns:
        Samples of the result; None where the operator cannot be evaluated.
    """
    given = iter(tensors)
    operands = [
        None if v is None else (array if (array := constant(v)) is not None else next(given))
        for v in node.inputs
    ]
    try:
        [result] = evaluate(node, operands)
    except ValueError:
        return None
    return np.asarray(result)
