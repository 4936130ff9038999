"""Weights and biases of layers: their axes in ONNX's order, their integers kept.

A bias is int32 or int64 at ``s_x * s_w``. The product of the scales is taken anew, in float32, and
not from the file: exporters round it differently, and the runtimes do not look at it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from intaglio.targets.tflite.scope import Operator, Scope, Tensor

_INT32 = np.iinfo(np.int32)


def layer_weight(
    scope: Scope, operator: Operator, x: Tensor, weight: Tensor, perm: Sequence[int]
) -> ir.Value:
    """The weight of a layer with its axes permuted.

    Args:
        scope: Where it goes.
        operator: The layer.
        x: Its input. Quantized weights of a layer with float inputs (dynamic range) are read as
            real numbers.
        weight: Its weight, constant or computed.
        perm: For each axis in ONNX the axis in TFLite.

    Returns:
        A float value, behind DequantizeLinear where the layer is quantized.

    Raises:
        UnsupportedError: Quantized inputs with float weights.
    """
    if len(weight.shape) != len(perm):
        raise scope.damaged(f"has weights of {len(weight.shape)} dimensions, not {len(perm)}")
    moved = list(perm) != sorted(perm)
    if x.is_quantized and not weight.is_quantized:
        scope.refuse(
            operator, "its input is quantized, its weight is not", "quantize both, or neither"
        )
    if x.is_quantized:
        codes = scope.integers(weight)
        if codes is not None:
            parameters = scope.parameters(weight)
            axis = None if weight.axis is None else list(perm).index(weight.axis)
            return scope.dequantized(
                np.transpose(codes, perm),
                parameters.scale,
                parameters.zero_point,
                axis,
                weight.name,
            )
    array = scope.constant(weight)
    if array is not None:
        return scope.weight(weight, np.transpose(array, perm))
    value = scope.value(weight)
    if moved:
        value = scope.node("Transpose", [value], {"perm": list(perm)})
    return value


def layer_bias(
    scope: Scope, operator: Operator, x: Tensor, weight: Tensor, bias: Tensor | None
) -> ir.Value | None:
    """The bias of a layer, None where it has none.

    Args:
        scope: Where it goes.
        operator: The layer.
        x: Its input.
        weight: Its weight.
        bias: Its bias.

    Raises:
        UnsupportedError: A quantized bias that is computed, or that does not fit int32.
    """
    if bias is None:
        return None
    if not x.is_quantized:
        array = scope.constant(bias)
        if array is not None and array.dtype == np.float32:
            return scope.weight(bias, array)
        return scope.value(bias)
    codes = bias.data
    if codes is None or bias.dtype not in ("int32", "int64"):
        scope.refuse(
            operator, "its bias is no constant of int32 or int64", "quantize the model again"
        )
    if codes.size and (codes.min() < _INT32.min or codes.max() > _INT32.max):
        scope.refuse(
            operator,
            f"its bias '{bias.name}' does not fit int32",
            "convert the float model instead",
        )
    if x.dtype == "int16" and bias.dtype == "int32":
        scope.warnings.append(
            f"{operator.name} '{operator.label}' has int16 inputs and a bias of int32, which is "
            "read as int64: results may differ by 1 from a runtime that rounds for int32"
        )
    if x.scale is None or weight.scale is None:
        raise scope.damaged("has a bias but no scales")
    scale = (x.scale.reshape(-1)[:1] * weight.scale).astype(np.float32)
    per_channel = weight.axis is not None
    return scope.dequantized(
        codes.astype(np.int32),
        scale if per_channel else scale.reshape(()),
        None,
        0 if per_channel else None,
        bias.name,
    )
