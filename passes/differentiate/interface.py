"""Names of the inputs and outputs of a training graph, and what a host does with them.

Inputs: those of the model, ``labels`` or ``target``, the parameters under their own names, the
optimizer's state, ``learning_rate``, and ``step`` for Adam. Outputs: ``loss``, and either
``gradient.<parameter>``, or ``updated.<input>`` for every input that the next step gets it for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.errors import InputError
from intaglio.passes.differentiate.config import TrainingOptions
from intaglio.passes.differentiate.marking import description, is_training_graph
from intaglio.passes.differentiate.parameters import select_parameters, trained_output

LABELS = "labels"
TARGET = "target"
LEARNING_RATE = "learning_rate"
STEP = "step"
LOSS = "loss"
GRADIENT = "gradient."
UPDATED = "updated."


def wanted_name(options: TrainingOptions) -> str:
    """Name of the input that the loss compares with."""
    return LABELS if options.loss == "cross-entropy" else TARGET


def state_suffixes(options: TrainingOptions) -> tuple[str, ...]:
    """What the optimizer keeps of every parameter: ``<parameter>.<suffix>``."""
    if options.optimizer == "adam":
        return ("first_moment", "second_moment")
    if options.optimizer == "sgd" and options.momentum > 0:
        return ("velocity",)
    return ()


def initial_state(model: ir.Model, options: TrainingOptions) -> dict[str, NDArray[Any]]:
    """What the first step gets: parameters, and an optimizer that has seen nothing.

    Args:
        model: The model as it was before :func:`build_training_graph`.
        options: The same options.

    Raises:
        RecipeError: The options do not fit the model.
    """
    found: dict[str, NDArray[Any]] = {}
    for parameter in select_parameters(model, trained_output(model, options), options):
        assert parameter.const_value is not None  # an initializer
        array = np.array(parameter.const_value.numpy())
        found[str(parameter.name)] = array
        for suffix in state_suffixes(options):
            found[f"{parameter.name}.{suffix}"] = np.zeros_like(array)
    if options.optimizer == "adam":
        found[STEP] = np.array(0, np.int64)
    return found


def feedback(model: ir.Model) -> dict[str, str]:
    """Which output of a training graph becomes which input of the next step.

    Raises:
        InputError: ``model`` is no training graph.
    """
    require_training_graph(model)
    names = [str(output.name) for output in model.graph.outputs]
    return {name: name.removeprefix(UPDATED) for name in names if name.startswith(UPDATED)}


def require_training_graph(model: ir.Model) -> dict[str, Any]:
    """The description of a training graph.

    Raises:
        InputError: ``model`` is none.
    """
    if not is_training_graph(model):
        raise InputError(
            "the model is no training graph", remedy="build one with train.differentiate"
        )
    return description(model)
