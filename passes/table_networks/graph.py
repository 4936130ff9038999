"""A graph of dialect functions under construction: constants shared, names that tell the layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.dialect.functions import DOMAIN, SPECIFICATIONS

#: Number of axes of everything that flows from layer to layer.
_RANK = 4

Attributes = Mapping[str, int | tuple[int, ...]]


class GraphWriter:
    """Collects nodes and initializers.

    Attributes:
        nodes: In order.
        initializers: Likewise.
    """

    def __init__(self) -> None:
        self.nodes: list[ir.Node] = []
        self.initializers: list[ir.Value] = []
        self._constants: dict[tuple[int, str], tuple[Any, ir.Value]] = {}

    def constant(self, array: NDArray[Any], name: str, form: str = "") -> ir.Value:
        """An initializer; an array that was given before, in the same form, is not stored again.

        Args:
            array: The numbers as the network holds them.
            name: Name, if it is new.
            form: How they are stored: ``""`` as they are, ``taps`` (C, 1, k, k) of (C, k, k), as
                convolutions have them.
        """
        key = (id(array), form)
        if key not in self._constants:
            data = np.ascontiguousarray(stored(array, form))
            value = ir.Value(
                name=name,
                shape=ir.Shape(data.shape),
                type=ir.TensorType(ir.DataType.from_numpy(data.dtype)),
                const_value=ir.tensor(data, name=name),
            )
            self.initializers.append(value)
            # The array is kept as well, so that no other one gets its id.
            self._constants[key] = (array, value)
        return self._constants[key][1]

    def call(
        self, function: str, inputs: list[ir.Value], dtype: str, name: str, **attributes: Any
    ) -> ir.Value:
        """Adds a node of the dialect and returns its output.

        Every attribute is written out: not all tools that inline functions know their defaults.
        """
        defaults = {
            attribute.name: attribute.default
            for attribute in SPECIFICATIONS[function].attributes
            if attribute.default is not None
        }
        return self._add(DOMAIN, function, inputs, dtype, name, {**defaults, **attributes})

    def _add(
        self,
        domain: str,
        operator: str,
        inputs: list[ir.Value],
        dtype: str,
        name: str,
        attributes: Attributes,
    ) -> ir.Value:
        output = ir.Value(
            name=name,
            shape=ir.Shape([None] * _RANK),
            type=ir.TensorType(ir.DataType.from_numpy(np.dtype(dtype))),
        )
        node = ir.Node(
            domain,
            operator,
            inputs,
            ir.convenience.convert_attributes(attributes),
            outputs=[output],
            name=name,
        )
        self.nodes.append(node)
        return output


def stored(array: NDArray[Any], form: str) -> NDArray[Any]:
    """An array of a network as the graph stores it; see :meth:`GraphWriter.constant`."""
    return np.expand_dims(array, 1) if form == "taps" else array


def restored(array: NDArray[Any], form: str) -> NDArray[Any]:
    """The inverse of :func:`stored`."""
    return np.ascontiguousarray(array[:, 0]) if form == "taps" else array
