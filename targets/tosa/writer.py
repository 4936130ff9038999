"""Writes the FlatBuffer of a TOSA 1.0 graph: one region, one block, operators in order.

Slots are those of the schema (``tosa.fbs`` of TOSA 1.0). An operator's attribute table has the
operator's own number in the union of attributes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray

from intaglio.targets.tosa.flatfile import DTYPES, OPERATORS

_IDENTIFIER = b"TOSA"
_VERSION = (1, 0, 0)
#: The reference model wants a name of the region and of the block.
_MAIN = "main"
#: Data of constants begin at multiples of this.
_ALIGNMENT = 8


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of an attribute.

    Attributes:
        slot: Its number in the schema.
        kind: ``ints`` (a vector of int32), ``bytes``, ``bool``, ``int`` or ``enum`` (uint32).
        value: What it holds.
    """

    slot: int
    kind: str
    value: Any


@dataclasses.dataclass(frozen=True)
class _Operator:
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    fields: tuple[Field, ...]


@dataclasses.dataclass(frozen=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    dtype: str
    data: bytes | None


class FileBuilder:
    """Collects tensors and operators and writes them."""

    def __init__(self) -> None:
        self._tensors: list[_Tensor] = []
        self._shapes: list[tuple[str, tuple[int, ...]]] = []
        self._operators: list[_Operator] = []
        self.inputs: list[str] = []
        self.outputs: list[str] = []

    def tensor(
        self, name: str, shape: Sequence[int], dtype: str, data: NDArray[Any] | None = None
    ) -> None:
        """Adds a tensor.

        Args:
            name: Its name; operators refer to it.
            shape: Its dimensions.
            dtype: numpy name of its element type.
            data: Its numbers, where it is a constant.
        """
        kind = np.dtype(dtype).newbyteorder("<")
        raw = None if data is None else np.ascontiguousarray(data).astype(kind).tobytes()
        self._tensors.append(_Tensor(name, tuple(int(d) for d in shape), dtype, raw))

    def shape(self, name: str, numbers: Sequence[int]) -> None:
        """Adds a constant list of sizes."""
        self._shapes.append((name, tuple(int(n) for n in numbers)))

    def operator(
        self,
        name: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        fields: Sequence[Field] = (),
    ) -> None:
        """Appends an operator."""
        self._operators.append(_Operator(name, tuple(inputs), tuple(outputs), tuple(fields)))

    def to_bytes(self) -> bytes:
        """The file; the same graph gives the same bytes."""
        builder = flatbuffers.Builder(1 << 16)
        tensors = [_tensor(builder, tensor) for tensor in self._tensors]
        shapes = [_shape(builder, *shape) for shape in self._shapes]
        operators = [_operator(builder, operator) for operator in self._operators]
        lists = (
            _offsets(builder, operators),
            _offsets(builder, tensors),
            _strings(builder, self.inputs),
            _strings(builder, self.outputs),
            _offsets(builder, shapes),
        )
        main = builder.CreateString(_MAIN)
        block = _table(builder, 6, {0: main, **dict(enumerate(lists, start=1))})
        region = _table(builder, 2, {0: main, 1: _offsets(builder, [block])})
        regions = _offsets(builder, [region])
        builder.StartObject(4)
        for slot, number in enumerate(_VERSION):
            builder.PrependInt32Slot(slot, number, -1)
        builder.PrependBoolSlot(3, False, True)
        version = builder.EndObject()
        builder.Finish(_table(builder, 2, {0: version, 1: regions}), _IDENTIFIER)
        return bytes(builder.Output())


def _tensor(builder: flatbuffers.Builder, tensor: _Tensor) -> int:
    data = None if tensor.data is None else _bytes(builder, tensor.data)
    name = builder.CreateString(tensor.name)
    shape = _numbers(builder, tensor.shape)
    builder.StartObject(4)
    builder.PrependUOffsetTRelativeSlot(0, name, 0)
    builder.PrependUOffsetTRelativeSlot(1, shape, 0)
    builder.PrependUint32Slot(2, DTYPES.index(tensor.dtype), 0)
    if data is not None:
        builder.PrependUOffsetTRelativeSlot(3, data, 0)
    return int(builder.EndObject())


def _shape(builder: flatbuffers.Builder, name: str, numbers: tuple[int, ...]) -> int:
    data = _bytes(builder, np.array(numbers, "<i8").tobytes())
    text = builder.CreateString(name)
    builder.StartObject(3)
    builder.PrependUOffsetTRelativeSlot(0, text, 0)
    builder.PrependUint32Slot(1, len(numbers), 0)
    builder.PrependUOffsetTRelativeSlot(2, data, 0)
    return int(builder.EndObject())


def _operator(builder: flatbuffers.Builder, operator: _Operator) -> int:
    code = OPERATORS.index(operator.name)
    made = {}
    for field in operator.fields:
        if field.kind == "ints":
            made[field.slot] = _numbers(builder, field.value)
        elif field.kind == "bytes":
            made[field.slot] = _bytes(builder, field.value)
    builder.StartObject(5)
    for field in operator.fields:
        if field.slot in made:
            builder.PrependUOffsetTRelativeSlot(field.slot, made[field.slot], 0)
        elif field.kind == "bool":
            builder.PrependBoolSlot(field.slot, field.value, False)
        elif field.kind == "int":
            builder.PrependInt32Slot(field.slot, field.value, 0)
        else:
            builder.PrependUint32Slot(field.slot, field.value, 0)
    attribute = builder.EndObject()
    inputs, outputs = _strings(builder, operator.inputs), _strings(builder, operator.outputs)
    builder.StartObject(6)
    builder.PrependUint32Slot(0, code, 0)
    builder.PrependUint8Slot(1, code, 0)
    for slot, offset in ((2, attribute), (3, inputs), (4, outputs)):
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    return int(builder.EndObject())


def _bytes(builder: flatbuffers.Builder, raw: bytes) -> int:
    builder.StartVector(1, len(raw), _ALIGNMENT)
    builder.head -= len(raw)
    builder.Bytes[builder.head : builder.head + len(raw)] = raw
    return int(builder.EndVector())


def _numbers(builder: flatbuffers.Builder, numbers: Sequence[int]) -> int:
    builder.StartVector(4, len(numbers), 4)
    for number in reversed(numbers):
        builder.PrependInt32(int(number))
    return int(builder.EndVector())


def _strings(builder: flatbuffers.Builder, names: Sequence[str]) -> int:
    return _offsets(builder, [builder.CreateString(name) for name in names])


def _offsets(builder: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _table(builder: flatbuffers.Builder, slots: int, offsets: dict[int, int]) -> int:
    builder.StartObject(slots)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    return int(builder.EndObject())
