"""Small steps back through a graph: what made a value, and with which constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.dialect.functions import DOMAIN, SPECIFICATIONS
from intaglio.passes.table_networks.graph import restored

_Found = TypeVar("_Found")


class NoMatchError(Exception):
    """The graph is not a table network. Never seen outside this package."""


def require(condition: bool) -> None:
    """Goes on only where the graph is as a table network has it.

    Raises:
        NoMatchError: It is not.
    """
    if not condition:
        raise NoMatchError


def present(found: _Found | None) -> _Found:
    """What must be there.

    Raises:
        NoMatchError: It is not.
    """
    if found is None:
        raise NoMatchError
    return found


class GraphReader:
    """Reads nodes of one graph; constants that nodes share become one array.

    Attributes:
        visited: The nodes that were read.
    """

    def __init__(self) -> None:
        self.visited: set[ir.Node] = set()
        self._constants: dict[tuple[ir.Value, str], NDArray[Any]] = {}

    def is_made_by(self, value: ir.Value | None, function: str, domain: str = DOMAIN) -> bool:
        """Whether a node of that type makes ``value``."""
        node = None if value is None else value.producer()
        return node is not None and (node.domain, node.op_type) == (domain, function)

    def maker(self, value: ir.Value | None, function: str, domain: str = DOMAIN) -> ir.Node:
        """The node of that type that makes ``value``.

        Raises:
            NoMatchError: Another one makes it, or none.
        """
        require(self.is_made_by(value, function, domain))
        node = present(present(value).producer())
        if domain == DOMAIN:
            require(len(node.inputs) == len(SPECIFICATIONS[function].inputs))
        self.visited.add(node)
        return node

    def constant(self, value: ir.Value | None, form: str = "") -> NDArray[Any]:
        """The array that :meth:`GraphWriter.constant` stored.

        Raises:
            NoMatchError: The value is computed.
        """
        key = (present(value), form)
        require(key[0].producer() is None)
        if key not in self._constants:
            found = present(key[0].const_value)
            array = np.asarray(found.numpy())
            require(form != "taps" or array.ndim == 4)
            self._constants[key] = restored(array, form)
        return self._constants[key]


def integer(node: ir.Node, name: str) -> int:
    """An integer attribute, or its default.

    Raises:
        NoMatchError: It is neither given nor has a default.
    """
    found = node.attributes.get(name)
    if found is not None:
        return int(found.as_int())
    default = _default(node, name)
    require(isinstance(default, int))
    return int(default)  # type: ignore[arg-type]


def integers(node: ir.Node, name: str) -> tuple[int, ...]:
    """An attribute of several integers, or its default."""
    found = node.attributes.get(name)
    if found is not None:
        return tuple(found.as_ints())
    default = _default(node, name)
    require(isinstance(default, tuple))
    return tuple(default)  # type: ignore[arg-type]


def require_attributes(node: ir.Node, **expected: int | Sequence[int]) -> None:
    """Goes on only where an ``AdditiveLut`` has these attributes and the defaults elsewhere.

    Raises:
        NoMatchError: One differs.
    """
    for attribute in SPECIFICATIONS[node.op_type].attributes:
        default = attribute.default
        want = expected.get(attribute.name, default)
        if isinstance(default, tuple):
            require(integers(node, attribute.name) == tuple(want))  # type: ignore[arg-type]
        else:
            require(integer(node, attribute.name) == want)


def _default(node: ir.Node, name: str) -> int | tuple[int, ...] | None:
    known = {a.name: a.default for a in SPECIFICATIONS[node.op_type].attributes}
    return known.get(name)
