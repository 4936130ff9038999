"""Trained weights in the caller's memory: one struct with an array for each tensor.

Arrays have the order in which layers read them (convolutions: filter, row, column, channel; fully
connected layers: output, input), and each is filled up to 16 bytes, so that every array begins at a
multiple of 16 and no compiler adds gaps. The counter hash of a perturbation takes the index in ONNX
layout, so each tensor also has the walk that finds it: up to three nested loops over the memory,
each with its stride of the index.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InternalError
from intaglio.targets.c.memory import ALIGNMENT
from intaglio.targets.c.naming import Names, identifier
from intaglio.targets.c.network import Variable

#: Nested loops of a walk.
_LOOPS = 3


@dataclasses.dataclass(frozen=True)
class Packed:
    """Where the numbers of a parameter lie.

    Attributes:
        name: Of the parameter.
        member: Name of its array in C.
        shape: In ONNX layout.
        dtype: ``int16`` or ``int32``.
        permutation: Axes of the ONNX layout in the order of the memory.
        offset: Bytes from the start of the struct.
        nbytes: Bytes of the numbers, without filling.
    """

    name: str
    member: str
    shape: tuple[int, ...]
    dtype: str
    permutation: tuple[int, ...]
    offset: int
    nbytes: int

    @property
    def memory_type(self) -> np.dtype[Any]:
        """Its numpy type, little-endian."""
        kind: np.dtype[Any] = np.dtype(self.dtype).newbyteorder("<")
        return kind

    @property
    def count(self) -> int:
        """Elements of the array in C, filling included."""
        return _filled(self.nbytes) // np.dtype(self.dtype).itemsize

    def walk(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Sizes of three nested loops over the memory, and the stride of the ONNX index in each."""
        strides = [math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))]
        merged: list[tuple[int, int]] = []
        for axis in self.permutation:
            size, stride = self.shape[axis], strides[axis]
            if size == 1:
                continue
            if merged and merged[-1][1] == size * stride:
                merged[-1] = (merged[-1][0] * size, stride)
            else:
                merged.append((size, stride))
        if len(merged) > _LOOPS:
            raise InternalError(f"'{self.name}' lies in memory in {len(merged)} strides")
        merged = [(1, 0)] * (_LOOPS - len(merged)) + merged
        return tuple(size for size, _ in merged), tuple(stride for _, stride in merged)

    def pack(self, array: NDArray[Any]) -> bytes:
        """The numbers as they lie in memory, little-endian, without filling."""
        turned = np.asarray(array).reshape(self.shape).transpose(self.permutation)
        return bytes(turned.astype(self.memory_type).tobytes())

    def unpack(self, memory: bytes) -> NDArray[Any]:
        """The numbers in ONNX layout, from the bytes of the whole struct."""
        flat = np.frombuffer(memory, self.memory_type, math.prod(self.shape), self.offset)
        turned = flat.reshape([self.shape[axis] for axis in self.permutation])
        back = turned.transpose(np.argsort(self.permutation))
        return np.ascontiguousarray(back).astype(self.dtype).reshape(self.shape)


def pack_variables(variables: Sequence[Variable]) -> tuple[Packed, ...]:
    """Places weights one behind the other, in the order of their numbers."""
    names, found, offset = Names(), [], 0
    for variable in variables:
        tensor = variable.tensor
        found.append(
            Packed(
                name=tensor.name,
                member=names.take(identifier(tensor.name)),
                shape=variable.graph_shape,
                dtype=tensor.dtype,
                permutation=variable.permutation,
                offset=offset,
                nbytes=tensor.bytes,
            )
        )
        offset += _filled(tensor.bytes)
    return tuple(found)


def total_bytes(packed: Sequence[Packed]) -> int:
    """Bytes of the struct."""
    return sum(_filled(one.nbytes) for one in packed)


def pack_weights(packed: Sequence[Packed], weights: Mapping[str, NDArray[Any]]) -> bytes:
    """The whole struct, from numbers by parameter in ONNX layout."""
    parts = (one.pack(weights[one.name]).ljust(_filled(one.nbytes), b"\0") for one in packed)
    return b"".join(parts)


def unpack_weights(packed: Sequence[Packed], memory: bytes) -> dict[str, NDArray[Any]]:
    """Numbers by parameter in ONNX layout, from the whole struct."""
    return {one.name: one.unpack(memory) for one in packed}


def to_record(packed: Packed) -> dict[str, Any]:
    """JSON-friendly data."""
    data = dataclasses.asdict(packed)
    return {**data, "shape": list(packed.shape), "permutation": list(packed.permutation)}


def from_record(data: Mapping[str, Any]) -> Packed:
    """Reads what :func:`to_record` wrote."""
    lists = {key: tuple(data[key]) for key in ("shape", "permutation")}
    return Packed(**{**data, **lists})


def _filled(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
