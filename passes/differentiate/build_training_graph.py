"""Builds the training graph of a float model: forward, loss, backward and one optimizer step.

Everything is plain standard ONNX, so any runtime of inference can train. What is differentiated
is the function that the graph computes; `docs/design/differentiation.md` lists the formulas.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from intaglio.errors import RecipeError, UnsupportedError
from intaglio.passes.base import EXACT, Change, Outcome, Pass, PassConfig, Semantics, Skip, outcome
from intaglio.passes.canonicalize.editing import remove_dead, static_dims
from intaglio.passes.differentiate import interface, losses, marking, optimizers
from intaglio.passes.differentiate.backward import sweep
from intaglio.passes.differentiate.config import TrainingOptions
from intaglio.passes.differentiate.context import Context
from intaglio.passes.differentiate.parameters import select_parameters, trained_output
from intaglio.passes.differentiate.stored import stored_activations, stored_bytes
from intaglio.passes.marks import is_integer
from intaglio.passes.rewriting import infer_shapes

#: Reductions take their axes as an input, and ScatterElements adds up, from this version on.
LOWEST_OPSET = 18


class Differentiate(Pass):
    """Turns a float model into its training graph.

    The loss and its gradients are those of the function that the model computes, in real numbers;
    where it has a corner, the rule says which side counts.
    """

    name: ClassVar[str] = "train.differentiate"
    semantics: ClassVar[Semantics] = EXACT
    Config: ClassVar[type[PassConfig]] = TrainingOptions

    def call(self, model: ir.Model) -> Outcome:
        """Adds loss, backward and update to ``model``, in place.

        Raises:
            RecipeError: The options do not fit the model.
            UnsupportedError: Nodes have no gradient; the model stays as it was.
        """
        if marking.is_training_graph(model):
            return outcome(model, [], [Skip("", "the model is a training graph already")])
        return _Assembly(model, self.config).run()


def build_training_graph(model: ir.Model, options: TrainingOptions | None = None) -> ir.Model:
    """The training graph of ``model``, which stays as it is.

    Args:
        model: A float model.
        options: What to train, for which loss, by which rule; None for the defaults.

    Raises:
        RecipeError: The options do not fit the model.
        UnsupportedError: Nodes have no gradient, or the model is no float model.
        InputError: ``model`` is a training graph already.
    """
    if marking.is_training_graph(model):
        raise RecipeError(
            "the model is a training graph already", remedy="start from the model for inference"
        )
    copy = model.clone()
    _Assembly(copy, options or TrainingOptions()).run()
    return copy


class _Assembly:
    """Puts the parts together; the graph changes only when all of them are there."""

    def __init__(self, model: ir.Model, options: TrainingOptions) -> None:
        self.model = model
        self.graph = model.graph
        self.options = options
        self.created: list[ir.Value] = []
        self._named: set[str] = set()

    def run(self) -> Outcome:
        """Builds loss, backward and update, then changes the model."""
        _check_model(self.model)
        infer_shapes(self.model)
        self.graph.sort()
        self.output = trained_output(self.model, self.options)
        self.parameters = select_parameters(self.model, self.output, self.options)
        dtype = self.output.dtype
        assert dtype is not None  # it is float
        self.dtype = dtype
        self.inputs = list(self.graph.inputs)
        self._check_names()
        self.context = Context(self.graph, dtype, self.parameters)
        try:
            loss, changes = self._differentiate()
            results = self._results()
        except Exception:
            self.context.discard()
            raise
        for parameter in self.parameters:
            changes.append(Change("train", str(parameter.name), "constant", "input"))
        nodes = len(list(self.graph))
        self._rewrite([(interface.LOSS, loss), *results])
        return outcome(self.model, changes, facts=self._facts(nodes))

    def _differentiate(self) -> tuple[ir.Value, list[Change]]:
        context, options = self.context, self.options
        if options.loss == "cross-entropy":
            base = losses.without_softmax(self.output)
            losses.check_logits(base)
            shape = list(base.shape or [])[:1]
            wanted = self._input(interface.LABELS, ir.DataType.INT64, shape)
            loss, gradient = losses.cross_entropy(context, base, wanted)
        else:
            base = self.output
            shape = list(base.shape or [])
            wanted = self._input(interface.TARGET, self.dtype, shape)
            loss, gradient = losses.mean_squared_error(context, base, wanted)
        context.add(base, gradient)
        change = Change("loss", str(base.name), "output", options.loss)
        return loss, [change, *sweep(context, self.graph)]

    def _results(self) -> list[tuple[str, ir.Value]]:
        """Names and values of the outputs behind the loss."""
        context, options = self.context, self.options
        pairs = [(parameter, self._gradient(parameter)) for parameter in self.parameters]
        if options.optimizer == "none":
            return [(f"{interface.GRADIENT}{p.name}", gradient) for p, gradient in pairs]
        context.phase = marking.UPDATE
        states = [
            [
                self._input(f"{parameter.name}.{suffix}", self.dtype, list(parameter.shape or []))
                for suffix in interface.state_suffixes(options)
            ]
            for parameter in self.parameters
        ]
        rate = self._input(interface.LEARNING_RATE, self.dtype, [])
        results: list[tuple[str, ir.Value]] = []
        shared: optimizers.AdamStep | None = None
        if options.optimizer == "adam":
            step = self._input(interface.STEP, ir.DataType.INT64, [])
            count = optimizers.count_step(context, step)
            shared = optimizers.adam_step(context, count, rate, options.betas)
            results.append((interface.UPDATED + interface.STEP, count))
        for (parameter, gradient), state in zip(pairs, states, strict=True):
            after = self._update(parameter, gradient, state, rate, shared)
            for value, new in zip([parameter, *state], after, strict=True):
                results.append((f"{interface.UPDATED}{value.name}", new))
        return results

    def _gradient(self, parameter: ir.Value) -> ir.Value:
        found = self.context.gradient(parameter)
        return self.context.zeros_like(parameter) if found is None else found

    def _update(
        self,
        parameter: ir.Value,
        gradient: ir.Value,
        state: Sequence[ir.Value],
        rate: ir.Value,
        shared: optimizers.AdamStep | None,
    ) -> list[ir.Value]:
        context, options = self.context, self.options
        if shared is not None:
            moments = (state[0], state[1])
            return list(
                optimizers.adam(
                    context, parameter, gradient, moments, shared, options.betas, options.epsilon
                )
            )
        velocity = state[0] if state else None
        new, moved = optimizers.sgd(context, parameter, gradient, rate, velocity, options.momentum)
        return [new] if moved is None else [new, moved]

    def _input(self, name: str, dtype: ir.DataType, shape: Sequence[Any]) -> ir.Value:
        value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))
        self.created.append(value)
        return value

    def _check_names(self) -> None:
        """The names of the interface must be free; values inside the model give way.

        Raises:
            RecipeError: An input or initializer of the model has such a name.
        """
        reserved = _reserved(self.parameters, self.options)
        taken = {str(value.name) for value in self.graph.inputs} | set(self.graph.initializers)
        clash = sorted(reserved & taken)
        if clash:
            raise RecipeError(
                f"the model has an input or initializer called '{clash[0]}', which is the name of "
                "an input or output of the training graph",
                remedy="give it another name in the model",
            )

    def _rewrite(self, results: Sequence[tuple[str, ir.Value]]) -> None:
        graph = self.graph
        reserved = _reserved(self.parameters, self.options)
        for node in graph:
            for value in node.outputs:
                if value.name in reserved:
                    value.name = self.context.fresh(f"forward.{value.name}")
        graph.outputs.clear()
        outputs = [self._output(name, value) for name, value in results]
        self.context.attach()
        for parameter in self.parameters:
            del graph.initializers[str(parameter.name)]
            parameter.const_value = None
        graph.inputs.extend(self._ordered())
        graph.outputs.extend(outputs)
        remove_dead(graph, list(graph))
        graph.sort()
        marking.mark_training_graph(
            self.model,
            {
                "loss": self.options.loss,
                "optimizer": self.options.optimizer,
                "inputs": [str(value.name) for value in self.inputs],
                "parameters": [str(value.name) for value in self.parameters],
            },
        )
        infer_shapes(self.model)

    def _ordered(self) -> list[ir.Value]:
        """New inputs: what is wanted, parameters, their state, then the scalars."""
        return [self.created[0], *self.parameters, *self.created[1:]]

    def _output(self, name: str, value: ir.Value) -> ir.Value:
        """``value`` under the name of an output; a second name for one value is a copy."""
        producer = value.producer()
        added = producer is not None and marking.phase(producer) is not None
        if not added or value.name in self._named:
            value = self.context.op("Identity", value)
        value.name = name
        self._named.add(name)
        return value

    def _facts(self, nodes: int) -> dict[str, Any]:
        kept = stored_activations(self.model)
        sizes = [int(np.prod(static_dims(value) or [])) for value in self.parameters]
        return {
            "parameters": len(self.parameters),
            "trained_elements": sum(sizes),
            "forward_nodes": nodes,
            "nodes": len(list(self.graph)),
            "stored_activations": len(kept),
            "stored_bytes_per_sample": stored_bytes(kept),
        }


def _reserved(parameters: Sequence[ir.Value], options: TrainingOptions) -> set[str]:
    names = {interface.LOSS, interface.wanted_name(options)}
    if options.optimizer == "none":
        return names | {f"{interface.GRADIENT}{value.name}" for value in parameters}
    names |= {interface.LEARNING_RATE}
    fed = [str(value.name) for value in parameters]
    fed += [f"{name}.{suffix}" for name in fed for suffix in interface.state_suffixes(options)]
    if options.optimizer == "adam":
        fed.append(interface.STEP)
    names |= set(fed[len(parameters) :])
    return names | {interface.UPDATED + name for name in fed}


def _check_model(model: ir.Model) -> None:
    """Refuses what is no float model of a version that the gradients can be written in.

    Raises:
        UnsupportedError: It is another one.
    """
    if is_integer(model):
        raise UnsupportedError(
            "the model is in the integer form, which has no gradient",
            remedy="differentiate the float model, before quantization",
        )
    version = model.graph.opset_imports.get("", 0)
    if version < LOWEST_OPSET:
        raise UnsupportedError(
            f"the model is in opset {version}",
            remedy=f"convert it to opset {LOWEST_OPSET} or later; reading a file does",
        )
