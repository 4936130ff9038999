"""The functions of the dialect: look one up, and give a model those that it uses.

ONNX functions (domain ``intaglio``, version 1) stand where a runtime has one operator for what
takes many in ONNX. The body of a function is its specification: standard ONNX operators on
integers. A runtime inlines it; targets lower it by its name.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import onnx
import onnx_ir as ir

from intaglio.errors import InternalError
from intaglio.passes.dialect import (
    convolution,
    elementwise,
    features,
    lookup,
    losses,
    pooling,
    rescale,
    resize,
    sixteen_bit_weights,
    softmax,
    table_branches,
    table_networks,
    tables,
    training,
    wide_moves,
)
from intaglio.passes.dialect.specification import (
    DOMAIN,
    OPSET,
    VERSION,
    Attribute,
    FunctionSpecification,
    Tensor,
)

__all__ = [
    "DOMAIN",
    "FUNCTION_NAMES",
    "OPSET",
    "SPECIFICATIONS",
    "VERSION",
    "Attribute",
    "FunctionSpecification",
    "Tensor",
    "add_functions",
    "function",
]

#: Name of a function to its specification, in the order of the documentation.
SPECIFICATIONS: Mapping[str, FunctionSpecification] = MappingProxyType(
    {
        specification.name: specification
        for module in (
            rescale,
            elementwise,
            lookup,
            tables,
            table_networks,
            table_branches,
            convolution,
            sixteen_bit_weights,
            pooling,
            wide_moves,
            softmax,
            resize,
            training,
            losses,
            features,
        )
        for specification in module.SPECIFICATIONS
    }
)

FUNCTION_NAMES: tuple[str, ...] = tuple(SPECIFICATIONS)


def function(name: str) -> ir.Function:
    """A fresh copy of one function.

    Args:
        name: one of :data:`FUNCTION_NAMES`.

    Returns:
        The function; the caller may put it into a model.

    Raises:
        InternalError: there is no such function.
    """
    return ir.serde.deserialize_function(_proto(name))


def add_functions(model: ir.Model) -> bool:
    """Gives a model the functions its nodes use, and no others of this domain.

    Functions that are called by functions count as used. Those that the model has already are
    replaced by the ones of this version; unused ones are removed. The opset import follows.

    Args:
        model: changed in place.

    Returns:
        True if the set of functions or the opset import changed.

    Raises:
        InternalError: a node of this domain has an unknown type.
    """
    used = _used_functions(model)
    present = [key for key in model.functions if key[0] == DOMAIN]
    imported = model.graph.opset_imports.get(DOMAIN)
    for key in present:
        del model.functions[key]
    for name in used:
        added = function(name)
        model.functions[added.identifier()] = added
    if used:
        model.graph.opset_imports[DOMAIN] = VERSION
    else:
        model.graph.opset_imports.pop(DOMAIN, None)
    changed = {key[1] for key in present} != set(used)
    return changed or imported != model.graph.opset_imports.get(DOMAIN)


def _used_functions(model: ir.Model) -> list[str]:
    """Names in the order of FUNCTION_NAMES, which puts callees first."""
    others = [value for key, value in model.functions.items() if key[0] != DOMAIN]
    pending = _called(model.graph.all_nodes())
    for other in others:
        pending += _called(other.all_nodes())
    used: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in used:
            used.add(name)
            pending += [node.op_type for node in _proto(name).node if node.domain == DOMAIN]
    return [name for name in FUNCTION_NAMES if name in used]


def _called(nodes: Iterable[ir.Node]) -> list[str]:
    return [node.op_type for node in nodes if node.domain == DOMAIN]


@functools.cache
def _proto(name: str) -> onnx.FunctionProto:
    specification = SPECIFICATIONS.get(name)
    if specification is None:
        raise InternalError(
            f"no function {DOMAIN}.{name}; known: {', '.join(FUNCTION_NAMES)}",
            remedy="please report this as a bug",
        )
    return specification.to_proto()
