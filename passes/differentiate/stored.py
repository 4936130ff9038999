"""What training has to keep in memory: the forward values that the backward nodes read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from intaglio.passes.canonicalize.editing import dims
from intaglio.passes.differentiate import marking
from intaglio.passes.differentiate.interface import require_training_graph


def stored_activations(model: ir.Model) -> list[ir.Value]:
    """The activations of a training graph that have to be kept until the backward reads them.

    Inputs of the model count, and values of the loss; parameters, the optimizer's state, labels
    and targets do not. Who only asks for the shape of a value does not need it kept.

    Args:
        model: A training graph.

    Returns:
        The values in the order in which they are computed, inputs first.

    Raises:
        InputError: ``model`` is no training graph.
    """
    inputs = set(require_training_graph(model)["inputs"])
    candidates = [value for value in model.graph.inputs if value.name in inputs]
    for node in model.graph:
        if not _is_backward(node) and node.op_type != "Shape":
            candidates.extend(node.outputs)
    return [value for value in candidates if _is_read(value)]


def _is_backward(node: ir.Node) -> bool:
    return marking.phase(node) in (marking.BACKWARD, marking.UPDATE)


def _is_read(value: ir.Value) -> bool:
    return any(_is_backward(use.node) and use.node.op_type != "Shape" for use in value.uses())


def stored_bytes(values: Sequence[ir.Value], sizes: Mapping[str, int] | None = None) -> int:
    """Bytes of ``values``.

    Args:
        values: Values, such as :func:`stored_activations` lists.
        sizes: Numbers for symbolic dimensions; those not named count as 1.
    """
    chosen = sizes or {}
    total = 0
    for value in values:
        count = 1
        for dim in dims(value) or []:
            count *= dim if isinstance(dim, int) else chosen.get(str(dim), 1)
        total += int(count * (value.dtype.itemsize if value.dtype is not None else 4))
    return total
