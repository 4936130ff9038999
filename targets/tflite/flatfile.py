"""A TFLite file as plain records: what the schema says, checked, not yet interpreted.

Slot numbers are the order of the fields in TensorFlow Lite's ``schema.fbs`` (version 3), which
only ever grows at the end of a table.
"""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError
from intaglio.targets.model_files import read_model_bytes
from intaglio.targets.tflite.flatbuffer import Flatbuffer, Table
from intaglio.targets.tflite.schema import IDENTIFIER, OPERATOR_NAMES, schema

_CUSTOM = schema.BuiltinOperator.CUSTOM
# The code whose place in the old one-byte field says: see the new field.
_PLACEHOLDER = schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES


@dataclasses.dataclass(frozen=True)
class OperatorKind:
    """A kind of operator.

    Attributes:
        name: Builtin name such as ``CONV_2D``, or the custom code.
        version: Its version.
        custom: Whether it is no builtin.
    """

    name: str
    version: int
    custom: bool


@dataclasses.dataclass(frozen=True, eq=False)
class OperatorRecord:
    """One operator: indices of tensors (-1 for none), and its options' place in the file."""

    kind: OperatorKind
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options_type: int
    options: Table | None
    custom_options: bytes


@dataclasses.dataclass(frozen=True, eq=False)
class Quantization:
    """Quantization parameters as the file states them."""

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int
    details: int


