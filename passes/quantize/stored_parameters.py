"""Weights and biases as text, for plans.

Some steps decide more than scales: to which integer each weight is rounded, and how a bias makes up
for that. A plan that is to be replayed without calibration data has to hold the outcome.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.errors import RecipeError
from intaglio.passes.annotations import get_quantization
from intaglio.passes.operators import WEIGHTED, constant_array, is_constant

_REMEDY = "a plan belongs to one model and one recipe; leave 'parameters' as written"

# Rounding moves a weight by less than one step, and a clipped one lies at the end of the grid.
_FARTHEST = 1.5


def store_parameters(model: ir.Model) -> dict[str, str]:
    """Integers of the planned weights, and real biases, by name.

    Args:
        model: The float model with a plan, right before it is quantized.

    Returns:
        Base64 of compressed integer weights or of little-endian float32 biases.
    """
    stored: dict[str, str] = {}
    for weight, bias in _parameters(model):
        scheme = get_quantization(weight)
        array = constant_array(weight)
        if scheme is None or array is None or scheme.dtype not in ("int8", "int16"):
            continue
        stored[str(weight.name)] = _encode(_little_endian(scheme.quantize(array)))
        values = constant_array(bias) if is_constant(bias) else None
        if bias is not None and values is not None:
            stored[str(bias.name)] = _encode(values.astype("<f4"))
    return stored


def restore_parameters(model: ir.Model, stored: Mapping[str, str]) -> None:
    """Puts stored parameters back where the plan still means the same grid.

    A weight whose scale was edited since is left as it is, to be rounded anew.

    Args:
        model: The float model, planned; changed in place.
        stored: What :func:`store_parameters` gave.

    Raises:
        RecipeError: They do not fit the model.
    """
    for weight, bias in _parameters(model):
        scheme = get_quantization(weight)
        array = constant_array(weight)
        if str(weight.name) not in stored or scheme is None or array is None:
            continue
        kind = scheme.numpy_dtype.newbyteorder("<")
        codes = _decode(stored[str(weight.name)], kind, array.shape, weight.name)
        restored = scheme.dequantize(codes)
        nearest = scheme.dequantize(scheme.quantize(array))
        step = np.abs(scheme.dequantize(np.ones(array.shape, scheme.numpy_dtype)))
        if (np.abs(restored - nearest) > _FARTHEST * step).any():
            continue
        _set(weight, restored)
        if bias is not None and str(bias.name) in stored:
            shape = tuple(constant_array(bias).shape)  # type: ignore[union-attr]
            _set(bias, _decode(stored[str(bias.name)], np.dtype("<f4"), shape, bias.name))


def _parameters(model: ir.Model) -> list[tuple[ir.Value, ir.Value | None]]:
    found = []
    for node in model.graph:
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        if node.op_type in (*WEIGHTED, "MatMul") and weight is not None and is_constant(weight):
            bias = node.inputs[2] if len(node.inputs) > 2 else None
            found.append((weight, bias if is_constant(bias) else None))
    return found


def _little_endian(array: NDArray[np.generic]) -> NDArray[np.generic]:
    return array.astype(array.dtype.newbyteorder("<"))


def _encode(array: NDArray[np.generic]) -> str:
    return base64.b64encode(zlib.compress(array.tobytes(), 9)).decode("ascii")


def _decode(
    text: str, dtype: np.dtype[np.generic], shape: tuple[int, ...], name: str | None
) -> NDArray[np.generic]:
    wanted = int(np.prod(shape)) * dtype.itemsize
    try:
        packer = zlib.decompressobj()
        data = packer.decompress(base64.b64decode(text, validate=True), wanted + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise RecipeError(f"the plan's values of '{name}' are damaged", remedy=_REMEDY) from error
    if len(data) != wanted:
        raise RecipeError(f"the plan's values of '{name}' do not fit the model", remedy=_REMEDY)
    return np.frombuffer(data, dtype).reshape(shape)


def _set(value: ir.Value, array: NDArray[np.generic]) -> None:
    value.const_value = ir.tensor(array.astype(np.float32), name=value.name)
