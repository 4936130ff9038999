"""From an integer graph to its forward form: trained tensors as inputs, logits for a loss.

The forward form is what every training step is made from. Each parameter of the specification (in
the model's metadata) becomes a graph input behind the data, in the order of their numbers and in
the layout the integer graph has: Conv weights [out, in/group, ...], weights of a Gemm or MatMul
[in, out]. :attr:`Parameter.shape` then says so. A last output ``step_logits`` (int32) is added::

    step_logits = rescale(accumulator, accumulator's scale / logit scale)

with two roundings; from an accumulator of more than 32 bits with the 16-bit multiplier.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from intaglio.errors import InternalError, UnsupportedError
from intaglio.passes.annotations import set_quantization
from intaglio.passes.base import EXACT, Change, Outcome, Pass, Skip, outcome
from intaglio.passes.canonicalize.editing import add_constant, fresh_name
from intaglio.passes.dialect.functions import add_functions
from intaglio.passes.dialect.specification import DOMAIN
from intaglio.passes.provenance import inherit_sources
from intaglio.passes.train.graph_writer import rename_inner
from intaglio.passes.train.logits import Logits, find_logits, logit_scale, require_rows
from intaglio.transforms.fixed_point import MINIMUM_WIDE_SHIFT, quantize_multiplier
from intaglio.transforms.forward_gradient.loss import SQUARED_ERROR_LIMIT
from intaglio.transforms.forward_gradient.specification import (
    METADATA_KEY,
    Mask,
    Parameter,
    StepSpecification,
)
from intaglio.transforms.forward_gradient.step import moves as moving
from intaglio.transforms.scales import TensorQuantization

#: Name of the output that the loss reads.
LOGITS = "step_logits"

_INT32 = np.iinfo(np.int32)


class BuildForward(Pass):
    """Makes inputs of the trained tensors and adds the logits of the loss."""

    name = "train.build_forward"
    semantics = EXACT

    def call(self, model: ir.Model) -> Outcome:
        """Edits ``model`` in place; a model without a specification stays as it is.

        Raises:
            UnsupportedError: Its output is nothing that the loss can read, or a name is taken.
            InternalError: A trained tensor is missing, or has another shape than stated.
        """
        specification = read_specification(model)
        if specification is None:
            return outcome(model, [], [Skip("", "nothing in the model trains")])
        if is_forward(model):
            return outcome(model, [], [Skip("", "the model is in the forward form already")])
        if LOGITS in {v.name for v in (*model.graph.inputs, *model.graph.outputs)}:
            raise UnsupportedError(
                f"the training step has an output '{LOGITS}' of its own",
                remedy="give the model's input or output another name",
            )
        rename_inner(model.graph, [LOGITS])
        found = find_logits(model)
        output = model.graph.outputs[0]
        require_rows(specification, output)
        scale = logit_scale(specification, found.output_scale)
        changes = [Change("lift", p.name, "initializer", "input") for p in specification.parameters]
        parameters = tuple(_lift(model.graph, p) for p in specification.parameters)
        specification = dataclasses.replace(specification, parameters=parameters, logit_scale=scale)
        _add_logits(model.graph, found, specification, output)
        model.metadata_props[METADATA_KEY] = specification.to_json()
        add_functions(model)
        changes.append(Change("add", LOGITS, "", "output"))
        facts = {"parameters": len(parameters), "logit_scale": scale}
        return outcome(model, changes, facts=facts)


def read_specification(model: ir.Model) -> StepSpecification | None:
    """The specification in a model's metadata, or None where nothing trains.

    Raises:
        InternalError: It is damaged.
    """
    text = model.metadata_props.get(METADATA_KEY)
    if text is None:
        return None
    try:
        return StepSpecification.from_json(text)
    except ValueError as error:
        raise InternalError(str(error)) from error


def is_forward(model: ir.Model) -> bool:
    """Whether a model is in the forward form."""
    specification, outputs = read_specification(model), model.graph.outputs
    if specification is None or not outputs or outputs[-1].name != LOGITS:
        return False
    # A model may have an output of that name itself: then its weights are no inputs yet.
    inputs = {value.name for value in model.graph.inputs}
    return all(parameter.name in inputs for parameter in specification.parameters)


def _lift(graph: ir.Graph, parameter: Parameter) -> Parameter:
    """Makes an input of a parameter's initializer; its shape is that in the graph."""
    value = graph.initializers.pop(parameter.name, None)
    if value is None or value.const_value is None:
        raise InternalError(f"the integer graph has no initializer '{parameter.name}'")
    array = value.const_value.numpy()
    value.const_value = None
    graph.inputs.append(value)
    if array.dtype.name != parameter.dtype:
        raise InternalError(f"'{parameter.name}' is {array.dtype}, not {parameter.dtype}")
    if array.shape == parameter.shape:
        return parameter
    if array.size != parameter.size:
        raise InternalError(f"'{parameter.name}' is {array.shape}, not {parameter.shape}")
    return _reshaped(parameter, array.shape)


