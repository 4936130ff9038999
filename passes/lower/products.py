"""What the lowerings of all products share: biases, zero points, attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.lower.builder import Quantized
from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.lower.unit import Constant, Scope, Unit
from intaglio.transforms.scales import TensorQuantization

#: Attributes of Conv that the integer operators have as well.
CONVOLUTION_ATTRIBUTES = ("dilations", "group", "kernel_shape", "pads", "strides")


def largest_reach(source: Quantized) -> int:
    """Largest magnitude of ``q - zero point``."""
    quantization = source.quantization
    return max(quantization.maximum - source.zero_point, source.zero_point - quantization.minimum)


def bias_codes(
    scope: Scope, unit: Unit, source: Quantized, scheme: TensorQuantization, channels: int
) -> NDArray[np.int64]:
    """Integer bias at ``s_x * s_w``, one a channel (zeros where there is none)."""
    value = unit.node.inputs[2] if len(unit.node.inputs) > 2 else None
    if value is None:
        return np.zeros(channels, np.int64)
    constant: Constant | None = scope.constant(value)
    if constant is None:
        raise RefusedError("its bias is computed, not a constant")
    if constant.real.size != 1 and constant.real.shape[-1] != constant.real.size:
        raise RefusedError("its bias is no vector", "add it behind the layer")
    scale = source.scale * np.array(scheme.scale, np.float64)
    if constant.codes is not None and constant.quantization is not None:
        stated = np.array(constant.quantization.scale, np.float64)
        if np.allclose(np.broadcast_to(stated, channels), scale, rtol=1e-6, atol=0.0):
            codes = constant.codes.astype(np.int64) - np.array(constant.quantization.zero_point)
            return np.array(np.broadcast_to(codes.reshape(-1), (channels,)), np.int64)
    real = np.broadcast_to(constant.real.reshape(-1), (channels,))
    codes = np.rint(real / scale)
    limit = 2.0**31 if source.dtype == "int8" else 2.0**47
    if np.abs(codes).max(initial=0.0) >= limit:
        raise RefusedError(
            "its bias does not fit the accumulator at the stated scales",
            "quantize the float model with intaglio, which raises those weight scales",
        )
    return np.asarray(codes, np.int64)


def zero_constant(scope: Scope, zero_point: int) -> ir.Value:
    """The zero point of an int8 operand as a shared constant."""
    return scope.builder.constant(zero_point, "int8", f"int8_{zero_point}")


def chosen_attributes(node: ir.Node, names: tuple[str, ...]) -> dict[str, Any]:
    """The attributes of ``node`` among ``names``."""
    return {name: node.attributes[name] for name in names if name in node.attributes}
