"""The tensors of a file with their meaning: names, element types, quantization, constants.

What a tensor is wrong in is an error; what it has that is not supported matters only where an
operator that is needed touches it, and is told by :attr:`Tensors.unsupported`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError
from intaglio.targets.tflite.flatfile import FlatFile, Quantization, TensorRecord
from intaglio.targets.tflite.schema import TENSOR_DTYPES, schema
from intaglio.targets.tflite.scope import Tensor
from intaglio.targets.tflite.sparse import to_dense

_MAX_RANK = 16
_MAX_ELEMENTS = 2**31 - 1
_INT4 = schema.TensorType.INT4
_TYPE_NAMES = {v: k for k, v in vars(schema.TensorType).items() if isinstance(v, int)}

# What int4 and sparse constants may unpack to, beside a multiple of the file's size.
_UNPACKED_BYTES = 1 << 26
_UNPACKED_FACTOR = 64


@dataclasses.dataclass(frozen=True)
class Tensors:
    """All tensors of a subgraph.

    Attributes:
        all: The tensors by index.
        unsupported: Reason and remedy by index, for tensors that no operator can be read with.
        warnings: What was repaired.
    """

    all: tuple[Tensor, ...]
    unsupported: Mapping[int, tuple[str, str]]
    warnings: tuple[str, ...]


def decode_tensors(file: FlatFile) -> Tensors:
    """Interprets the tensor records of a file.

    Raises:
        InputError: A record contradicts itself; names the tensor.
    """
    decoder = _Decoder(file)
    names = unique_names(file)
    tensors = tuple(
        decoder.tensor(index, names[index], record)
        for index, record in enumerate(file.graph.tensors)
    )
    return Tensors(tensors, decoder.unsupported, decoder.warnings())


def unique_names(file: FlatFile) -> list[str]:
    """Names without duplicates; inputs and outputs are the first to choose."""
    records = file.graph.tensors
    names = [""] * len(records)
    taken: set[str] = set()
    border = [i for i in (*file.graph.inputs, *file.graph.outputs) if 0 <= i < len(records)]
    count: dict[str, int] = {}
    for index in [*dict.fromkeys(border), *range(len(records))]:
        if names[index]:
            continue
        stem = records[index].name or f"tensor_{index}"
        name = stem
        while name in taken:
            count[stem] = count.get(stem, 1) + 1
            name = f"{stem}_{count[stem]}"
        taken.add(name)
        names[index] = name
    return names


class _Decoder:
    def __init__(self, file: FlatFile) -> None:
        self.path = file.buffer.path
        self.unsupported: dict[int, tuple[str, str]] = {}
        self._bytes_left = _UNPACKED_BYTES + _UNPACKED_FACTOR * len(file.buffer.data)
        self._repaired: list[str] = []

    def warnings(self) -> tuple[str, ...]:
        if not self._repaired:
            return ()
        more = len(self._repaired) - 1
        others = f" and {more} other tensors" if more else ""
        return (
            f"the quantized_dimension of '{self._repaired[0]}'{others} is beyond their rank and "
            "was read as 0; LiteRT refuses such a file",
        )

    def tensor(self, index: int, name: str, record: TensorRecord) -> Tensor:
        shape = self._shape(name, record)
        signature = shape if record.signature is None else record.signature
        if not signature and shape:
            signature = shape
        if len(signature) != len(shape):
            raise self._damaged(name, f"has shape {shape} and shape signature {signature}")
        bits = 4 if record.kind == _INT4 else 0
        dtype = "int8" if bits else TENSOR_DTYPES.get(record.kind)
        if dtype is None:
            kind = _TYPE_NAMES.get(record.kind, f"type {record.kind}")
            self._refuse(index, f"'{name}' is of {kind}", "export it with a numeric type")
            dtype = "uint8"
        if record.external:
            self._refuse(index, f"the data of '{name}' is outside of the file", "store it inside")
        if record.variable:
            self._refuse(
                index,
                f"'{name}' is a variable: the model has a state",
                "export it with its state as inputs and outputs",
            )
        data = None
        if index not in self.unsupported and (len(record.data) or record.sparsity is not None):
            data = self._data(name, record, shape, dtype, bits)
        scale, zero_point, axis = self._quantization(index, name, record, shape, dtype)
        return Tensor(
            index, name, shape, dtype, data, scale, zero_point, axis, tuple(signature), bits
        )

    def _shape(self, name: str, record: TensorRecord) -> tuple[int, ...]:
        # Old converters wrote -1 for open dimensions into the shape itself.
        shape = record.shape
        if len(shape) > _MAX_RANK or any(dim < -1 for dim in shape):
            raise self._damaged(name, f"has the shape {shape[:_MAX_RANK]}")
        if math.prod(max(dim, 1) for dim in shape) > _MAX_ELEMENTS:
            raise self._damaged(name, f"has the shape {shape}, more than 2^31 elements")
        return shape

    def _data(
        self, name: str, record: TensorRecord, shape: tuple[int, ...], dtype: str, bits: int
    ) -> NDArray[Any]:
        count, kind = math.prod(shape), np.dtype(dtype).newbyteorder("<")
        if any(dim < 0 for dim in shape):
            raise self._damaged(name, f"is a constant of the open shape {shape}")
        if record.sparsity is not None:
            self._pay(name, count * (8 + kind.itemsize))
            stored = len(record.data) * 2 if bits else len(record.data) // kind.itemsize
            values = self._elements(name, record.data, stored, kind, bits)
            try:
                return to_dense(values, record.sparsity, shape)
            except ValueError as error:
                raise self._damaged(name, f"is sparse, but {error}") from error
        expected = (count + 1) // 2 if bits else count * kind.itemsize
        if len(record.data) != expected:
            raise self._damaged(
                name, f"has {len(record.data)} bytes, its shape {shape} calls for {expected}"
            )
        array = self._elements(name, record.data, count, kind, bits).reshape(shape)
        if array.dtype.kind == "f" and array.size > 1 and not np.isfinite(array).all():
            raise InputError(
                f"tensor '{name}' of {self.path} holds numbers that are not finite",
                remedy="training diverged or the file is damaged: export a sound checkpoint",
            )
        return array

    def _elements(
        self, name: str, data: memoryview, count: int, kind: np.dtype[Any], bits: int
    ) -> NDArray[Any]:
        if not bits:
            if len(data) % kind.itemsize:
                raise self._damaged(name, f"has {len(data)} bytes, no whole number of elements")
            array = np.frombuffer(data, kind)
            return array if array.dtype.isnative else array.astype(kind.newbyteorder("="))
        # Two elements a byte, the first in the low half.
        self._pay(name, count)
        packed = np.frombuffer(data, np.uint8)
        both = np.stack([packed & 15, packed >> 4], axis=-1).reshape(-1)[:count]
        return ((both.astype(np.int8) ^ 8) - 8).astype(np.int8)

    def _pay(self, name: str, count: int) -> None:
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise self._damaged(name, "unpacks to far more than the size of the file")

    def _quantization(
        self, index: int, name: str, record: TensorRecord, shape: Sequence[int], dtype: str
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.int64] | None, int | None]:
        found = record.quantization
        if found is None or np.dtype(dtype).kind == "f" or index in self.unsupported:
            return None, None, None
        if found.details:
            self._refuse(
                index,
                f"'{name}' is quantized in blocks or in a way of its own",
                "quantize it per tensor or per channel",
            )
            return None, None, None
        scale = found.scale.astype(np.float32)
        zero_point = found.zero_point.astype(np.int64)
        if zero_point.size == 1 and scale.size > 1:
            zero_point = np.repeat(zero_point, scale.size)
        if zero_point.size != scale.size:
            raise self._damaged(name, f"has {scale.size} scales and {zero_point.size} zero points")
        if not np.isfinite(scale).all() or (scale <= 0).any():
            raise self._damaged(name, "has a scale that is not a positive number")
        bounds = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.iinfo(np.int8)
        if (zero_point < bounds.min).any() or (zero_point > bounds.max).any():
            raise self._damaged(name, f"has a zero point outside of {dtype}")
        return scale, zero_point, self._axis(name, found, scale.size, shape)

    def _axis(self, name: str, found: Quantization, count: int, shape: Sequence[int]) -> int | None:
        if count == 1:
            if shape and not 0 <= found.axis < len(shape):
                self._repaired.append(name)
            return None
        axis = found.axis
        if len(shape) == 1 and axis > 0:
            self._repaired.append(name)
            axis = 0
        if not 0 <= axis < len(shape) or shape[axis] != count:
            raise self._damaged(
                name, f"has {count} scales along dimension {axis} of the shape {tuple(shape)}"
            )
        return axis

    def _refuse(self, index: int, reason: str, remedy: str) -> None:
        self.unsupported.setdefault(index, (reason, remedy))

    def _damaged(self, name: str, what: str) -> InputError:
        return InputError(
            f"tensor '{name}' of {self.path} {what}",
            remedy="the file is damaged; export or copy the model again",
        )
