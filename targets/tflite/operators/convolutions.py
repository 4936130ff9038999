"""CONV_2D, DEPTHWISE_CONV_2D and TRANSPOSE_CONV, with MediaPipe's transposed one with a bias.

TFLite keeps the weights of CONV_2D and TRANSPOSE_CONV as [out, height, width, in] and those of
DEPTHWISE_CONV_2D as [1, height, width, out].
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import onnx_ir as ir

from intaglio.targets.tflite.operators.arguments import BIND, given, sizes
from intaglio.targets.tflite.operators.weights import layer_bias, layer_weight
from intaglio.targets.tflite.operators.windows import (
    check_positive,
    same_padding,
    window_attributes,
)
from intaglio.targets.tflite.schema import schema
from intaglio.targets.tflite.scope import NONE, Operator, Reader, Scope, Tensor

# ``TfLitePadding`` in custom options.
_CUSTOM_SAME, _CUSTOM_VALID = 1, 2


def read_conv(scope: Scope, operator: Operator) -> None:
    """CONV_2D: Conv; fewer input channels in the weight than in the input mean groups."""
    x, weight = _operands(scope, operator, 0, 1)
    channels, depth = scope.shape(x)[3], weight.shape[3]
    if depth < 1 or (isinstance(channels, int) and channels % depth):
        raise scope.damaged(f"has {channels} input channels and weights for {depth}")
    group = channels // depth if isinstance(channels, int) else 1
    _convolve(scope, operator, (x, weight), (0, 3, 1, 2), group)


def read_depthwise_conv(scope: Scope, operator: Operator) -> None:
    """DEPTHWISE_CONV_2D: Conv with a group for each input channel."""
    x, weight = _operands(scope, operator, 0, 1)
    channels = scope.shape(x)[3]
    if not isinstance(channels, int):
        scope.refuse(operator, "its number of input channels is open", BIND)
    if weight.shape[0] != 1 or channels < 1 or weight.shape[3] % channels:
        raise scope.damaged(f"has {channels} input channels and weights {weight.shape}")
    _convolve(scope, operator, (x, weight), (3, 0, 1, 2), channels)


def read_transpose_conv(scope: Scope, operator: Operator) -> None:
    """TRANSPOSE_CONV: ConvTranspose, cropped to the output shape that its first input states.

    The kernel scatters input ``i`` to ``i * stride - pad``, where ``pad`` is what the convolution
    from the output to the input would have (``transpose_conv.h`` of the reference kernels).
    """
    x, weight = _operands(scope, operator, 2, 1)
    options = operator.options
    wanted = sizes(scope, operator.inputs[0])
    if len(wanted) != 4:
        raise scope.damaged(f"has an output shape of {len(wanted)} numbers")
    strides = (options.strideH, options.strideW)
    check_positive(scope, "stride", strides)
    crops = []
    for size, kernel, stride in zip(wanted[1:3], weight.shape[1:3], strides, strict=True):
        if not isinstance(size, int):
            scope.refuse(operator, "its output size is open", BIND)
        same = options.padding == schema.Padding.SAME
        crops.append((same_padding(size, kernel, stride)[0] if same else 0, size))
    _transposed(scope, operator, (x, weight, given(operator, 3)), strides, crops)


def read_transpose_conv_bias(scope: Scope, operator: Operator) -> None:
    """MediaPipe's Convolution2DTransposeBias: input, weight, bias, the rest in custom options.

    The options are the C struct ``TfLiteTransposeConvParams``: padding (1 SAME, 2 VALID), stride
    in width and in height, all int32. The operator finds its output size itself; with SAME it
    crops ``max(0, kernel - (size - 1) % stride - 1)`` in all.
    Source: mediapipe/util/tflite/operations/transpose_conv_bias.cc
    """
    x, weight = _operands(scope, operator, 0, 1)
    try:
        padding, stride_w, stride_h = struct.unpack_from("<iii", operator.custom_options)
    except struct.error as error:
        raise scope.damaged("has no options") from error
    if padding not in (_CUSTOM_SAME, _CUSTOM_VALID):
        raise scope.damaged(f"has the unknown padding {padding}")
    strides = (stride_h, stride_w)
    check_positive(scope, "stride", strides)
    crops = []
    for size, kernel, stride in zip(scope.shape(x)[1:3], weight.shape[1:3], strides, strict=True):
        if not isinstance(size, int):
            scope.refuse(operator, "its input size is open", BIND)
        total = max(0, kernel - (size - 1) % stride - 1) if padding == _CUSTOM_SAME else 0
        crops.append((total // 2, stride * (size - 1) + kernel - total))
    _transposed(scope, operator, (x, weight, given(operator, 2)), strides, crops)


def _operands(scope: Scope, operator: Operator, x: int, weight: int) -> tuple[Tensor, Tensor]:
    """Input and weight, both with four dimensions."""
    first, second = given(operator, x), given(operator, weight)
    if first is None or second is None:
        raise scope.damaged("lacks an input")
    if len(scope.shape(first)) != 4 or len(second.shape) != 4:
        raise scope.damaged(f"has an input {first.shape} and weights {second.shape}")
    return first, second


def _convolve(
    scope: Scope,
    operator: Operator,
    operands: tuple[Tensor, Tensor],
    perm: Sequence[int],
    group: int,
) -> None:
    x, weight = operands
    options, kernel = operator.options, list(weight.shape[1:3])
    attributes = window_attributes(
        scope,
        operator,
        scope.shape(x)[1:3],
        kernel,
        (options.strideH, options.strideW),
        (options.dilationHFactor, options.dilationWFactor),
    )
    inputs: list[ir.Value | None] = [
        scope.channels_first(scope.value(x)),
        layer_weight(scope, operator, x, weight, perm),
    ]
    bias = layer_bias(scope, operator, x, weight, given(operator, 2))
    if bias is not None:
        inputs.append(bias)
    attributes |= {"group": group, "kernel_shape": kernel}
    result = scope.channels_last(scope.node("Conv", inputs, attributes))
    scope.give(operator.outputs[0], result, options.fusedActivationFunction)


def _transposed(
    scope: Scope,
    operator: Operator,
    operands: tuple[Tensor, Tensor, Tensor | None],
    strides: Sequence[int],
    crops: Sequence[tuple[int, int]],
) -> None:
    """ConvTranspose; ``crops`` are what to cut off before, and the size to keep."""
    x, weight, bias = operands
    check_positive(scope, "kernel", weight.shape[1:3])
    begins, ends, fills = [], [], []
    dims = zip(scope.shape(x)[1:3], crops, weight.shape[1:3], strides, strict=True)
    for size, (begin, target), kernel, stride in dims:
        if not isinstance(size, int):
            scope.refuse(operator, "its input size is open", BIND)
        end = (size - 1) * stride + kernel - begin - target
        if target < 1 or -end >= stride:
            scope.refuse(
                operator,
                f"its output of {target} is larger than its input of {size} can make",
                "give it the output shape of its padding",
            )
        begins.append(begin)
        ends.append(max(end, 0))
        fills.append(max(-end, 0))
    attributes: dict[str, object] = {
        "kernel_shape": list(weight.shape[1:3]),
        "strides": list(strides),
        "pads": [*begins, *ends],
    }
    if any(fills):
        attributes["output_padding"] = fills
    inputs: list[ir.Value | None] = [
        scope.channels_first(scope.value(x)),
        layer_weight(scope, operator, x, weight, (3, 0, 1, 2)),
    ]
    offset = layer_bias(scope, operator, x, weight, bias)
    if offset is not None:
        inputs.append(offset)
    result = scope.node("ConvTranspose", inputs, attributes)
    activation = getattr(operator.options, "fusedActivationFunction", NONE)
    scope.give(operator.outputs[0], scope.channels_last(result), activation)


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "CONV_2D": read_conv,
        "DEPTHWISE_CONV_2D": read_depthwise_conv,
        "TRANSPOSE_CONV": read_transpose_conv,
        "custom:Convolution2DTransposeBias": read_transpose_conv_bias,
    }
)