@dataclasses.dataclass(frozen=True, eq=False)
class SparseDimension:
    """One dimension of a sparse tensor: dense, or compressed (segments and indices)."""

    sparse: bool
    size: int
    segments: NDArray[Any] | None
    indices: NDArray[Any] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Sparsity:
    """How the elements of a sparse tensor are stored."""

    order: tuple[int, ...]
    block_map: tuple[int, ...]
    dimensions: tuple[SparseDimension, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class TensorRecord:
    """One tensor: its type by number, its buffer's bytes."""

    name: str
    kind: int
    shape: tuple[int, ...]
    signature: tuple[int, ...] | None
    data: memoryview
    external: bool
    variable: bool
    quantization: Quantization | None
    sparsity: Sparsity | None


@dataclasses.dataclass(frozen=True, eq=False)
class Subgraph:
    """A graph of the file."""

    name: str
    tensors: tuple[TensorRecord, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[OperatorRecord, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class FlatFile:
    """A TFLite file.

    Attributes:
        description: What its maker wrote.
        graph: Its first subgraph, the one that is run.
        buffer: The file as flatbuffer.
    """

    description: str
    graph: Subgraph
    buffer: Flatbuffer


def read_file(path: Path) -> bytes:
    """The bytes of a TFLite file.

    Raises:
        InputError: It is missing, cannot be read, or is of another format.
    """
    data = read_model_bytes(path, ".tflite", "can be converted", "convert a smaller model")
    if data[4:8] != IDENTIFIER:
        raise InputError(
            f"{path} is not a TFLite model: it does not bear {IDENTIFIER.decode()} in bytes 4 to 8",
            remedy="pass a .tflite file",
        )
    return data


def read_flatfile(data: bytes, path: str) -> FlatFile:
    """Takes the bytes of a TFLite file apart.

    Args:
        data: The whole file, weights after the flatbuffer included.
        path: Its name, for messages.

    Returns:
        Its records; tensor data are views on ``data``.

    Raises:
        InputError: The file is damaged, or unpacks to far more than its size.
    """
    file = Flatbuffer(data, path)
    try:
        model = file.root()
        kinds = [_operator_kind(table) for table in model.tables(1)]
        buffers = [_buffer(table) for table in model.tables(4)]
        graphs = model.tables(2)
        if not graphs:
            raise file.damaged("it has no subgraph")
        graph = _subgraph(graphs[0], kinds, buffers)
        return FlatFile(model.text(3), graph, file)
    except (struct.error, ValueError, OverflowError) as error:
        raise file.damaged(str(error)) from error


def options_object(record: OperatorRecord) -> Any:
    """The options of a builtin operator as an object of the schema, or None.

    Raises:
        InputError: Their type is unknown, or they are damaged.
    """
    table = record.options
    if table is None or record.options_type == 0:
        return None
    table.check_fields()
    names = {v: k for k, v in vars(schema.BuiltinOptions).items() if isinstance(v, int)}
    maker = getattr(schema, f"{names.get(record.options_type, '?')}T", None)
    if maker is None:
        raise table.file.damaged(f"options of the unknown type {record.options_type}")
    try:
        return maker.InitFromBuf(table.file.data, table.position)
    except (struct.error, ValueError, TypeError, IndexError, OverflowError) as error:
        raise table.file.damaged(f"options of {record.kind.name}: {error}") from error


def _operator_kind(table: Table) -> OperatorKind:
    old, new = table.scalar(0, "b"), table.scalar(3, "i")
    code = new if old == _PLACEHOLDER else max(old, new)
    version = table.scalar(2, "i", 1)
    if code == _CUSTOM:
        return OperatorKind(table.text(1) or "CUSTOM", version, custom=True)
    return OperatorKind(OPERATOR_NAMES.get(code, f"operator {code}"), version, custom=False)


def _buffer(table: Table) -> memoryview:
    """The bytes of a buffer, in the flatbuffer or behind it."""
    data = table.blob(0)
    offset, size = table.scalar(1, "Q"), table.scalar(2, "Q")
    if len(data) or offset <= 1:
        return data
    table.file.need(offset, size)
    return memoryview(table.file.data)[offset : offset + size]


def _subgraph(table: Table, kinds: list[OperatorKind], buffers: list[memoryview]) -> Subgraph:
    return Subgraph(
        table.text(4),
        tuple(_tensor(t, buffers) for t in table.tables(0)),
        table.integers(1) or (),
        table.integers(2) or (),
        tuple(_operator(t, kinds) for t in table.tables(3)),
    )


def _operator(table: Table, kinds: list[OperatorKind]) -> OperatorRecord:
    index = table.scalar(0, "I")
    if index >= len(kinds):
        raise table.file.damaged(f"an operator has the code {index} of {len(kinds)}")
    return OperatorRecord(
        kinds[index],
        table.integers(1) or (),
        table.integers(2) or (),
        table.scalar(3, "B"),
        table.table(4),
        bytes(table.blob(5)),
    )


def _tensor(table: Table, buffers: list[memoryview]) -> TensorRecord:
    index, name = table.scalar(2, "I"), table.text(3)
    if index >= max(len(buffers), 1):
        raise table.file.damaged(f"tensor '{name}' has buffer {index} of {len(buffers)}")
    quantization, sparsity = table.table(4), table.table(6)
    return TensorRecord(
        name,
        table.scalar(1, "b"),
        table.integers(0) or (),
        table.integers(7),
        buffers[index] if buffers else memoryview(b""),
        table.scalar(10, "I") != 0,
        table.scalar(5, "?"),
        None if quantization is None else _quantization(quantization),
        None if sparsity is None else _sparsity(sparsity),
    )


def _quantization(table: Table) -> Quantization | None:
    scale, zero_point = table.array(2, "float32"), table.array(3, "int64")
    details = table.scalar(4, "B")
    if (scale is None or scale.size == 0) and not details:
        return None
    if scale is None:
        scale = np.zeros(0, np.float32)
    if zero_point is None or zero_point.size == 0:
        zero_point = np.zeros(scale.shape, np.int64)
    return Quantization(scale, zero_point, table.scalar(6, "i"), details)


def _sparsity(table: Table) -> Sparsity:
    return Sparsity(
        table.integers(0) or (),
        table.integers(1) or (),
        tuple(_sparse_dimension(t) for t in table.tables(2)),
    )


def _sparse_dimension(table: Table) -> SparseDimension:
    return SparseDimension(
        table.scalar(0, "b") == schema.DimensionType.SPARSE_CSR,
        table.scalar(1, "i"),
        _sparse_index(table, 2),
        _sparse_index(table, 4),
    )


def _sparse_index(table: Table, slot: int) -> NDArray[Any] | None:
    """A vector in the union ``SparseIndexVector``, whose type stands before it."""
    dtype = {1: "int32", 2: "uint16", 3: "uint8"}.get(table.scalar(slot, "B"))
    inner = table.table(slot + 1)
    return None if dtype is None or inner is None else inner.array(0, dtype)
