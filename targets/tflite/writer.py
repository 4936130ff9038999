"""Builds TFLite files: the same calls give the same bytes, and equal parts are stored once.

A flatbuffer may point to one vector or table from many places. Files carry thousands of small
equal vectors (shapes, the zero points of each channel, names of nothing), so sharing them is most
of what can be saved beside the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import ArrayLike, NDArray

from intaglio.errors import InternalError
from intaglio.targets.tflite.schema import IDENTIFIER, OPERATOR_CODES, TENSOR_DTYPES, schema

#: Alignment that the runtimes expect of constants, in bytes.
ALIGNMENT = 16
_TENSOR_TYPES = {dtype: number for number, dtype in TENSOR_DTYPES.items()}
#: Codes above this one do not fit the byte that old runtimes read.
_OLD_CODES = 127
_SCHEMA_VERSION = 3


class FileBuilder:
    """One TFLite file with one subgraph.

    Args:
        description: What wrote it, for people who look into the file.
    """

    def __init__(self, description: str) -> None:
        self._description = description
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[tuple[str, int, str], int] = {}
        self._buffers: dict[bytes, int] = {b"": 0}
        self._inputs: list[int] = []
        self._outputs: list[int] = []
        self._signatures: list[Any] = []

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str,
        *,
        data: NDArray[Any] | None = None,
        scale: ArrayLike | None = None,
        zero_point: ArrayLike | None = None,
        axis: int = 0,
        signature: Sequence[int] | None = None,
    ) -> int:
        """Adds a tensor.

        Args:
            name: Its name; need not be unique.
            shape: Its dimensions.
            dtype: Numpy name of its element type, such as ``int8``.
            data: A constant's elements, of that type and shape.
            scale: Scale of its integers, one or one a channel; None where it is not quantized.
            zero_point: Zero points, as many; zeros when left out.
            axis: Dimension of the channels, where there is more than one scale.
            signature: Dimensions with -1 for those left open; None where all are fixed.

        Returns:
            Its index.

        Raises:
            InternalError: The data are not of that type or shape, or the scales and zero points
                are not equally many.
        """
        tensor = schema.TensorT()
        tensor.name = name
        tensor.shape = _integers(shape)
        tensor.type = _TENSOR_TYPES[dtype]
        tensor.buffer = 0 if data is None else self._buffer(name, shape, dtype, data)
        if scale is not None:
            tensor.quantization = _quantization(name, scale, zero_point, axis)
        if signature is not None and tuple(signature) != tuple(shape):
            tensor.shapeSignature = _integers(signature)
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _buffer(self, name: str, shape: Sequence[int], dtype: str, data: NDArray[Any]) -> int:
        if data.dtype.name != dtype or data.shape != tuple(shape):
            raise InternalError(
                f"data of {data.dtype.name} {list(data.shape)} for tensor '{name}', "
                f"which is {dtype} {list(shape)}"
            )
        little = np.ascontiguousarray(data, data.dtype.newbyteorder("<"))
        return self._buffers.setdefault(little.tobytes(), len(self._buffers))

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Any = None,
        version: int = 1,
        custom: bytes | None = None,
    ) -> int:
        """Appends an operator; they run in the order in which they were added.

        Args:
            name: Builtin name such as ``CONV_2D``, or the code of a custom operator.
            inputs: Tensor indices, -1 for one that is left out.
            outputs: Tensor indices.
            options: Object of the schema such as ``schema.Conv2DOptionsT``, or None.
            version: Version of the operator.
            custom: Options of a custom operator.

        Returns:
            Its index.
        """
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(name, version)
        operator.inputs = _integers(inputs)
        operator.outputs = _integers(outputs)
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        if custom is not None:
            operator.customOptions = np.frombuffer(custom, np.uint8)
        self._operators.append(operator)
        return len(self._operators) - 1

    def _code(self, name: str, version: int) -> int:
        custom = "" if name in OPERATOR_CODES else name
        key = ("CUSTOM" if custom else name, version, custom)
        return self._codes.setdefault(key, len(self._codes))

    def inputs(self, tensors: Sequence[int]) -> None:
        """Sets the inputs of the file, in order."""
        self._inputs = list(tensors)

    def outputs(self, tensors: Sequence[int]) -> None:
        """Sets the outputs of the file, in order."""
        self._outputs = list(tensors)

    def signature(self, key: str, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> None:
        """Adds a signature: names for the inputs and outputs, as signature runners use them."""
        signature = schema.SignatureDefT()
        signature.signatureKey = key
        signature.inputs = [_tensor_map(name, index) for name, index in inputs.items()]
        signature.outputs = [_tensor_map(name, index) for name, index in outputs.items()]
        self._signatures.append(signature)

    def to_bytes(self) -> bytes:
        """The file."""
        graph = schema.SubGraphT()
        graph.tensors = self._tensors
        graph.inputs = _integers(self._inputs)
        graph.outputs = _integers(self._outputs)
        graph.operators = self._operators
        model = schema.ModelT()
        model.version = _SCHEMA_VERSION
        model.description = self._description
        model.operatorCodes = [_operator_code(*key) for key in self._codes]
        model.subgraphs = [graph]
        model.buffers = [_packed_buffer(data) for data in self._buffers]
        if self._signatures:
            model.signatureDefs = self._signatures
        builder = _SharingBuilder(sum(map(len, self._buffers)) + 1024)
        builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
        return bytes(builder.Output())


class _SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Writes equal strings and vectors once; byte vectors are aligned as constants must be."""

    head: int

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.shared: dict[Any, int] = {}

    def CreateString(self, s: str, *rest: Any) -> int:  # noqa: N802
        """The string, or an equal one written before."""
        if s not in self.shared:
            self.shared[s] = super().CreateString(s, *rest)
        return self.shared[s]

    def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802
        """The vector, or an equal one written before."""
        data = x.astype(x.dtype.newbyteorder("<")).tobytes()
        key = (x.dtype.str, data)
        if key not in self.shared:
            alignment = ALIGNMENT if x.dtype == np.uint8 else x.dtype.itemsize
            self.StartVector(x.dtype.itemsize, x.size, alignment)
            self.head = self.head - len(data)
            self.Bytes[self.head : self.head + len(data)] = data
            self.shared[key] = self.EndVector()
        return self.shared[key]


