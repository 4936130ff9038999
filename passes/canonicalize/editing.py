"""Small edits that every canonicalization needs, with names and sources kept right.

A node that takes the place of another gives its output the old one's name: the name stands for
a value of the user's model, and reports compare by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.provenance import inherit_sources


def constant(value: ir.Value | None) -> NDArray[Any] | None:
    """The array of an initializer that no caller can override, else None."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    if not value.is_initializer():
        return None
    return np.asarray(value.const_value.numpy())


def scalar(value: ir.Value | None) -> float | None:
    """The number that a one-element constant holds, else None."""
    array = constant(value)
    return None if array is None or array.size != 1 else float(array.reshape(()))


def dims(value: ir.Value | None) -> list[int | str | None] | None:
    """Dimensions as numbers, symbol names, or None where nothing is known; None without shape."""
    if value is None or value.shape is None:
        return None
    return [dim if isinstance(dim, int) else dim.value for dim in value.shape]


def static_dims(value: ir.Value | None) -> list[int] | None:
    """Dimensions when all are numbers, else None."""
    found = dims(value)
    if found is None:
        return None
    numbers = [dim for dim in found if isinstance(dim, int)]
    return numbers if len(numbers) == len(found) else None


def rank(value: ir.Value | None) -> int | None:
    """Number of dimensions, or None when not known."""
    return None if value is None or value.shape is None else len(value.shape)


def ints(node: ir.Node, name: str, default: Sequence[int] | None = None) -> list[int] | None:
    """The list-of-integers attribute ``name``, or ``default``."""
    attribute = node.attributes.get(name)
    if attribute is None:
        return None if default is None else list(default)
    return [int(v) for v in attribute.as_ints()]


def integer(node: ir.Node, name: str, default: int) -> int:
    """The integer attribute ``name``, or ``default``."""
    attribute = node.attributes.get(name)
    return default if attribute is None else int(attribute.as_int())


def number(node: ir.Node, name: str, default: float) -> float:
    """The float attribute ``name``, or ``default``."""
    attribute = node.attributes.get(name)
    return default if attribute is None else float(attribute.as_float())


def text(node: ir.Node, name: str, default: str) -> str:
    """The string attribute ``name``, or ``default``."""
    attribute = node.attributes.get(name)
    return default if attribute is None else str(attribute.as_string())


def is_standard(node: ir.Node | None, *op_types: str) -> bool:
    """Whether ``node`` is one of these operators of the standard domain."""
    return node is not None and node.domain in ("", "ai.onnx") and node.op_type in op_types


def operand(node: ir.Node, index: int) -> ir.Value | None:
    """Input ``index``, None when it is absent."""
    return node.inputs[index] if index < len(node.inputs) else None


def used_once(value: ir.Value) -> bool:
    """Whether exactly one node input reads ``value`` and it is no graph output."""
    return len(value.uses()) == 1 and not value.is_graph_output()


def fresh_name(graph: ir.Graph, base: str) -> str:
    """``base``, with a number appended if a value of the graph has that name already."""
    taken = {value.name for value in graph.inputs} | set(graph.initializers)
    for node in graph:
        taken.update(output.name for output in node.outputs)
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    return name


def add_constant(graph: ir.Graph, base: str, array: NDArray[Any]) -> ir.Value:
    """Adds an initializer named after ``base``."""
    value = constant_value(fresh_name(graph, base), array)
    graph.register_initializer(value)
    return value


def constant_value(name: str, array: NDArray[Any]) -> ir.Value:
    """A value that holds ``array``, in no graph yet."""
    tensor = ir.tensor(np.ascontiguousarray(array).reshape(array.shape), name=name)
    return ir.Value(
        name=name,
        type=ir.TensorType(tensor.dtype),
        shape=ir.Shape(array.shape),
        const_value=tensor,
    )


