"""Table layers: each tap of a window looks up a row of its table, and the rows are added.

A TABLE makes the number of the row of each int8. The taps of a window are put side by side as
channels, a constant tells their tables apart, one GATHER reads all rows, and REDUCE_SUM adds them.
NPUs without GATHER refuse it; beside the convolution that it stands for it moves as many entries as
that has products.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.layout.problem import is_inside
from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.tables.placing import TableLayer, read_layer
from intaglio.targets.integer_graph import required
from intaglio.targets.tflite.emitters.attributes import integers
from intaglio.targets.tosa.emitters.common import finish, stage_of
from intaglio.targets.tosa.emitters.lookups import looked_up, summed
from intaglio.targets.tosa.emitters.moves import gather
from intaglio.targets.tosa.scope import Scope
from intaglio.targets.tosa.writer import Field

#: Operators that a sum of table layers may end in.
TABLE_SUMS = frozenset({"AdditiveLut", "Add"})

#: Entries that a layer may read in one inference.
_MOST_ENTRIES = 1 << 27

_REMEDY = "convert to onnx-integer or c, which have it"


def emit_table_sums(
    scope: Scope, rescale: ir.Node, sums: ir.Node | None, bias: NDArray[Any] | None
) -> None:
    """Appends the sums of table layers and constants, and their rescale.

    Args:
        scope: The file.
        rescale: The node behind the sum.
        sums: What makes the sum.
        bias: Added to it, or None.

    Raises:
        RefusedError: Something else is added, or a layer has too many entries.
    """
    layers: list[TableLayer] = []
    biases = [] if bias is None else [bias]
    _collect(scope, sums, layers, biases)
    if not layers:
        raise RefusedError("TOSA has no rescale for such a sum", _REMEDY)
    value = rescale.outputs[0]
    total = ""
    shape: tuple[int, ...] = ()
    for layer in layers:
        made, shape = _layer(scope, layer, str(value.name))
        total = _added(scope, total, made, shape) if total else made
    if biases:
        terms = sum((term.astype(np.int64).reshape(-1) for term in biases), np.zeros(1, np.int64))
        constant = scope.constant(f"{value.name}_bias", terms.reshape(1, 1, 1, -1), "int32")
        total = _added(scope, total, constant, shape)
    reach = sum(
        int(np.abs(layer.branch.tables.astype(np.int64)).max(1).sum(0).max()) for layer in layers
    )
    reach += sum(int(np.abs(term.astype(np.int64)).max()) for term in biases)
    finish(scope, total, value, stage_of(scope, rescale), shape=shape, reach=reach)


def _collect(
    scope: Scope, node: ir.Node | None, layers: list[TableLayer], biases: list[NDArray[Any]]
) -> None:
    """The table layers and constants that a chain of additions adds."""
    if node is None:
        raise RefusedError("it adds something that is no table layer", _REMEDY)
    scope.claim(node)
    layer = read_layer(node)
    if layer is not None:
        layers.append(layer)
        return
    if not (is_inside(node) or (node.op_type == "Add" and node.domain == "")):
        raise RefusedError(f"TOSA has no rescale for a sum of {node.op_type}", _REMEDY)
    for value in node.inputs[: 1 if is_inside(node) else 2]:
        array = scope.array(value)
        if array is not None:
            biases.append(array)
        else:
            _collect(scope, required(value).producer(), layers, biases)


def _added(scope: Scope, first: str, second: str, shape: tuple[int, ...]) -> str:
    target = scope.intermediate(f"{first}_added", shape, "int32")
    return scope.operator("ADD", [first, second], target)


def _layer(scope: Scope, layer: TableLayer, name: str) -> tuple[str, tuple[int, ...]]:
    """The int32 sums of one layer, channels last, and their shape."""
    data, shape = _image(scope, layer)
    if shape[0] != 1:
        raise RefusedError(
            f"table layers are emitted for one sample, and this one has {shape[0]}",
            "bind the batch to 1 with --shape",
        )
    tables, group = layer.branch.tables, layer.group
    count, rows, outputs = tables.shape
    channels = layer.channels
    codes = layer.branch.rows_of(np.arange(-128, 128)) - 128
    if rows > 256:
        raise RefusedError("a table has more rows than int8 has values", _REMEDY)
    numbers = scope.intermediate(f"{name}_rows", shape, "int8")
    table = scope.constant(f"{name}_row_of", codes.reshape(-1), "int8")
    data = scope.operator("TABLE", [data, table], numbers)
    data, places = _windows(scope, layer, data, shape, int(codes[layer.pad_value + 128]))
    window = count * group // channels
    terms = window * channels
    if places[0] * places[1] * terms * (outputs // group) > _MOST_ENTRIES:
        raise RefusedError(
            "a table layer reads too many entries for one GATHER",
            "leave this layer out (tables.substitute_convolutions.layers), or convert to c",
        )
    area = math.prod(places)
    each, deep = outputs // group, channels // group
    # [window, depth, rows, groups, outputs of a group] as [window, groups, depth, rows, outputs]
    apart = tables.reshape(count // deep, deep, rows, group, each).transpose(0, 3, 1, 2, 4)
    found = looked_up(scope, data, -128, area, apart.reshape(terms, rows, each), name)
    # [places, taps, groups, channels of a group, outputs of a group]
    if deep > 1:
        found = summed(scope, found, (area * window, group, deep, each), 2)
    found = summed(scope, found, (area, window, outputs), 1)
    result = (1, *places, outputs)
    return scope.reshape(found, result, scope.intermediate(f"{name}_sums", result, "int32")), result


def _image(scope: Scope, layer: TableLayer) -> tuple[str, tuple[int, ...]]:
    """What a layer reads, as an image with channels last, and its shape."""
    node = layer.source.producer()
    if node is not None and is_inside(node):
        source = scope.outside(layer.source)
        return scope.name(source), scope.shape(source)
    shape = scope.shape(layer.source)
    if len(shape) != 2:
        raise RefusedError("table layers are emitted for images and for rows alone", _REMEDY)
    flat = (1, 1, *shape)
    made = scope.intermediate(f"{layer.source.name}_flat", flat, "int8")
    return scope.reshape(scope.name(layer.source), flat, made), flat


def _windows(
    scope: Scope, layer: TableLayer, data: str, shape: tuple[int, ...], border: int
) -> tuple[str, tuple[int, int]]:
    """The taps of each window side by side as channels, and the number of windows."""
    node = layer.node
    kernel = layer.kernel if layer.kernel and len(layer.kernel) == 2 else (1, 1)
    pads = layer.pads if len(layer.pads) == 4 else (0, 0, 0, 0)
    strides = integers(node, "strides", [1, 1]) if len(layer.kernel) == 2 else [1, 1]
    dilations = integers(node, "dilations", [1, 1]) if len(layer.kernel) == 2 else [1, 1]
    if any(pads):
        grown = (1, shape[1] + pads[0] + pads[2], shape[2] + pads[1] + pads[3], shape[3])
        target = scope.intermediate(f"{data}_padded", grown, "int8")
        amounts = [0, 0, pads[0], pads[2], pads[1], pads[3], 0, 0]
        fill = scope.constant("fill", [border], "int8")
        data = scope.operator("PAD", [data, scope.sizes("padding", amounts), fill], target)
        shape = grown
    sides = [
        (shape[axis + 1] - (kernel[axis] - 1) * dilations[axis] - 1) // strides[axis] + 1
        for axis in (0, 1)
    ]
    steps = [np.arange(side) * stride for side, stride in zip(sides, strides, strict=True)]
    places = (sides[0], sides[1])
    taps = []
    for row in range(kernel[0]):
        size = (1, sides[0], shape[2], shape[3])
        whole = size == shape
        strip = data
        if not whole:
            strip = scope.intermediate(f"{data}_strip", size, "int8")
            gather(scope, data, shape, steps[0] + row * dilations[0], 1, strip)
        for column in range(kernel[1]):
            own = (1, *places, shape[3])
            tap = strip
            if own != size or column * dilations[1]:
                tap = scope.intermediate(f"{data}_tap", own, "int8")
                gather(scope, strip, size, steps[1] + column * dilations[1], 2, tap)
            taps.append(tap)
    if len(taps) == 1:
        return taps[0], places
    side_by_side = scope.intermediate(f"{data}_taps", (1, *places, len(taps) * shape[3]), "int8")
    return scope.operator("CONCAT", taps, side_by_side, [Field(0, "int", 3)]), places
