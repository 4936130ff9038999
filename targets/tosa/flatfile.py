"""What a ``.tosa`` file says about itself: its tensors, operators, inputs and outputs.

The slots are those of the schema of TOSA 1.0 (identifier ``TOSA``): a graph has regions, a region
has basic blocks, and the first block of the first region is the network. Names are all there is to
link operators and tensors.

The reference model gives outputs only. :func:`with_outputs` makes any tensor one: it appends a
longer list of outputs behind the end of the file and lets the block point there (offsets in a
FlatBuffer point forward, so that this stays a valid file). Not a byte of an operator changes.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flatbuffers.number_types import UOffsetTFlags
from flatbuffers.table import Table

from intaglio.errors import InputError

#: Names of the element types, in the order of the schema; numpy has those that are in numpy's way.
DTYPES = ("unknown", "bool", "int4", "int8", "int16", "int32", "int48", "float32", "float16")

_NAMES = """
    UNKNOWN ARGMAX AVG_POOL2D CONV2D CONV3D DEPTHWISE_CONV2D FFT2D MATMUL MAX_POOL2D RFFT2D
    TRANSPOSE_CONV2D CLAMP ERF SIGMOID TANH ADD ARITHMETIC_RIGHT_SHIFT BITWISE_AND BITWISE_OR
    BITWISE_XOR INTDIV LOGICAL_AND LOGICAL_LEFT_SHIFT LOGICAL_RIGHT_SHIFT LOGICAL_OR
    LOGICAL_XOR MAXIMUM MINIMUM MUL POW SUB TABLE ABS BITWISE_NOT CEIL CLZ COS EXP FLOOR LOG
    LOGICAL_NOT NEGATE RECIPROCAL RSQRT SIN SELECT EQUAL GREATER GREATER_EQUAL REDUCE_ALL
    REDUCE_ANY REDUCE_MAX REDUCE_MIN REDUCE_PRODUCT REDUCE_SUM CONCAT PAD RESHAPE REVERSE SLICE
    TILE TRANSPOSE GATHER SCATTER RESIZE CAST RESCALE CONST IDENTITY CUSTOM COND_IF WHILE_LOOP
    VARIABLE VARIABLE_WRITE VARIABLE_READ CONST_SHAPE
"""

#: Names of the operators of TOSA 1.0, in the order of the schema.
OPERATORS = tuple(_NAMES.split())

_IDENTIFIER = b"TOSA"
_REMEDY = "the file is damaged; convert the model again"

# Slots: of the graph, a region, a block, a tensor, an operator.
_REGIONS, _BLOCKS = 1, 1
_OPERATORS, _TENSORS, _INPUTS, _OUTPUTS = 1, 2, 3, 4
_TENSOR_NAME, _TENSOR_SHAPE, _TENSOR_TYPE = 0, 1, 2
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS = 0, 3, 4


@dataclasses.dataclass(frozen=True)
class FileTensor:
    """A tensor: its dimensions and the name of its element type."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclasses.dataclass(frozen=True)