class _SharedQuantization(schema.QuantizationParametersT):  # type: ignore[misc]
    """A quantization that is written once however many tensors have it."""

    def Pack(self, builder: _SharingBuilder) -> int:  # noqa: N802
        """Writes the table, or finds an equal one."""
        key = (self.scale.tobytes(), self.zeroPoint.tobytes(), self.quantizedDimension)
        if key not in builder.shared:
            builder.shared[key] = super().Pack(builder)
        return builder.shared[key]


def _quantization(
    name: str, scale: ArrayLike, zero_point: ArrayLike | None, axis: int
) -> _SharedQuantization:
    scales = np.atleast_1d(np.asarray(scale, np.float32))
    zeros = np.zeros(scales.shape, np.int64)
    if zero_point is not None:
        zeros = np.atleast_1d(np.asarray(zero_point, np.int64))
    if scales.shape != zeros.shape:
        raise InternalError(f"{scales.size} scales and {zeros.size} zero points for '{name}'")
    quantization = _SharedQuantization()
    quantization.scale = scales
    quantization.zeroPoint = zeros
    quantization.quantizedDimension = axis if scales.size > 1 else 0
    return quantization


def _packed_buffer(data: bytes) -> Any:
    buffer = schema.BufferT()
    if data:
        buffer.data = np.frombuffer(data, np.uint8)
    return buffer


def _operator_code(name: str, version: int, custom: str) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = OPERATOR_CODES[name]
    code.deprecatedBuiltinCode = min(code.builtinCode, _OLD_CODES)
    code.version = version
    code.customCode = custom or None
    return code


def _tensor_map(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name = name
    entry.tensorIndex = index
    return entry


def _integers(values: Sequence[int]) -> NDArray[np.int32]:
    return np.array(values, np.int32)
