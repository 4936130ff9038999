"""Products whose weights train: int8 activations, int16 weights, an int64 accumulator.

Their initializers keep the parameters' own names, in the layout in which the integer operators read
them: those of Conv as they are, those of Gemm and MatMul as [in, out].

Weights move, so the worst case counts and not today's numbers: every weight at ±32767, a bias that
trains at ±2^30. Where the accumulator then fits int32 it is rescaled as one of int8 is, with the
profile's own rounding, else with that of 64 bits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.dialect.sixteen_bit_weights import MOST_PRODUCTS, WEIGHT_LIMIT
from intaglio.passes.lower.builder import Quantized, onnx_type
from intaglio.passes.lower.products import (
    CONVOLUTION_ATTRIBUTES,
    bias_codes,
    chosen_attributes,
    largest_reach,
    zero_constant,
)
from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.lower.unit import Scope, Unit, attribute
from intaglio.passes.train.marks import Trained
from intaglio.transforms.fixed_point import WIDE_ACCUMULATOR_LIMIT, Rounding
from intaglio.transforms.scales import BIAS_LIMIT, TensorQuantization

_INT32_LIMIT = 2**31


def lower_trained_conv(scope: Scope, unit: Unit, trained: Trained) -> ir.Value:
    """Conv by ConvInteger8By16."""
    node, builder = unit.node, scope.builder
    source = _source(scope, node)
    codes, scheme = _weight(scope, node)
    if str(attribute(node, "auto_pad", "NOTSET")) != "NOTSET":
        raise RefusedError("auto_pad has no 16-bit form", "bind symbolic sizes with --shape")
    weight = builder.parameter(codes, "int16", trained.weight, scheme)
    inputs = [source.value, weight, zero_constant(scope, source.zero_point)]
    attributes = chosen_attributes(node, CONVOLUTION_ATTRIBUTES)
    [acc] = builder.op("ConvInteger8By16", inputs, "int64", f"{unit.name}_products", attributes)
    channels = codes.shape[0]
    grouped = int(attribute(node, "group", 1)) > 1 and codes.shape[1] == 1
    shape = [channels, *[1] * (codes.ndim - 2)]
    products = math.prod(codes.shape[1:])
    kind = "depthwise_conv" if grouped else "conv"
    return _finish(scope, unit, trained, acc, source, scheme, kind, shape, products)


def lower_trained_matrix(
    scope: Scope, unit: Unit, trained: Trained, *, transposed: bool
) -> ir.Value:
    """Gemm and MatMul by MatMulInteger8By16.

    Args:
        scope: Of the lowering.
        unit: The layer.
        trained: What of it trains.
        transposed: Whether the node reads its weights as [out, in].
    """
    builder = scope.builder
    source = _source(scope, unit.node)
    codes, scheme = _weight(scope, unit.node)
    if codes.ndim != 2:
        raise RefusedError("weights that train are a matrix here")
    matrix = codes.T if transposed else codes
    weight = builder.parameter(matrix, "int16", trained.weight, scheme)
    inputs = [source.value, weight, zero_constant(scope, source.zero_point)]
    [acc] = builder.op("MatMulInteger8By16", inputs, "int64", f"{unit.name}_products")
    products, channels = matrix.shape
    kind, shape = "fully_connected", [channels]
    return _finish(scope, unit, trained, acc, source, scheme, kind, shape, products)


def _source(scope: Scope, node: ir.Node) -> Quantized:
    source = scope.tensor(node.inputs[0])
    if source.dtype != "int8":
        raise RefusedError(
            f"its weights train, and its input is {source.dtype}",
            "keep the inputs of layers that train at 8 bits",
        )
    return source


def _weight(scope: Scope, node: ir.Node) -> tuple[NDArray[Any], TensorQuantization]:
    constant = scope.constant(node.inputs[1])
    if constant is None or constant.codes is None or constant.quantization is None:
        raise RefusedError("its weights train, and are no quantized constant")
    scheme = constant.quantization
    if scheme.dtype != "int16" or scheme.per_channel or any(scheme.zero_point):
        raise RefusedError(
            "its weights train, and are not int16, symmetric, with one scale",
            "leave the plan's entries of layers that train as they are",
        )
    return constant.codes, scheme


def _finish(
    scope: Scope,
    unit: Unit,
    trained: Trained,
    acc: ir.Value,
    source: Quantized,
    scheme: TensorQuantization,
    kind: str,
    channel_shape: list[int],
    products: int,
) -> ir.Value:
    """Adds bias and rescale to the accumulator."""
    builder, channels = scope.builder, channel_shape[0]
    bias = bias_codes(scope, unit, source, scheme, channels)
    added: ir.Value | None = None
    if trained.bias is not None:
        added = _trained_bias(scope, unit, trained.bias, bias, source, scheme, channel_shape)
        largest = BIAS_LIMIT
    else:
        largest = int(np.abs(bias).max(initial=0))
        name = f"{unit.name}_bias"
        if bias.any():
            added = builder.constant(bias.reshape(channel_shape), "int64", name)
    if added is not None:
        [acc] = builder.op("Add", [acc, added], "int64", f"{unit.name}_accumulator")
    bound = products * WEIGHT_LIMIT * largest_reach(source) + largest
    if products > MOST_PRODUCTS or bound >= WIDE_ACCUMULATOR_LIMIT:
        raise RefusedError(
            f"it sums {products:,} products with 16-bit weights, more than the kernel holds",
            "split the layer, or leave it out of train.select_layers.layers",
        )
    rounding = builder.profile.rounding(kind, source.dtype)
    if bound >= _INT32_LIMIT:
        rounding = Rounding.WIDE
    scale = builder.profile.scale(kind, (source.scale, scheme.scale[0]), unit.output.scale[0])
    return builder.rescale(
        acc, scale, rounding, unit.output, unit.clamp, unit.name, shape=unit.shape
    )


def _trained_bias(
    scope: Scope,
    unit: Unit,
    name: str,
    bias: NDArray[np.int64],
    source: Quantized,
    scheme: TensorQuantization,
    channel_shape: list[int],
) -> ir.Value:
    """A bias that trains: int32 [channels], made int64 and shaped in the graph."""
    builder = scope.builder
    if np.abs(bias).max(initial=0) > BIAS_LIMIT:
        raise RefusedError("its bias trains, and does not fit 31 bits", "keep its bias fixed")
    meaning = TensorQuantization("int32", (source.scale * scheme.scale[0],), (0,))
    value = builder.parameter(bias, "int32", name, meaning)
    [wide] = builder.op("Cast", [value], "int64", f"{unit.name}_bias", {"to": onnx_type("int64")})
    wide.shape = ir.Shape([len(bias)])
    if len(channel_shape) == 1:
        return wide
    target = builder.constant(channel_shape, "int64", f"{unit.name}_bias_shape")
    shape = ir.Shape(channel_shape)
    [shaped] = builder.op(
        "Reshape", [wide, target], "int64", f"{unit.name}_bias_shaped", shape=shape
    )
    return shaped
