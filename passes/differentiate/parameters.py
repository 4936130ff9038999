"""Which initializers are trained."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

import onnx_ir as ir

from intaglio.errors import RecipeError
from intaglio.passes.differentiate.config import TrainingOptions
from intaglio.passes.differentiate.table import differentiable
from intaglio.passes.operators import is_constant, is_float

#: Operators whose constant inputs behind the first are trained unless patterns say otherwise.
_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "PRelu"})


def trained_output(model: ir.Model, options: TrainingOptions) -> ir.Value:
    """The output that the loss is taken on.

    Raises:
        RecipeError: It is not named and there are several, or the name is wrong.
    """
    outputs = list(model.graph.outputs)
    names = [str(output.name) for output in outputs]
    if options.output:
        if options.output not in names:
            raise RecipeError(
                f"the model has no output '{options.output}'",
                remedy=f"its outputs are {', '.join(names)}",
            )
        found = outputs[names.index(options.output)]
    elif len(outputs) != 1:
        raise RecipeError(
            f"the model has {len(outputs)} outputs",
            remedy=f"say which one the loss is taken on (option output): {', '.join(names)}",
        )
    else:
        found = outputs[0]
    if not is_float(found):
        raise RecipeError(
            f"the output '{found.name}' is not float", remedy="choose another (option output)"
        )
    return found


def select_parameters(
    model: ir.Model, output: ir.Value, options: TrainingOptions
) -> list[ir.Value]:
    """The parameters, in the order in which the graph reads them.

    Raises:
        RecipeError: A pattern matches nothing that the output depends on, or nothing is left.
    """
    readers = _readers(model.graph, output)
    if not options.trained:
        found = [value for value, nodes in readers.items() if _in_layer(value, nodes)]
        if not found:
            raise RecipeError(
                f"'{output.name}' depends on no float weight of a Conv, ConvTranspose, Gemm, "
                "MatMul or PRelu",
                remedy="name the initializers to train (option trained)",
            )
        return found
    for pattern in options.trained:
        if not any(fnmatch.fnmatchcase(str(value.name), pattern) for value in readers):
            names = ", ".join(sorted(str(value.name) for value in readers)[:12]) or "none"
            raise RecipeError(
                f"the pattern '{pattern}' of trained matches no float initializer that "
                f"'{output.name}' depends on",
                remedy=f"those are: {names}",
            )
    return [
        value
        for value in readers
        if any(fnmatch.fnmatchcase(str(value.name), pattern) for pattern in options.trained)
    ]


def _in_layer(value: ir.Value, nodes: Iterable[ir.Node]) -> bool:
    for node in nodes:
        if node.op_type in _LAYERS and value in list(node.inputs)[1:]:
            return True
        if node.op_type == "MatMul":
            return True
    return False


def _readers(graph: ir.Graph, output: ir.Value) -> dict[ir.Value, list[ir.Node]]:
    """Float initializers that a gradient of ``output`` may reach, with the nodes that read them."""
    reached = {output}
    for node in reversed(list(graph)):
        if reached.intersection(node.outputs):
            reached.update(value for value in differentiable(node) if is_float(value))
    found: dict[ir.Value, list[ir.Node]] = {}
    for node in graph:
        if not reached.intersection(node.outputs):
            continue
        for value in differentiable(node):
            if is_float(value) and is_constant(value):
                found.setdefault(value, []).append(node)
    return found
