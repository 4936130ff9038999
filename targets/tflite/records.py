"""Tensors and operators of a TFLite file as their readers see them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Element types whose tensors hold real numbers when they have a scale.
QUANTIZED_DTYPES = frozenset({"int8", "uint8", "int16"})


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of the TFLite file.

    Attributes:
        index: Its index in the file.
        name: Its name, made unique.
        shape: Dimensions as the file states them (1 or so for open ones; see ``signature``).
        dtype: numpy name of its elements; int4 is unpacked to ``int8``.
        data: The elements of a constant in ``shape``, decoded (float16 stays so), else None.
        scale: float32 scales, one or one for each index of ``axis``; None where not quantized.
        zero_point: As many zero points (int64), None likewise.
        axis: The axis of per-channel scales, None for one scale.
        signature: Dimensions with -1 for open ones.
        bits: Bits of an element in the file: 4 for int4, else those of ``dtype``.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    data: NDArray[Any] | None
    scale: NDArray[np.float32] | None
    zero_point: NDArray[np.int64] | None
    axis: int | None
    signature: tuple[int, ...]
    bits: int = 0

    @property
    def is_quantized(self) -> bool:
        """Whether its integers stand for real numbers."""
        return self.scale is not None and self.dtype in QUANTIZED_DTYPES


@dataclasses.dataclass(frozen=True, eq=False)
class Operator:
    """An operator of the TFLite file.

    Attributes:
        index: Its index in the file.
        name: Builtin name such as ``CONV_2D``, or the custom code.
        version: Its version.
        options: Options as objects of the schema (with its defaults where the file has none), None
            for operators without options.
        custom_options: Options of a custom operator, as bytes.
        inputs: Its inputs; None for optional ones left out.
        outputs: Its outputs.
    """

    index: int
    name: str
    version: int
    options: Any
    custom_options: bytes
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]

    @property
    def label(self) -> str:
        """The name to show: that of the first output."""
        return self.outputs[0].name if self.outputs else f"operator {self.index}"


def dequantize(tensor: Tensor) -> NDArray[np.float32]:
    """The real numbers of a quantized constant: ``(q - zero point) * scale`` in float32."""
    if tensor.data is None or tensor.scale is None or tensor.zero_point is None:
        raise ValueError(f"'{tensor.name}' is no quantized constant")
    scale, zero_point = _along(tensor, tensor.scale), _along(tensor, tensor.zero_point)
    real = (tensor.data.astype(np.int32) - zero_point.astype(np.int32)).astype(np.float32)
    return np.asarray(real * scale, np.float32)


def quantize(tensor: Tensor, real: NDArray[Any]) -> NDArray[Any]:
    """The integers of real numbers, with the parameters of ``tensor``, in any shape."""
    if tensor.scale is None or tensor.zero_point is None:
        raise ValueError(f"'{tensor.name}' is not quantized")
    bounds = np.iinfo(tensor.dtype)
    codes = np.rint(real.astype(np.float64) / _along(tensor, tensor.scale).astype(np.float64))
    codes = codes + _along(tensor, tensor.zero_point)
    return np.asarray(np.clip(codes, bounds.min, bounds.max)).astype(tensor.dtype)


def _along(tensor: Tensor, parameters: NDArray[Any]) -> NDArray[Any]:
    if tensor.axis is None:
        return parameters.reshape(-1)[:1].reshape(())
    shape = [1] * len(tensor.shape)
    shape[tensor.axis] = -1
    return parameters.reshape(shape)
