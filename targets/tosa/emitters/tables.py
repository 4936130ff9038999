"""TABLE for a function of int8; GATHER where each channel has a table of its own."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.integer_graph import required
from intaglio.targets.tosa.emitters.common import widened
from intaglio.targets.tosa.scope import Emitter, Scope


def _table(scope: Scope, node: ir.Node) -> None:
    source, value = required(node.inputs[0]), node.outputs[0]
    entries = scope.numbers(node.inputs[1])
    if scope.dtype(value) != "int8" or entries.size != 256:
        raise RefusedError(
            "TOSA's TABLE of int8 gives int8", "keep the result at int8, or use target onnx-integer"
        )
    table = scope.constant(f"{value.name}_table", entries.reshape(-1), "int8")
    scope.operator("TABLE", [scope.name(source), table], scope.result(value))


def _table_channelwise(scope: Scope, node: ir.Node) -> None:
    """The tables one behind the other; those of channel c begin at 256 c."""
    source, value = required(node.inputs[0]), node.outputs[0]
    tables = scope.numbers(node.inputs[1])
    shape = scope.shape(value)
    wide = widened(scope, scope.name(source), shape, 0)
    along = (256 * np.arange(len(tables)) + 128).reshape([1, -1] + [1] * (len(shape) - 2))
    middle = scope.constant("middle", along, "int32")
    index = scope.intermediate(f"{value.name}_index", shape, "int32")
    scope.operator("ADD", [wide, middle], index)
    look_up(scope, index, shape, tables.reshape(-1), scope.result(value))


def look_up(
    scope: Scope, index: str, shape: tuple[int, ...], entries: np.ndarray, target: str
) -> str:
    """Appends a GATHER of single entries, by int32 places of any shape."""
    count, dtype = math.prod(shape), entries.dtype.name
    flat = scope.reshape(
        index, (1, count), scope.intermediate(f"{target}_places", (1, count), "int32")
    )
    values = scope.constant(f"{target}_entries", entries.reshape(1, -1, 1))
    found = scope.intermediate(f"{target}_found", (1, count, 1), dtype)
    scope.operator("GATHER", [values, flat], found)
    return scope.reshape(found, shape, target)


EMITTERS: dict[str, Emitter] = {"Table": _table, "TableChannelwise": _table_channelwise}
