"""Convolutions and pools over one dimension become two-dimensional, of height 1.

Runtimes and NPUs have two-dimensional kernels only. ``[N, C, L]`` is ``[N, C, 1, L]`` with an
axis of size 1, the weight ``[O, I, k]`` is ``[O, I, 1, k]``. Element-wise operators between them,
and those that take any shape, follow, so that Unsqueeze and Squeeze stand only where data enters
and leaves such a region.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from intaglio.passes.base import Change, Skip
from intaglio.passes.canonicalize.editing import (
    add_constant,
    constant,
    fresh_name,
    integer,
    ints,
    is_standard,
    make_node,
    operand,
    rank,
    remove_dead,
    replace_output,
)
from intaglio.passes.provenance import inherit_sources, source_name

_AXIS = 2
_WINDOWED = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool")
_FOLLOWING = (
    "Abs",
    "Add",
    "BatchNormalization",
    "Clip",
    "Div",
    "Elu",
    "Erf",
    "Exp",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Mul",
    "Neg",
    "PRelu",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Sqrt",
    "Sub",
    "Tanh",
)
_BROADCASTING = ("Add", "Sub", "Mul", "Div", "PRelu")
# Attribute, and what stands for the new axis in front (and, for pads, again in front of the ends).
_NEUTRAL = {"kernel_shape": 1, "strides": 1, "dilations": 1, "output_padding": 0}


def lift_one_dimension(graph: ir.Graph) -> tuple[list[Change], list[Skip]]:
    """Gives every one-dimensional window a second dimension of size 1."""
    changes: list[Change] = []
    skips: list[Skip] = []
    lifted: dict[ir.Value, ir.Value] = {}
    squeezes: list[ir.Node] = []
    for node in list(graph):
        if is_standard(node, *_WINDOWED) and rank(node.inputs[0]) == 3:
            reason = _window_reason(node)
            if reason is not None:
                skips.append(Skip(source_name(node), f"{node.op_type} stays 1-D: {reason}"))
                continue
            new = _window(graph, node, lifted)
            changes.append(Change("lift_to_2d", source_name(node), "1-D", f"2-D {new.op_type}"))
        elif is_standard(node, *_FOLLOWING) and _can_follow(node, lifted):
            new = _clone(node, _followed_inputs(graph, node, lifted))
        else:
            _read_lifted(node, lifted)
            continue
        squeezes.append(_replace(graph, node, new, lifted))
    if changes:
        remove_dead(graph, squeezes)
    return changes, skips


def _window_reason(node: ir.Node) -> str | None:
    if len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
        return "the positions of the maxima are used"
    if "auto_pad" in node.attributes:
        return "its padding is not explicit"
    if node.op_type in ("Conv", "ConvTranspose") and constant(node.inputs[1]) is None:
        return "its weight is not a constant"
    return None


def _window(graph: ir.Graph, node: ir.Node, lifted: dict[ir.Value, ir.Value]) -> ir.Node:
    inputs = list(node.inputs)
    data = inputs[0]
    if data is None:
        raise ValueError("a window without data")
    inputs[0] = lifted.get(data) or _unsqueeze(graph, node, data, lifted)
    weight = constant(operand(node, 1))
    if weight is not None:
        base = f"{inputs[1].name}_2d" if inputs[1] is not None else "weight_2d"
        inputs[1] = add_constant(graph, base, np.expand_dims(weight, _AXIS))
    new = _clone(node, inputs)
    for name, neutral in _NEUTRAL.items():
        values = ints(node, name)
        if values is not None:
            new.attributes[name] = ir.AttrInt64s(name, [neutral, *values])
    pads = ints(node, "pads")
    if pads is not None:
        new.attributes["pads"] = ir.AttrInt64s("pads", [0, pads[0], 0, pads[1]])
    return new


def _unsqueeze(
    graph: ir.Graph, node: ir.Node, data: ir.Value, lifted: dict[ir.Value, ir.Value]
) -> ir.Value:
    axes = add_constant(graph, f"{data.name}_2d_axes", np.asarray([_AXIS], np.int64))
    name = f"{node.name}_unsqueeze"
    new = make_node("Unsqueeze", [data, axes], data, name=name, shape=_lifted_shape(data))
    new.outputs[0].name = fresh_name(graph, f"{data.name}_2d")
    inherit_sources([new], [node])
    graph.insert_before(node, new)
    lifted[data] = new.outputs[0]
    return new.outputs[0]


def _lifted_shape(value: ir.Value) -> ir.Shape | None:
    if value.shape is None:
        return None
    sizes = list(value.shape)
    return ir.Shape([*sizes[:_AXIS], 1, *sizes[_AXIS:]])


def _can_follow(node: ir.Node, lifted: dict[ir.Value, ir.Value]) -> bool:
    data = [v for v in node.inputs if v is not None and constant(v) is None]
    if not data or not all(value in lifted for value in data) or rank(node.outputs[0]) != 3:
        return False
    return not any(o.uses() or o.is_graph_output() for o in node.outputs[1:])


def _followed_inputs(
    graph: ir.Graph, node: ir.Node, lifted: dict[ir.Value, ir.Value]
) -> list[ir.Value | None]:
    inputs: list[ir.Value | None] = []
    for value in node.inputs:
        array = constant(value)
        if value is None or array is None:
            inputs.append(None if value is None else lifted[value])
        elif node.op_type in _BROADCASTING and array.ndim >= 2:
            # Aligned at the end, [.., C, L] has the new axis before the last.
            wide = np.expand_dims(array, array.ndim - 1)
            inputs.append(add_constant(graph, f"{value.name}_2d", wide))
        else:
            inputs.append(value)
    return inputs


def _clone(node: ir.Node, inputs: list[ir.Value | None]) -> ir.Node:
    new = make_node(
        node.op_type,
        inputs,
        node.outputs[0],
        name=str(node.name),
        shape=_lifted_shape(node.outputs[0]),
    )
    for attribute in node.attributes.values():
        new.attributes.add(attribute)
    return new


def _replace(
    graph: ir.Graph, node: ir.Node, new: ir.Node, lifted: dict[ir.Value, ir.Value]
) -> ir.Node:
    """Puts ``new`` and a Squeeze in the place of ``node``; the Squeeze takes over its output."""
    output = node.outputs[0]
    axes = add_constant(graph, f"{output.name}_1d_axes", np.asarray([_AXIS], np.int64))
    squeeze = make_node("Squeeze", [new.outputs[0], axes], output, name=f"{node.name}_squeeze")
    inherit_sources([new, squeeze], [node])
    graph.insert_before(node, [new, squeeze])
    replace_output(output, squeeze.outputs[0])
    new.outputs[0].name = fresh_name(graph, f"{squeeze.outputs[0].name}_2d")
    lifted[squeeze.outputs[0]] = new.outputs[0]
    remove_dead(graph, [node])
    return squeeze


def _read_lifted(node: ir.Node, lifted: dict[ir.Value, ir.Value]) -> None:
    """Operators that flatten anyway read the lifted tensor."""
    data = operand(node, 0)
    if data is None or data not in lifted:
        return
    if is_standard(node, "Flatten"):
        reads_any = integer(node, "axis", 1) == 1
    else:
        shape = constant(operand(node, 1)) if is_standard(node, "Reshape") else None
        # A 0 copies a dimension by its place, and places change from the new axis on.
        reads_any = shape is not None and not (shape[_AXIS:] == 0).any()
    if reads_any:
        node.replace_input_with(0, lifted[data])
