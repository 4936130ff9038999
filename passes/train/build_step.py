"""From the forward form to a whole training step as one integer graph.

Inputs: the data, ``labels`` int64 [N] (for the squared error ``target`` int32, shaped as the
logits), the parameters by name, ``seed`` and ``step_shift`` (int64 scalars). Outputs:
``updated.<name>`` for each parameter, ``loss_plus`` and ``loss_minus`` (int64 [probes]), ``sign``
(int8 [probes]). The graph has no state: a host hands the outputs back as inputs. What it computes
is :func:`intaglio.transforms.forward_gradient.step.train_step`, bit for bit.
"""

from __future__ import annotations

import onnx_ir as ir

from intaglio.errors import UnsupportedError
from intaglio.passes.annotations import get_quantization, set_quantization
from intaglio.passes.base import EXACT, Change, Outcome, Pass, Skip, outcome
from intaglio.passes.canonicalize.editing import drop_unused_constants
from intaglio.passes.dialect.functions import add_functions
from intaglio.passes.train.build_forward import is_forward, read_specification
from intaglio.passes.train.graph_writer import GraphWriter, rename_inner
from intaglio.passes.train.loss_function import FUNCTION_DOMAIN, make_loss_function
from intaglio.passes.train.step_graph import StepGraph
from intaglio.transforms.forward_gradient.specification import StepSpecification

LABELS = "labels"
TARGET = "target"
SEED = "seed"
STEP_SHIFT = "step_shift"
LOSS_PLUS = "loss_plus"
LOSS_MINUS = "loss_minus"
SIGN = "sign"

#: Before the name of a parameter: the output that holds its new numbers.
UPDATED = "updated."


class BuildStep(Pass):
    """Builds the training step around the forward form."""

    name = "train.build_step"
    semantics = EXACT

    def call(self, model: ir.Model) -> Outcome:
        """Edits ``model`` in place; a model that is no forward form stays as it is.

        Raises:
            UnsupportedError: An input has a name that the step needs.
        """
        specification = read_specification(model)
        if specification is None or not is_forward(model):
            return outcome(model, [], [Skip("", "the model is in no forward form")])
        graph = model.graph
        logits = graph.outputs[-1]
        names = {p.name for p in specification.parameters}
        data = [value for value in graph.inputs if value.name not in names]
        by_name = {str(value.name): value for value in graph.inputs}
        parameters = [by_name[p.name] for p in specification.parameters]
        _check_names([*data, *parameters], specification)
        rename_inner(graph, _border_names(specification))
        target = _target(specification, logits)
        seed, step_shift = _scalar(SEED), _scalar(STEP_SHIFT)
        loss = make_loss_function(graph, logits, specification, parameters, target)
        graph.outputs.clear()
        kept = set(loss.prefix)
        graph.remove([node for node in graph if node not in kept], safe=True)
        graph.inputs.clear()
        graph.inputs.extend([*data, target, *parameters, seed, step_shift])
        model.functions[loss.function.identifier()] = loss.function
        graph.opset_imports[FUNCTION_DOMAIN] = 1
        writer = GraphWriter(graph, _border_names(specification))
        step = StepGraph(writer, specification, parameters, [*loss.inputs, target], seed)
        made = step.write(step_shift)
        for value, name in zip(made, _output_names(specification), strict=True):
            value.name = name
            graph.outputs.append(value)
        for value, parameter in zip(made, parameters, strict=False):
            quantization = get_quantization(parameter)
            if quantization is not None:
                set_quantization(value, quantization)
        drop_unused_constants(graph)
        add_functions(model)
        facts = {
            "prefix_nodes": len(loss.prefix),
            "loss_nodes": len(loss.function),
            "loss_calls": 2 * specification.seeds_per_step,
        }
        return outcome(model, [Change("build", "", "forward form", "training step")], facts=facts)


def _output_names(specification: StepSpecification) -> list[str]:
    updated = [UPDATED + parameter.name for parameter in specification.parameters]
    return [*updated, LOSS_PLUS, LOSS_MINUS, SIGN]


def _border_names(specification: StepSpecification) -> list[str]:
    return [LABELS, TARGET, SEED, STEP_SHIFT, *_output_names(specification)]


def _check_names(inputs: list[ir.Value], specification: StepSpecification) -> None:
    taken = set(_border_names(specification))
    for value in inputs:
        if value.name in taken:
            raise UnsupportedError(
                f"the training step has an input or output '{value.name}' of its own",
                remedy="give the model's input or weight another name",
            )


def _target(specification: StepSpecification, logits: ir.Value) -> ir.Value:
    shape = None if logits.shape is None else list(logits.shape)
    if specification.loss == "mean-squared-error":
        return ir.Value(
            name=TARGET,
            type=ir.TensorType(ir.DataType.INT32),
            shape=None if shape is None else ir.Shape(shape),
        )
    rows = ["N"] if shape is None else shape[:1]
    return ir.Value(name=LABELS, type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape(rows))


def _scalar(name: str) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([]))
