"""Sums of table layers: one AdditiveLut, or several of one window, with their biases."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from intaglio.errors import InternalError
from intaglio.passes.layout.problem import is_inside
from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.c.grouping.accumulators import Accumulator, full_bias
from intaglio.targets.c.grouping.images import for_each_image
from intaglio.targets.c.grouping.reader import Begun, Reader
from intaglio.targets.c.grouping.stages import output_stage
from intaglio.targets.c.grouping.windows import read_window
from intaglio.targets.c.network import AdditiveTables, IndexedTables, Layer
from intaglio.targets.integer_graph import required

_LOOK_UP = "AdditiveLut"
#: Operators that such a sum may end in.
SUMS = (_LOOK_UP, "Add")

_INT32 = 1 << 31
#: Attributes that the table layers of one sum have in common.
_COMMON = ("kernel_shape", "strides", "pads", "dilations", "group", "pad_value")


def read_additive(reader: Reader, rescale: ir.Node, sums: Accumulator) -> None:
    """A rescaled sum of AdditiveLut nodes.

    Raises:
        RefusedError: Something else is added, or the sum may leave int32.
    """
    terms = _Terms(reader)
    terms.collect(sums.value)
    if not terms.nodes:
        raise RefusedError("no C function rescales the sum of these")
    first = terms.nodes[0]
    if any(not _is_alike(first, other) for other in terms.nodes[1:]):
        raise RefusedError("it adds table layers of different windows or inputs")
    outside = reader.outside(first.inputs[0])
    source = reader.tensor(outside)
    if source.dtype != "int8":
        raise RefusedError(f"a table layer reads {source.dtype}", "give it an int8 tensor")
    image, result = reader.shape(outside), reader.shape(rescale.outputs[0])
    kernel = first.attributes.get_ints("kernel_shape", (1, 1))
    window = read_window(first, image, result, kernel)
    branches = tuple(_branch(reader, node) for node in terms.nodes)
    channels = branches[0].tables.shape[2]
    bias = full_bias(sums.bias, channels)
    for other in terms.biases:
        bias = bias + full_bias(other, channels)
    _check_sums(branches, bias)
    stage = output_stage(reader, rescale, 1)
    group = first.attributes.get_int("group", 1)
    pad_value = first.attributes.get_int("pad_value", 0)
    claimed = tuple(dict.fromkeys((*terms.claimed, *sums.nodes, rescale)))

    def make(begun: Begun) -> Layer:
        return AdditiveTables(*begun, window, branches, bias, stage, group, pad_value)

    for_each_image(reader, source, rescale.outputs[0], claimed, make)


class _Terms:
    """What a sum adds: table layers and constants, through the Transposes that belong to them."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.nodes: list[ir.Node] = []
        self.biases: list[np.ndarray[tuple[int, ...], np.dtype[np.int64]]] = []
        self.claimed: list[ir.Node] = []

    def collect(self, value: ir.Value | None) -> None:
        """Adds what ``value`` is made of."""
        constant = self._reader.array(value)
        node = None if value is None else value.producer()
        if constant is not None:
            self.biases.append(constant.astype(np.int64))
            return
        if node is None:
            raise RefusedError("it adds something that is no table layer")
        self.claimed.append(node)
        if node.op_type == _LOOK_UP:
            self.nodes.append(node)
        elif is_inside(node):
            self.collect(node.inputs[0])
        elif node.op_type == "Add" and node.domain == "":
            for operand in node.inputs:
                self.collect(operand)
        else:
            raise RefusedError(f"no C function adds the result of {node.op_type}")


def _is_alike(first: ir.Node, other: ir.Node) -> bool:
    """Whether two table layers read one tensor through one window."""

    def described(node: ir.Node) -> list[object]:
        return [
            a.value if (a := node.attributes.get(name)) is not None else None for name in _COMMON
        ]

    return _origin(first) is _origin(other) and described(first) == described(other)


def _origin(node: ir.Node) -> ir.Value:
    """What a table layer reads, in front of the Transpose that belongs to it."""
    value = required(node.inputs[0])
    producer = value.producer()
    return required(producer.inputs[0]) if producer is not None and is_inside(producer) else value


def _branch(reader: Reader, node: ir.Node) -> IndexedTables:
    reader.outside(node.inputs[0])  # claims the Transpose in front
    tables = reader.numbers(node.inputs[1])
    shift, mask = node.attributes.get_int("shift", 0), node.attributes.get_int("mask", -1)
    return IndexedTables(tables, shift, mask, node.attributes.get_int("low", -128))


def _check_sums(
    branches: tuple[IndexedTables, ...], bias: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
) -> None:
    """Any partial sum fits int32.

    Raises:
        RefusedError: One may not.
    """
    if any(branch.tables.shape[2] != len(bias) for branch in branches):
        raise InternalError("table layers of one sum have different outputs")
    bound = np.abs(bias)
    for branch in branches:
        bound = bound + np.abs(branch.tables.astype(np.int64)).max(axis=1, initial=0).sum(axis=0)
    if int(bound.max(initial=0)) >= _INT32:
        raise RefusedError("its sums may leave 32 bits", "split the layer into two")
