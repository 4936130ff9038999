"""Conv, ConvTranspose, Gemm and MatMul: int32 (or int64) accumulator, bias, one rescale.

``acc = sum (q_x - z_x) * q_w + b``, ``q_y = clip(rescale(acc, s_x * s_w / s_y) + z_y)``, after the
reference kernels CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV and FULLY_CONNECTED of TFLite.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.lower.builder import Quantized
from intaglio.passes.lower.products import (
    CONVOLUTION_ATTRIBUTES,
    bias_codes,
    chosen_attributes,
    largest_reach,
    zero_constant,
)
from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.lower.trained_products import lower_trained_conv, lower_trained_matrix
from intaglio.passes.lower.unit import Scope, Unit, attribute
from intaglio.passes.train.marks import get_trained
from intaglio.transforms.fixed_point import (
    REAL_ACCUMULATOR_LIMIT,
    WIDE_ACCUMULATOR_LIMIT,
    Rounding,
)
from intaglio.transforms.scales import TensorQuantization, accumulator_bound

_CONV_ATTRIBUTES = ("auto_pad", *CONVOLUTION_ATTRIBUTES)
_TRANSPOSE_ATTRIBUTES = ("dilations", "group", "output_padding", "pads", "strides")

INT32_LIMIT = 2**31
#: Accumulators from here on overflow int64 in the product of a 31-bit multiplier and the rounding.
SINGLE_LIMIT = 3 << 30


def lower_conv(scope: Scope, unit: Unit) -> ir.Value:
    """Conv by ConvInteger, or ConvInteger16 for int16 activations."""
    node, builder = unit.node, scope.builder
    trained = get_trained(node)
    if trained is not None:
        return lower_trained_conv(scope, unit, trained)
    source = scope.tensor(node.inputs[0])
    codes, scheme = _weight(scope, node, channel_axis=0)
    attributes = chosen_attributes(node, _CONV_ATTRIBUTES)
    weight = builder.constant(codes, "int8", f"{unit.name}_weight", scheme)
    if source.dtype == "int16":
        _require_symmetric(source, scheme)
        if attributes.pop("auto_pad", None) is not None and _auto_pad(node) != "NOTSET":
            raise RefusedError("auto_pad has no 16-bit form", "bind symbolic sizes with --shape")
        [acc] = builder.op(
            "ConvInteger16", [source.value, weight], "int64", f"{unit.name}_products", attributes
        )
    else:
        inputs = [source.value, weight, zero_constant(scope, source.zero_point)]
        if scheme.zero_point[0] != 0:
            inputs.append(zero_constant(scope, scheme.zero_point[0]))
        [acc] = builder.op("ConvInteger", inputs, "int32", f"{unit.name}_products", attributes)
    channels = codes.shape[0]
    group = int(attribute(node, "group", 1))
    kind = "depthwise_conv" if group > 1 and codes.shape[1] == 1 else "conv"
    shape = [channels, *[1] * (codes.ndim - 2)]
    rows = codes.reshape(channels, -1)
    return _finish(scope, unit, acc, source, scheme, channels, kind, shape, rows)


def lower_conv_transpose(scope: Scope, unit: Unit) -> ir.Value:
    """ConvTranspose by our function ConvTransposeInteger."""
    node, builder = unit.node, scope.builder
    source = scope.tensor(node.inputs[0])
    codes, scheme = _weight(scope, node, channel_axis=1)
    if codes.ndim != 4:
        raise RefusedError("only the two-dimensional ConvTranspose has an integer form")
    if "output_shape" in node.attributes or _auto_pad(node) != "NOTSET":
        raise RefusedError("output_shape and auto_pad have no integer form", "state pads instead")
    group = int(attribute(node, "group", 1))
    attributes = chosen_attributes(node, _TRANSPOSE_ATTRIBUTES)
    weight = builder.constant(codes, "int8", f"{unit.name}_weight", scheme)
    if source.dtype == "int16":
        _require_symmetric(source, scheme)
        operator, inputs, dtype = "ConvTransposeInteger16", [source.value, weight], "int64"
    else:
        _require_zero(scheme)
        inputs = [source.value, weight, zero_constant(scope, source.zero_point)]
        operator, dtype = "ConvTransposeInteger", "int32"
    [acc] = builder.op(operator, inputs, dtype, f"{unit.name}_products", attributes)
    channels = codes.shape[1] * group
    if scheme.per_channel and group > 1:
        scheme = TensorQuantization(
            scheme.dtype, scheme.scale * group, scheme.zero_point * group, scheme.axis
        )
    split = codes.reshape(group, codes.shape[0] // group, codes.shape[1], -1)
    rows = split.swapaxes(1, 2).reshape(channels, -1)
    return _finish(
        scope, unit, acc, source, scheme, channels, "conv_transpose", [channels, 1, 1], rows
    )


def lower_gemm(scope: Scope, unit: Unit) -> ir.Value:
    """Gemm with a constant second operand by MatMulInteger."""
    node = unit.node
    if attribute(node, "alpha", 1.0) != 1.0 or attribute(node, "beta", 1.0) != 1.0:
        raise RefusedError("alpha and beta must be 1", "run canonicalize.normalize_operators")
    if attribute(node, "transA", 0):
        raise RefusedError("a transposed first operand has no integer form", "transpose it before")
    transposed = bool(attribute(node, "transB", 0))
    trained = get_trained(node)
    if trained is not None:
        return lower_trained_matrix(scope, unit, trained, transposed=transposed)
    codes, scheme = _weight(scope, node, channel_axis=0 if transposed else 1)
    return _fully_connected(scope, unit, codes.T if transposed else codes, scheme)


def lower_matmul(scope: Scope, unit: Unit) -> ir.Value:
    """MatMul by MatMulInteger; the second operand may be constant or computed."""
    node, builder = unit.node, scope.builder
    trained = get_trained(node)
    if trained is not None:
        return lower_trained_matrix(scope, unit, trained, transposed=False)
    if scope.constant(node.inputs[1]) is not None:
        rank = scope.constant(node.inputs[1]).real.ndim  # type: ignore[union-attr]
        codes, scheme = _weight(scope, node, channel_axis=rank - 1)
        return _fully_connected(scope, unit, codes, scheme)
    first, second = scope.tensor(node.inputs[0]), scope.tensor(node.inputs[1])
    wide = "int16" in (first.dtype, second.dtype)
    if wide:
        first = builder.int16(first, f"{unit.name}_first")
        second = builder.int16(second, f"{unit.name}_second")
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    inner = shape[-1] if shape is not None and len(shape) else None
    reach = largest_reach(first) * largest_reach(second)
    limit = WIDE_ACCUMULATOR_LIMIT if wide else INT32_LIMIT
    if isinstance(inner, int) and inner * reach >= limit:
        raise RefusedError(f"the sum of {inner} products does not fit {'int48' * wide or 'int32'}")
    inputs = [first.value, second.value]
    if not wide:
        inputs += [zero_constant(scope, first.zero_point), zero_constant(scope, second.zero_point)]
    operator, dtype = ("MatMulInteger16By16", "int64") if wide else ("MatMulInteger", "int32")
    [acc] = builder.op(operator, inputs, dtype, f"{unit.name}_products")
    factors = (first.scale, second.scale)
    scale = builder.profile.scale("batch_matmul", factors, unit.output.scale[0])
    rounding = builder.profile.rounding("batch_matmul", first.dtype)
    return builder.rescale(
        acc, scale, rounding, unit.output, unit.clamp, unit.name, shape=unit.shape
    )


def _fully_connected(
    scope: Scope, unit: Unit, codes: NDArray[Any], scheme: TensorQuantization
) -> ir.Value:
    """``codes`` is [in, out] (or a batch of such)."""
    builder = scope.builder
    source = scope.tensor(unit.node.inputs[0])
    axis = codes.ndim - 1 if scheme.per_channel else None
    meaning = dataclasses.replace(scheme, axis=axis)
    weight = builder.constant(codes, "int8", f"{unit.name}_weight", meaning)
    if source.dtype == "int16":
        _require_symmetric(source, scheme)
        [acc] = builder.op(
            "MatMulInteger16", [source.value, weight], "int64", f"{unit.name}_products"
        )
    else:
        inputs = [source.value, weight, zero_constant(scope, source.zero_point)]
        if scheme.zero_point[0] != 0:
            inputs.append(zero_constant(scope, scheme.zero_point[0]))
        [acc] = builder.op("MatMulInteger", inputs, "int32", f"{unit.name}_products")
    if codes.ndim == 1:
        # A vector gives one number a row; it has no axis of channels.
        return _finish(scope, unit, acc, source, scheme, 1, "fully_connected", [], codes[None])
    channels = codes.shape[-1]
    rows = np.moveaxis(codes, -2, -1)
    kind = "batch_matmul" if codes.ndim > 2 else "fully_connected"
    return _finish(scope, unit, acc, source, scheme, channels, kind, [channels], rows)


def _weight(
    scope: Scope, node: ir.Node, channel_axis: int
) -> tuple[NDArray[Any], TensorQuantization]:
    constant = scope.constant(node.inputs[1])
    if constant is None:
        raise RefusedError("its weight is computed, not a constant", "fold the weight's producer")
    if constant.codes is None or constant.quantization is None:
        raise RefusedError("its weight is not quantized", "convert the float model instead")
    codes, scheme = constant.codes, constant.quantization
    if scheme.dtype == "uint8":
        codes = (codes.astype(np.int16) - 128).astype(np.int8)
        scheme = TensorQuantization(
            "int8", scheme.scale, tuple(z - 128 for z in scheme.zero_point), scheme.axis
        )
    if scheme.dtype != "int8":
        raise RefusedError(f"its weight is {scheme.dtype}", "only 8-bit weights have kernels")
    if scheme.per_channel:
        if scheme.axis is not None and scheme.axis % codes.ndim != channel_axis:
            raise RefusedError(
                f"its weight scales lie on axis {scheme.axis}, not on the output channels "
                f"(axis {channel_axis})"
            )
        if any(scheme.zero_point):
            raise RefusedError("per-channel weights with a zero point have no integer form")
    return codes, scheme


def _finish(
    scope: Scope,
    unit: Unit,
    acc: ir.Value,
    source: Quantized,
    scheme: TensorQuantization,
    channels: int,
    kind: str,
    channel_shape: list[int],
    rows: NDArray[Any],
) -> ir.Value:
    """Adds bias and rescale to the accumulator.

    ``rows`` are the weights, [..., output channels, products of one sum].
    """
    builder = scope.builder
    dtype = "int64" if source.dtype == "int16" else "int32"
    bias = bias_codes(scope, unit, source, scheme, channels)
    bound = _prove_fitting(source, scheme, rows.reshape(-1, channels, rows.shape[-1]), bias)
    if bias.any():
        constant = builder.constant(bias.reshape(channel_shape), dtype, f"{unit.name}_bias")
        [acc] = builder.op("Add", [acc, constant], dtype, f"{unit.name}_accumulator")
    rounding = builder.profile.rounding(kind, source.dtype)
    limit = REAL_ACCUMULATOR_LIMIT if rounding is Rounding.REAL else SINGLE_LIMIT
    if source.dtype == "int16" and rounding is not Rounding.WIDE and bound >= limit:
        # multiplier * accumulator would pass 63 bits: the 16-bit multiplier is what is left.
        rounding = Rounding.WIDE
    scale = builder.profile.scale(kind, (source.scale, scheme.scale), unit.output.scale[0])
    per_channel = channel_shape if scheme.per_channel else ()
    return builder.rescale(
        acc,
        scale,
        rounding,
        unit.output,
        unit.clamp,
        unit.name,
        shape=unit.shape,
        channel_shape=per_channel,
    )


def _prove_fitting(
    source: Quantized,
    scheme: TensorQuantization,
    rows: NDArray[Any],
    bias: NDArray[np.int64],
) -> int:
    """Largest magnitude of any accumulator, proved from the weights to fit the kernel.

    Args:
        source: The input.
        scheme: Of the weights.
        rows: Their integers, [batch, output channels, products of one sum].
        bias: Integer bias, one a channel.

    Raises:
        RefusedError: An accumulator could overflow int32; for 16-bit inputs int32 in the sum of
            one half, or what the rescale of int64 takes.
    """
    batch, channels, _ = rows.shape
    flat = rows.reshape(batch * channels, -1).astype(np.int64) - scheme.zero_point[0]
    quantization = source.quantization
    bounds = accumulator_bound(
        flat,
        quantization.minimum,
        quantization.maximum,
        source.zero_point,
        np.tile(bias, batch),
    )
    bound = int(bounds.max(initial=0))
    if source.dtype == "int8":
        if bound >= INT32_LIMIT:
            raise RefusedError(
                f"its accumulator can reach {bound}, which int32 cannot hold",
                "keep its input at 16 bit (int64 accumulator)",
            )
        return bound
    half = 255 * int(np.abs(flat).sum(axis=1).max(initial=0))
    if half >= INT32_LIMIT or bound >= WIDE_ACCUMULATOR_LIMIT:
        raise RefusedError(
            f"its accumulator can reach {bound}, more than the 16-bit kernel holds",
            "split the layer into two",
        )
    return bound


def _require_zero(scheme: TensorQuantization) -> None:
    if any(scheme.zero_point):
        raise RefusedError("its weight has a zero point", "use symmetric weights")


def _require_symmetric(source: Quantized, scheme: TensorQuantization) -> None:
    _require_zero(scheme)
    if source.zero_point != 0:
        raise RefusedError("an int16 tensor with a zero point has no kernel", "use symmetric int16")


def _auto_pad(node: ir.Node) -> str:
    return str(attribute(node, "auto_pad", "NOTSET"))