def _reshaped(parameter: Parameter, shape: tuple[int, ...]) -> Parameter:
    """A parameter as lowering laid it out: transposed (a Gemm's weight), or with axes of one."""
    mask = parameter.mask
    transposed = len(shape) == 2 and shape == parameter.shape[::-1]
    if mask is not None and mask.kind == "bits" and transposed:
        mask = Mask.of_bits(moving(mask, parameter).T)
    return dataclasses.replace(parameter, shape=shape, mask=mask)


def _add_logits(
    graph: ir.Graph, found: Logits, specification: StepSpecification, output: ir.Value
) -> None:
    source = found.source
    nodes: list[ir.Node] = []
    if found.zero_point or source.dtype not in (ir.DataType.INT32, ir.DataType.INT64):
        source, nodes = _centered(graph, found)
    multiplier, shift = _multiplier(graph, found, specification.logit_scale)
    bounds = (_INT32.min, _INT32.max)
    if specification.loss == "mean-squared-error":
        bounds = (-SQUARED_ERROR_LIMIT, SQUARED_ERROR_LIMIT)
    stage = [
        add_constant(graph, f"{LOGITS}_{name}", np.array(number, np.int32))
        for name, number in zip(("zero_point", "minimum", "maximum"), (0, *bounds), strict=True)
    ]
    nodes.append(
        _node(
            "RescaleWide" if found.wide else "RescaleDouble",
            [source, multiplier, shift, *stage],
            LOGITS if not found.moves else fresh_name(graph, f"{LOGITS}_flat"),
            output.shape if not found.moves else None,
            domain=DOMAIN,
            attributes=[ir.AttrInt64("to", ir.DataType.INT32.value)],
        )
    )
    for index, move in enumerate(found.moves, 1):
        last = index == len(found.moves)
        name = LOGITS if last else fresh_name(graph, f"{LOGITS}_{index}")
        inputs = [nodes[-1].outputs[0], *move.inputs[1:]]
        shape = output.shape if last else move.outputs[0].shape
        nodes.append(
            _node(move.op_type, inputs, name, shape, attributes=list(move.attributes.values()))
        )
    graph.extend(nodes)
    producer = output.producer()
    if producer is not None:
        inherit_sources(nodes, [producer])
    result = nodes[-1].outputs[0]
    set_quantization(result, TensorQuantization("int32", (specification.logit_scale,), (0,)))
    graph.outputs.append(result)


def _centered(graph: ir.Graph, found: Logits) -> tuple[ir.Value, list[ir.Node]]:
    """``q - zero point`` in int32."""
    shape = found.source.shape
    to = [ir.AttrInt64("to", ir.DataType.INT32.value)]
    name = fresh_name(graph, f"{LOGITS}_int32")
    cast = _node("Cast", [found.source], name, shape, attributes=to)
    zero_point = add_constant(graph, f"{LOGITS}_offset", np.array(found.zero_point, np.int32))
    name = fresh_name(graph, f"{LOGITS}_centered")
    difference = _node("Sub", [cast.outputs[0], zero_point], name, shape)
    return difference.outputs[0], [cast, difference]


def _multiplier(graph: ir.Graph, found: Logits, scale: float) -> tuple[ir.Value, ir.Value]:
    try:
        fixed = quantize_multiplier(found.scale / scale)
        if found.wide and fixed.shift.min() < MINIMUM_WIDE_SHIFT:
            raise ValueError(f"scale {np.max(found.scale) / scale:g} is not below 2^7")
    except ValueError as error:
        raise UnsupportedError(
            f"the logits have too large a scale for the loss: {error}",
            remedy="scale the model's output down",
        ) from error
    return (
        add_constant(graph, f"{LOGITS}_multiplier", fixed.multiplier),
        add_constant(graph, f"{LOGITS}_shift", fixed.shift.astype(np.int8)),
    )


def _node(
    operator: str,
    inputs: Sequence[ir.Value | None],
    name: str,
    shape: ir.Shape | None,
    *,
    domain: str = "",
    attributes: Sequence[ir.Attr] = (),
) -> ir.Node:
    """A node of one int32 output, of its own name."""
    node = ir.Node(domain, operator, inputs, attributes, num_outputs=1, name=name)
    node.outputs[0].name = name
    node.outputs[0].type = ir.TensorType(ir.DataType.INT32)
    node.outputs[0].shape = None if shape is None else ir.Shape(list(shape))
    return node