def set_constant(node: ir.Node, index: int, array: NDArray[Any], base: str) -> None:
    """Makes input ``index`` of ``node`` the constant ``array``.

    An initializer that only this input reads keeps its name; a shared one is left to the others.
    """
    graph = node.graph
    if graph is None:
        raise ValueError("the node is in no graph")
    old = operand(node, index)
    if old is not None and used_once(old) and constant(old) is not None:
        array = np.ascontiguousarray(array).reshape(array.shape)
        old.const_value = ir.tensor(array, name=old.name)
        old.shape = ir.Shape(array.shape)
        old.type = ir.TensorType(old.const_value.dtype)
        return
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    base = str(old.name) if old is not None and constant(old) is not None else base
    node.replace_input_with(index, add_constant(graph, base, array))


def make_node(
    op_type: str,
    inputs: Sequence[ir.Value | None],
    like: ir.Value,
    *,
    name: str,
    attributes: Mapping[str, Any] | None = None,
    shape: ir.Shape | None = None,
) -> ir.Node:
    """A node of the standard domain, not yet in a graph.

    Args:
        op_type: Operator.
        inputs: Its inputs.
        like: Value whose type, and shape unless given, the output has.
        name: Node name, also that of the output until it takes another's place.
        attributes: Attributes as Python values.
        shape: Shape of the output.
    """
    listed = [
        ir.AttrInt64(key, value) if isinstance(value, bool) else _attribute(key, value)
        for key, value in (attributes or {}).items()
    ]
    node = ir.Node("", op_type, inputs, listed, num_outputs=1, name=name)
    output = node.outputs[0]
    output.name = f"{name}_output"
    output.type = like.type
    known = shape if shape is not None else like.shape
    output.shape = None if known is None else ir.Shape(list(known))
    return node


def _attribute(name: str, value: Any) -> ir.Attr:
    return ir.convenience.convert_attribute(name, value)


def replace_output(old: ir.Value, new: ir.Value) -> None:
    """Lets ``new``, a node's output, take over the users, the name and the notes of ``old``."""
    name = old.name
    graph = old.graph
    old.name = f"{name}_replaced"
    if old.is_graph_output() and graph is not None:
        for index, output in enumerate(graph.outputs):
            if output is old:
                graph.outputs[index] = new
    old.replace_all_uses_with(new)
    new.name = name
    for key, note in old.metadata_props.items():
        new.metadata_props.setdefault(key, note)


def bypass(node: ir.Node, source: ir.Value) -> bool:
    """Removes ``node``, whose first output equals ``source``; keeps names of graph outputs.

    Returns:
        False, with nothing changed, when the graph's border needs the node: an output that
        would become an input, an initializer or another output.
    """
    graph = node.graph
    output = node.outputs[0]
    if graph is None or any(extra.uses() or extra.is_graph_output() for extra in node.outputs[1:]):
        return False
    if output.is_graph_output():
        producer = source.producer()
        if producer is None or source.is_graph_output():
            return False
        replace_output(output, source)
    else:
        output.replace_all_uses_with(source)
    producer = source.producer()
    if producer is not None:
        inherit_sources([producer], [node])
    graph.remove(node, safe=True)
    return True


def remove_dead(graph: ir.Graph, nodes: Iterable[ir.Node]) -> None:
    """Removes those of ``nodes`` that nothing reads any more, and initializers left unused."""
    pending = [node for node in nodes if node.graph is graph]
    while True:
        dead = [
            node
            for node in pending
            if not any(output.uses() or output.is_graph_output() for output in node.outputs)
        ]
        if not dead:
            break
        for node in dead:
            graph.remove(node, safe=True)
        pending = [node for node in pending if node.graph is graph]
    drop_unused_constants(graph)


def needed_nodes(nodes: Sequence[ir.Node], outputs: Iterable[ir.Value]) -> list[ir.Node]:
    """The nodes that some output depends on, in order; the others let go of their inputs."""
    wanted = set(outputs)
    kept: list[ir.Node] = []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs):
            wanted.update(v for v in node.inputs if v is not None)
            kept.append(node)
            continue
        for index in range(len(node.inputs)):
            node.replace_input_with(index, None)  # else it counts as a reader
    return kept[::-1]


def drop_unused_constants(graph: ir.Graph) -> list[str]:
    """Removes initializers that nothing reads; returns their names."""
    unused = [
        name
        for name, value in graph.initializers.items()
        if not (value.uses() or value.is_graph_output() or value.is_graph_input())
    ]
    for name in unused:
        del graph.initializers[name]
    return unused
