"""What a gradient rule works with: a builder, and which gradients are wanted."""

from __future__ import annotations

from collections.abc import Callable, Collection

import onnx_ir as ir

from intaglio.passes.differentiate.builder import Builder
from intaglio.passes.operators import is_float


class Context(Builder):
    """A builder that also keeps the gradients of values.

    Args:
        graph: The forward graph.
        dtype: Its float type.
        trained: The parameters. Only values that depend on one need a gradient.
    """

    def __init__(self, graph: ir.Graph, dtype: ir.DataType, trained: Collection[ir.Value]) -> None:
        super().__init__(graph, dtype)
        self._needed = set(trained)
        for node in graph:
            if any(value in self._needed for value in node.inputs if value is not None):
                self._needed.update(value for value in node.outputs if is_float(value))
        self._parts: dict[ir.Value, list[ir.Value]] = {}

    def needs(self, value: ir.Value | None) -> bool:
        """Whether the gradient of the loss with respect to ``value`` is wanted."""
        return value is not None and value in self._needed

    def add(self, value: ir.Value, gradient: ir.Value) -> None:
        """Adds one reader's part of the gradient of ``value``, which has its shape."""
        self._describe(gradient, value)
        self._parts.setdefault(value, []).append(gradient)

    def gradient(self, value: ir.Value) -> ir.Value | None:
        """The gradient of ``value``: the sum over its readers; None when none passed one on."""
        parts = self._parts.get(value)
        if not parts:
            return None
        if len(parts) > 1:
            parts[:] = [self.op("Sum", *parts) if len(parts) > 2 else self.op("Add", *parts)]
            self._describe(parts[0], value)
        return parts[0]

    @staticmethod
    def _describe(gradient: ir.Value, value: ir.Value) -> None:
        if gradient.shape is None and value.shape is not None:
            gradient.shape = ir.Shape(list(value.shape))
            gradient.type = value.type


#: A rule: the node and the gradient of its first output; a gradient for each input, None where
#: none is wanted. A list that ends early stands for None in the rest.
Rule = Callable[[Context, ir.Node, ir.Value], list[ir.Value | None]]
