"""The part of a forward form that depends on what trains, as one ONNX function.

A training step evaluates the loss many times at other weights. What depends on no trained tensor
(the frozen layers in front) is computed once, in the main graph; the rest becomes the model-local
function ``intaglio.model.Loss (tensors of the prefix, large constants, labels, parameters) ->
loss``. Small constants stand inside.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import onnx_ir as ir

from intaglio.errors import InternalError
from intaglio.passes.dialect.specification import DOMAIN, OPSET, VERSION
from intaglio.transforms.forward_gradient.specification import StepSpecification

FUNCTION_DOMAIN = "intaglio.model"
FUNCTION_NAME = "Loss"

#: Constants of more elements are handed to the function: each call would hold a copy of them.
_SMALL = 64


@dataclasses.dataclass(frozen=True)
class LossFunction:
    """The function and what it is called with.

    Attributes:
        function: The function.
        inputs: Values of the main graph that come first in a call, before labels and parameters.
        prefix: Nodes of the main graph that stay in it, in order.
    """

    function: ir.Function
    inputs: tuple[ir.Value, ...]
    prefix: tuple[ir.Node, ...]


def make_loss_function(
    graph: ir.Graph,
    logits: ir.Value,
    specification: StepSpecification,
    parameters: Sequence[ir.Value],
    target: ir.Value,
) -> LossFunction:
    """Makes the function; ``graph`` stays as it is.

    Args:
        graph: A forward form.
        logits: Its output that the loss reads.
        specification: The step.
        parameters: Inputs that train, in the order of their numbers.
        target: Labels, or the targets of the squared error.
    """
    needed = _needed(graph, logits)
    trained = set(parameters)
    suffix: list[ir.Node] = []
    for node in needed:
        if any(value in trained for value in node.inputs):
            trained.update(node.outputs)
            suffix.append(node)
    if logits not in trained:
        raise InternalError("the logits depend on nothing that trains")
    inside = {value for node in suffix for value in node.outputs} | set(parameters)
    outside = list(
        dict.fromkeys(v for n in suffix for v in n.inputs if v is not None and v not in inside)
    )
    given = [value for value in outside if not _is_small_constant(value)]
    body = _Body([*given, target, *parameters])
    for value in outside:
        if _is_small_constant(value):
            body.constant(value)
    for node in suffix:
        body.copy(node)
    body.loss(logits, target, specification)
    chosen = set(suffix)
    prefix = tuple(node for node in needed if node not in chosen)
    return LossFunction(body.function(), tuple(given), prefix)


def _needed(graph: ir.Graph, output: ir.Value) -> list[ir.Node]:
    wanted = {output}
    kept = []
    for node in reversed(list(graph)):
        if wanted.intersection(node.outputs):
            wanted.update(value for value in node.inputs if value is not None)
            kept.append(node)
    return kept[::-1]


def _is_small_constant(value: ir.Value) -> bool:
    return value.const_value is not None and value.const_value.size <= _SMALL


class _Body:
    """The function's body, being written."""

    def __init__(self, given: Sequence[ir.Value]) -> None:
        self._made = {value: _like(value) for value in given}
        self._inputs = list(self._made.values())
        self._nodes: list[ir.Node] = []
        self._output: ir.Value | None = None

    def constant(self, value: ir.Value) -> None:
        tensor = value.const_value
        if tensor is None:
            raise InternalError(f"'{value.name}' is no constant")
        self._append(
            ir.Node("", "Constant", [], [ir.AttrTensor("value", tensor)], num_outputs=1), [value]
        )

    def copy(self, node: ir.Node) -> None:
        inputs = [None if value is None else self._made[value] for value in node.inputs]
        copied = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            list(node.attributes.values()),
            num_outputs=len(node.outputs),
            metadata_props=dict(node.metadata_props),
        )
        self._append(copied, node.outputs)

    def loss(self, logits: ir.Value, target: ir.Value, specification: StepSpecification) -> None:
        squared = specification.loss == "mean-squared-error"
        attributes = [] if squared else [ir.AttrInt64("bits", specification.loss_bits)]
        inputs = [self._made[logits], self._made[target]]
        operator = "SquaredError" if squared else "CrossEntropyBase2"
        node = ir.Node(DOMAIN, operator, inputs, attributes, num_outputs=1)
        taken = {value.name for value in self._made.values()}
        name = "loss"
        while name in taken:
            name += "_"
        node.name = node.outputs[0].name = name
        node.outputs[0].type = ir.TensorType(ir.DataType.INT64)
        self._nodes.append(node)
        self._output = node.outputs[0]

    def function(self) -> ir.Function:
        if self._output is None:
            raise InternalError("the function has no loss")
        graph = ir.Graph(
            self._inputs,
            [self._output],
            nodes=self._nodes,
            opset_imports={"": OPSET, DOMAIN: VERSION},
            name=FUNCTION_NAME,
        )
        return ir.Function(FUNCTION_DOMAIN, FUNCTION_NAME, graph=graph, attributes=[])

    def _append(self, node: ir.Node, stands_for: Sequence[ir.Value]) -> None:
        node.name = stands_for[0].name
        for made, value in zip(node.outputs, stands_for, strict=True):
            made.name, made.type, made.shape = value.name, value.type, value.shape
            self._made[value] = made
        self._nodes.append(node)


def _like(value: ir.Value) -> ir.Value:
    return ir.Value(name=value.name, type=value.type, shape=value.shape)
