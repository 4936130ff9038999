"""Sums of table rows: where a sum has one term, a GATHER of 8-bit entries.

An output that reads one channel at one place (a 1x1 layer by channels, a product with one input) is
a function of one integer, rescale and all: its entries are rescaled here, and what is left is a
look-up that every runtime does exactly. The tables of all channels lie one behind the other, and a
constant added to the index tells them apart.

TFLite has no exact form of sums of several. GATHER and SUM of int32 are there, in LiteRT alone; but
the only way from 32-bit sums back to 8 bits is QUANTIZE, whose multiplier is the ratio of two
float32 scales: too coarse for the 31 bits of a layer's, and one for all channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.layout.problem import is_inside
from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.tables.placing import TableLayer, read_layer
from intaglio.passes.tables.rescaling import rescale_sums
from intaglio.targets.tflite.emitters.options import options
from intaglio.targets.tflite.emitters.scope import Scope, required
from intaglio.targets.tflite.emitters.transposes import reshape
from intaglio.targets.tflite.schema import schema

_LOOK_UP = "AdditiveLut"
#: Operators that a sum of look-ups may end in.
TABLE_SUMS = frozenset({_LOOK_UP, "Add"})

_CODES = np.arange(-128, 128, dtype=np.int64)


def emit_table_sums(
    scope: Scope, rescale: ir.Node, sums: ir.Node | None, bias: NDArray[Any] | None
) -> None:
    """A rescaled sum as one look-up.

    Args:
        scope: The file.
        rescale: The node behind the sum.
        sums: What makes the sum.
        bias: Added to it, or None.

    Raises:
        RefusedError: There is nothing to look up, or a sum has several terms.
    """
    layers: list[TableLayer] = []
    biases = [] if bias is None else [bias]
    _collect(scope, sums, layers, biases)
    if not layers:
        raise RefusedError("no TFLite operator rescales the result of Add")
    value = rescale.outputs[0]
    source = scope.outside(layers[0].source)
    alike = all(_is_one_term(layer) and scope.outside(layer.source) is source for layer in layers)
    if not alike or scope.quantization(value).dtype != "int8":
        raise RefusedError(
            "TFLite has no operator that adds rows of tables and rescales the sums by channel",
            "use recipe int8 for this target, whose products give the same bits, or leave this "
            "layer out (tables.substitute_convolutions.layers); onnx-integer and c take tables",
        )
    total = np.zeros((len(_CODES), layers[0].branch.tables.shape[2]), np.int64)
    for layer in layers:
        total += layer.branch.tables[0, layer.branch.rows_of(_CODES)]
    for term in biases:
        total += term.astype(np.int64).reshape(-1)
    _look_up(scope, source, value, _rescaled(scope, rescale, total))


def _collect(
    scope: Scope, node: ir.Node | None, layers: list[TableLayer], biases: list[NDArray[Any]]
) -> None:
    """The table layers and constants that a chain of additions adds."""
    if node is None:
        raise RefusedError("it adds something that is no table layer")
    scope.claim(node)
    layer = read_layer(node)
    if layer is not None:
        layers.append(layer)
        return
    if not (is_inside(node) or (node.op_type == "Add" and node.domain == "")):
        raise RefusedError(f"no TFLite operator rescales the sum of {node.op_type}")
    for value in node.inputs[: 1 if is_inside(node) else 2]:
        array = scope.array(value)
        if array is not None:
            biases.append(array)
        else:
            _collect(scope, required(value).producer(), layers, biases)


def _is_one_term(layer: TableLayer) -> bool:
    """Whether each sum of a layer reads one table, at the place where it is written."""
    window = (*layer.kernel, *(layer.node.attributes.get_ints("strides", (1, 1)) or ()))
    return len(layer.branch.tables) == 1 and set(window) == {1} and not layer.is_padded


def _rescaled(scope: Scope, rescale: ir.Node, total: NDArray[np.int64]) -> NDArray[np.int8]:
    """Entries [256, outputs]."""
    multiplier, shift, zero_point, low, high = (
        scope.numbers(value).reshape(-1).astype(np.int64) for value in rescale.inputs[1:6]
    )
    found = rescale_sums(rescale.op_type, total, multiplier, shift)
    return np.asarray(np.clip(found + zero_point, low, high).astype(np.int8))


def _look_up(scope: Scope, source: ir.Value, value: ir.Value, entries: NDArray[np.int8]) -> None:
    """CAST, ADD and GATHER: the channels' tables one behind the other."""
    shape, meaning = scope.shape(source), scope.quantization(value)
    channels = shape[-1]
    # [256, C * m] as [C, 256, m]
    tables = entries.reshape(len(_CODES), channels, -1).transpose(1, 0, 2)
    flat = np.ascontiguousarray(tables.reshape(channels * len(_CODES), -1))
    wide = scope.intermediate(f"{value.name}_int32", shape, None, "int32")
    casting = options(
        "CastOptions", inDataType=schema.TensorType.INT8, outDataType=schema.TensorType.INT32
    )
    scope.operator("CAST", [scope.index(source)], [wide], casting, 3)
    index = scope.intermediate(f"{value.name}_index", shape, None, "int32")
    starts = np.arange(channels, dtype=np.int32) * len(_CODES) + 128
    offsets = scope.constant("starts", starts)
    scope.operator("ADD", [wide, offsets], [index], options("AddOptions"))
    choosing = options("GatherOptions", axis=0)
    if flat.shape[1] == 1:
        table = scope.constant(f"{value.name}_table", flat.reshape(-1), meaning)
        scope.operator("GATHER", [table, index], [scope.result(value)], choosing, 2)
        return
    table = scope.constant(f"{value.name}_table", flat, meaning)
    grown = (*shape, flat.shape[1])
    rows = scope.intermediate(f"{value.name}_rows", grown, meaning, "int8")
    scope.operator("GATHER", [table, index], [rows], choosing, 2)
    reshape(scope, rows, scope.result(value), scope.shape(value))
