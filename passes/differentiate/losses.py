"""The loss and its gradient with respect to what it is taken on."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from intaglio.errors import Refusal, UnsupportedError
from intaglio.passes.canonicalize.editing import dims, integer
from intaglio.passes.differentiate.context import Context
from intaglio.passes.differentiate.marking import BACKWARD, LOSS
from intaglio.passes.provenance import source_name


def without_softmax(value: ir.Value) -> ir.Value:
    """The logits: what a Softmax or LogSoftmax over the classes at the end reads.

    Cross-entropy is taken on logits; of the logarithm of a softmax it is the same number.
    """
    node = value.producer()
    shape = dims(value)
    if node is None or node.domain not in ("", "ai.onnx") or shape is None or len(shape) != 2:
        return value
    if node.op_type not in ("Softmax", "LogSoftmax") or integer(node, "axis", -1) not in (-1, 1):
        return value
    logits = node.inputs[0]
    return value if logits is None else logits


def check_logits(value: ir.Value) -> None:
    """Refuses logits that are not ``[N, classes]``.

    Raises:
        UnsupportedError: They have another number of dimensions.
    """
    shape = dims(value)
    if shape is not None and len(shape) == 2:
        return
    node = value.producer()
    raise UnsupportedError(
        f"cross-entropy needs an output of shape [N, classes], '{value.name}' has {shape}",
        [
            Refusal(
                source_name(node) if node is not None else str(value.name),
                node.op_type if node is not None else "input",
                f"its result has the shape {shape}",
                "choose another output, or loss = mean-squared-error",
            )
        ],
    )


def cross_entropy(
    context: Context, logits: ir.Value, labels: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """``mean(-log softmax(z)[label])``; its gradient is ``(softmax(z) - one-hot) / N``.

    Returns:
        The loss (a scalar), and its gradient with respect to ``logits``.
    """
    context.phase = LOSS
    logs = context.op("LogSoftmax", logits, axis=1)
    column = context.op("Unsqueeze", labels, context.integers([1]))
    picked = context.op("GatherElements", logs, column, axis=1)
    loss = context.op("Neg", context.op("ReduceMean", picked, keepdims=0))
    context.phase = BACKWARD
    ends = context.floats(np.array([0.0, 1.0]))
    hot = context.op("OneHot", labels, context.sizes([(logits, 1)]), ends, axis=1)
    difference = context.op("Sub", context.op("Exp", logs), hot)
    return loss, context.op("Div", difference, context.count(logits, [0]))


def mean_squared_error(
    context: Context, output: ir.Value, target: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """``mean((y - t)^2)``; its gradient is ``2 (y - t) / number of elements``.

    Returns:
        The loss (a scalar), and its gradient with respect to ``output``.
    """
    context.phase = LOSS
    difference = context.op("Sub", output, target)
    square = context.op("Mul", difference, difference)
    loss = context.op("ReduceMean", square, keepdims=0)
    context.phase = BACKWARD
    rank = len(dims(output) or [])
    factor = context.op("Div", context.number(2.0), context.count(output, range(rank)))
    return loss, context.op("Mul", difference, factor)