class FileOperator:
    """An operator: its number in the schema, and the names of what it takes and makes."""

    code: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class TosaFile:
    """What a file holds.

    Attributes:
        tensors: Tensors by name.
        operators: Operators in order.
        inputs: Names of the network's inputs.
        outputs: Names of its outputs.
    """

    tensors: dict[str, FileTensor]
    operators: tuple[FileOperator, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_tosa(data: bytes, called: str) -> TosaFile:
    """Reads a file.

    Args:
        data: Its bytes.
        called: What messages call it.

    Raises:
        InputError: It is no TOSA file, or damaged.
    """
    try:
        block = _block(data)
        tensors = [_tensor(table) for table in _tables(block, _TENSORS)]
        found = TosaFile(
            {tensor.name: tensor for tensor in tensors},
            tuple(_operator(table) for table in _tables(block, _OPERATORS)),
            _strings(block, _INPUTS),
            _strings(block, _OUTPUTS),
        )
    except (struct.error, ValueError, IndexError, TypeError, OverflowError) as error:
        raise InputError(f"'{called}' is no TOSA file: {error}", remedy=_REMEDY) from error
    unknown = [name for name in (*found.inputs, *found.outputs) if name not in found.tensors]
    if unknown:
        raise InputError(f"'{called}' has no tensor '{unknown[0]}'", remedy=_REMEDY)
    return found


def operator_name(code: int) -> str:
    """The name of an operator by its number in the schema."""
    return OPERATORS[code] if code < len(OPERATORS) else f"operator {code}"


def read_tosa_file(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"'{path}' cannot be read: {error.strerror or error}", remedy="check the path"
        ) from error


def with_outputs(data: bytes, names: Sequence[str]) -> bytes:
    """The file with other outputs.

    Args:
        data: A file that :func:`read_tosa` takes.
        names: Names of its tensors.

    Returns:
        The same operators with these outputs, in this order.
    """
    block = _block(data)
    field = block.Pos + block.Offset(4 + 2 * _OUTPUTS)
    changed = bytearray(data)
    changed += bytes(-len(changed) % 4)
    start = len(changed)
    changed += struct.pack("<I", len(names)) + bytes(4 * len(names))
    for i, name in enumerate(names):
        place = start + 4 + 4 * i
        struct.pack_into("<I", changed, place, len(changed) - place)
        text = name.encode()
        changed += struct.pack("<I", len(text)) + text + bytes(1)
        changed += bytes(-len(changed) % 4)
    struct.pack_into("<I", changed, field, start - field)
    return bytes(changed)


def _block(data: bytes) -> Table:
    """The first block of the first region."""
    if data[4:8] != _IDENTIFIER:
        raise ValueError("its first bytes are not those of one")
    (root,) = struct.unpack_from("<I", data, 0)
    regions = _tables(Table(data, root), _REGIONS)
    blocks = _tables(regions[0], _BLOCKS)
    if not blocks[0].Offset(4 + 2 * _OUTPUTS):
        raise ValueError("it states no outputs")
    return blocks[0]


def _tensor(table: Table) -> FileTensor:
    number = _number(table, _TENSOR_TYPE)
    dtype = DTYPES[number] if number < len(DTYPES) else f"type {number}"
    shape = _vector(table, _TENSOR_SHAPE, lambda place: _signed(table, place))
    return FileTensor(_string(table, _TENSOR_NAME), shape, dtype)


def _operator(table: Table) -> FileOperator:
    return FileOperator(
        _number(table, _OPERATOR_CODE),
        _strings(table, _OPERATOR_INPUTS),
        _strings(table, _OPERATOR_OUTPUTS),
    )


def _vector(table: Table, slot: int, read: Callable[[int], Any]) -> tuple[Any, ...]:
    """The entries of a vector of 4-byte items, each by its place in the file."""
    offset = table.Offset(4 + 2 * slot)
    if not offset:
        return ()
    start, count = table.Vector(offset), table.VectorLen(offset)
    if start + 4 * count > len(table.Bytes):
        raise ValueError("a list reaches beyond its end")
    return tuple(read(start + 4 * i) for i in range(count))


def _tables(table: Table, slot: int) -> tuple[Table, ...]:
    return _vector(table, slot, lambda place: Table(table.Bytes, table.Indirect(place)))


def _strings(table: Table, slot: int) -> tuple[str, ...]:
    return _vector(table, slot, lambda place: _text(table, place))


def _string(table: Table, slot: int) -> str:
    offset = table.Offset(4 + 2 * slot)
    return _text(table, table.Pos + offset) if offset else ""


def _text(table: Table, place: int) -> str:
    start = table.Indirect(place)
    (length,) = struct.unpack_from("<I", table.Bytes, start)
    if start + 4 + length > len(table.Bytes):
        raise ValueError("a name reaches beyond its end")
    return bytes(table.Bytes[start + 4 : start + 4 + length]).decode("utf-8", "replace")


def _number(table: Table, slot: int) -> int:
    offset = table.Offset(4 + 2 * slot)
    return int(table.Get(UOffsetTFlags, table.Pos + offset)) if offset else 0


def _signed(table: Table, place: int) -> int:
    return int(struct.unpack_from("<i", table.Bytes, place)[0])
