"""Writes nodes into a graph, one call each, with names that nothing else has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.canonicalize.editing import constant_value, static_dims
from intaglio.passes.dialect.functions import SPECIFICATIONS
from intaglio.passes.dialect.specification import DOMAIN


class GraphWriter:
    """Appends to a graph.

    Args:
        graph: The graph.
        reserved: Names of values that stand in it later.
    """

    def __init__(self, graph: ir.Graph, reserved: Sequence[str] = ()) -> None:
        self._graph = graph
        self._taken = set(reserved) | set(graph.initializers)
        self._taken |= {str(value.name) for value in graph.inputs}
        self._taken |= {str(value.name) for node in graph for value in node.outputs}
        self._constants: dict[tuple[bytes, str, tuple[int, ...]], ir.Value] = {}

    def constant(self, numbers: Any, dtype: str, name: str) -> ir.Value:
        """An initializer; equal ones are shared."""
        array: NDArray[Any] = np.array(numbers, dtype)
        key = (array.tobytes(), dtype, array.shape)
        if key not in self._constants:
            value = constant_value(self.name(name), array)
            self._graph.register_initializer(value)
            self._constants[key] = value
        return self._constants[key]

    def op(
        self,
        operator: str,
        inputs: Sequence[ir.Value],
        dtype: ir.DataType,
        name: str,
        *,
        domain: str | None = None,
        shape: Sequence[int] | None = None,
        **attributes: Any,
    ) -> ir.Value:
        """Appends a node of one output.

        Args:
            operator: Standard operator, or a function of the dialect.
            inputs: Its inputs.
            dtype: Of the output.
            name: Wish for the name of node and output.
            domain: Where it is neither of both.
            shape: Of the output, where known.
            **attributes: Of the node.
        """
        if domain is None:
            domain = DOMAIN if operator in SPECIFICATIONS else ""
        attrs = [ir.convenience.convert_attribute(key, value) for key, value in attributes.items()]
        node = ir.Node(domain, operator, inputs, attrs, num_outputs=1, name=self.name(name))
        output = node.outputs[0]
        output.name = node.name
        output.type = ir.TensorType(dtype)
        output.shape = None if shape is None else ir.Shape(list(shape))
        self._graph.append(node)
        return output

    def cast(self, value: ir.Value, dtype: ir.DataType, name: str) -> ir.Value:
        """Appends a Cast."""
        return self.op("Cast", [value], dtype, name, shape=static_dims(value), to=dtype.value)

    def name(self, wish: str) -> str:
        """``wish``, with a number behind it where it is taken."""
        chosen, number = wish, 2
        while chosen in self._taken:
            chosen, number = f"{wish}_{number}", number + 1
        self._taken.add(chosen)
        return chosen


def rename_inner(graph: ir.Graph, names: Sequence[str]) -> None:
    """Renames the values of a graph, its inputs and outputs left out, that have such a name."""
    border = {*graph.inputs, *graph.outputs}
    inner = [*graph.initializers.values(), *(v for node in graph for v in node.outputs)]
    taken = {value.name for value in [*inner, *border]} | set(names)
    for value in inner:
        if value.name not in names or value in border:
            continue
        number = 2
        while f"{value.name}_{number}" in taken:
            number += 1
        renamed = f"{value.name}_{number}"
        taken.add(renamed)
        value.name = renamed
