"""Random cases of every operator, by the name of the TFLite operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from intaglio.targets.tflite.schema import schema

from tests.property.tflite_case import NHWC_TO_NCHW, Case

Maker = Callable[[Case], None]
ACTIVATIONS = ("NONE", "NONE", "RELU", "RELU6")
_FUSED = {"NONE": 0, "RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}
CHANNELS_FIRST = NHWC_TO_NCHW


def _weights(case: Case, shape: Sequence[int]) -> np.ndarray:
    # Small weights give small sums, of which many lie on ties.
    case.spread = case.pick([1, 2, 20, 50, 127])
    array = np.clip(np.rint(case.rng.normal(0, case.spread, tuple(shape))), -127, 127)
    if case.dtype == "uint8":
        return (array + 128).astype(np.uint8)
    return array.astype(np.int8)


def _weight_zero(case: Case) -> int:
    """Old files have weights with a zero point."""
    return case.integer(100, 150) if case.dtype == "uint8" else 0


def _weight_scales(case: Case, channels: int) -> list[float]:
    if case.dtype == "uint8" or case.rng.random() < 0.3:
        return [case.scale(1e-4, 0.05)]
    base = case.scale(1e-4, 0.05)
    return [float(np.float32(base * case.rng.uniform(0.1, 3))) for _ in range(channels)]


def _bias(case: Case, scales: Sequence[float], channels: int, terms: int, s_x: float) -> Any:
    kind = np.int64 if case.dtype == "int16" else np.int32
    reach = 60.0 * min(case.spread, 50) * np.sqrt(terms) * (200 if case.dtype == "int16" else 1)
    array = np.rint(case.rng.normal(0, reach, channels)).astype(kind)
    bias_scale = [float(np.float32(s_x) * np.float32(s)) for s in scales]
    return case.constant("b", array, bias_scale, axis=0)


def _output_scale(case: Case, scales: Sequence[float], terms: int, s_x: float) -> float:
    """A scale that most of the results fit."""
    levels = 73.0 * min(case.spread, 50) * np.sqrt(terms) * (256 if case.dtype == "int16" else 1)
    real = levels * s_x * float(np.mean(scales))
    step = real / (30000 if case.dtype == "int16" else 60)
    step *= float(np.exp(case.rng.uniform(-1, 1)))
    return case.near(step, s_x, scales[0])


def _window(case: Case, size: int, *, dilated: bool = True) -> tuple[int, int, int]:
    """Kernel, stride, dilation of one axis."""
    dilation = case.pick([1, 1, 2]) if dilated else 1
    kernel = case.integer(1, min(3, (size - 1) // dilation + 1))
    return kernel, case.integer(1, 3), dilation


def _padding(case: Case, size: int, kernel: int, stride: int, dilation: int, same: bool):
    """Output size and ONNX pads of one axis."""
    reach = (kernel - 1) * dilation + 1
    if not same:
        return (size - reach) // stride + 1, 0, 0
    out = -(-size // stride)
    total = max(0, (out - 1) * stride + reach - size)
    return out, total // 2, total - total // 2


def conv(case: Case, depthwise: bool = False) -> None:
    n, h, w = case.integer(1, 2), case.integer(1, 9), case.integer(1, 9)
    group = 1 if depthwise else case.pick([1, 1, 1, 2])
    channels = case.integer(1, 6) * group
    multiplier = case.integer(1, 3) if depthwise else 1
    outputs = channels * multiplier if depthwise else case.integer(1, 5) * group
    ((kh, sh, dh), (kw, sw, dw)) = (_window(case, h), _window(case, w))
    if depthwise:
        sw = sh
    same = case.pick([True, False])
    oh, top, bottom = _padding(case, h, kh, sh, dh, same)
    ow, left, right = _padding(case, w, kw, sw, dw, same)
    x = case.input("x", (n, h, w, channels), order=CHANNELS_FIRST)
    inner = channels // group
    terms = kh * kw * (1 if depthwise else inner)
    scales = _weight_scales(case, outputs)
    if depthwise:
        weight = case.constant(
            "w", _weights(case, (1, kh, kw, outputs)), scales, axis=3, order=(3, 0, 1, 2),
            onnx_axis=0, zero=_weight_zero(case),
        )
    else:
        weight = case.constant(
            "w", _weights(case, (outputs, kh, kw, inner)), scales, axis=0, order=(0, 3, 1, 2),
            zero=_weight_zero(case),
        )
    bias = _bias(case, scales, outputs, terms, x.scale[0])
    y = case.activation(
        "y",
        (n, oh, ow, outputs),
        order=CHANNELS_FIRST,
        scale=_output_scale(case, scales, terms, x.scale[0]),
    )
    act = case.pick(ACTIVATIONS)
    fields = {
        "padding": 0 if same else 1,
        "strideH": sh,
        "strideW": sw,
        "dilationHFactor": dh,
        "dilationWFactor": dw,
        "fusedActivationFunction": _FUSED[act],
    }
    if depthwise:
        fields["depthMultiplier"] = multiplier
        case.tflite("DEPTHWISE_CONV_2D", [x, weight, *([bias] if bias else [])], [y], ("DepthwiseConv2DOptions", fields))
    else:
        case.tflite("CONV_2D", [x, weight, *([bias] if bias else [])], [y], ("Conv2DOptions", fields))
    case.node(
        "Conv",
        ["x", "w", *(["b"] if bias else [])],
        case.activated(act),
        strides=[sh, sw],
        dilations=[dh, dw],
        pads=[top, left, bottom, right],
        group=channels if depthwise else group,
        kernel_shape=[kh, kw],
    )
    case.activate(act)


def transpose_conv(case: Case) -> None:
    n, h, w, channels = (case.integer(1, k) for k in (2, 5, 5, 4))
    outputs = case.integer(1, 4)
    kh, kw, sh, sw = (case.integer(1, 3) for _ in range(4))
    same = case.pick([True, False])
    oh = h * sh if same else (h - 1) * sh + max(kh, sh)
    ow = w * sw if same else (w - 1) * sw + max(kw, sw)
    x = case.input("x", (n, h, w, channels), order=CHANNELS_FIRST)
    scales = _weight_scales(case, outputs)
    terms = channels * kh * kw // (sh * sw) + 1
    weight = case.constant(
        "w", _weights(case, (outputs, kh, kw, channels)), scales, axis=0, order=(3, 0, 1, 2),
        onnx_axis=1,
    )
    bias = _bias(case, scales, outputs, terms, x.scale[0]) if case.rng.random() < 0.7 else None
    y = case.activation(
        "y",
        (n, oh, ow, outputs),
        order=CHANNELS_FIRST,
        scale=_output_scale(case, scales, terms, x.scale[0]),
    )
    size = case.constant("size", np.array(y.shape, np.int32))
    # No fused activation: TFLite Micro ignores it.
    fields = {"padding": 0 if same else 1, "strideH": sh, "strideW": sw}
    case.tflite(
        "TRANSPOSE_CONV",
        [size, weight, x, *([bias] if bias else [])],
        [y],
        ("TransposeConvOptions", fields),
    )
    pads, extra = [], []
    for size_out, size_in, kernel, stride in ((oh, h, kh, sh), (ow, w, kw, sw)):
        total = (size_in - 1) * stride + kernel - size_out
        pads.append((max(total, 0) // 2, max(total, 0) - max(total, 0) // 2))
        extra.append(max(-total, 0))
    case.node(
        "ConvTranspose",
        ["x", "w", *(["b"] if bias else [])],
        "y",
        strides=[sh, sw],
        kernel_shape=[kh, kw],
        pads=[pads[0][0], pads[1][0], pads[0][1], pads[1][1]],
        output_padding=extra,
    )


def fully_connected(case: Case, per_channel: bool | None = None) -> None:
    n, inner, outputs = case.integer(1, 4), case.pick([1, 3, 16, 64, 200]), case.integer(1, 20)
    x = case.input("x", (n, inner))
    scales = _weight_scales(case, outputs)
    if not per_channel:
        scales = scales[:1]
    weight = case.constant("w", _weights(case, (outputs, inner)), scales, axis=0, zero=_weight_zero(case))
    bias = _bias(case, scales, outputs, inner, x.scale[0]) if case.rng.random() < 0.7 else None
    y = case.activation("y", (n, outputs), scale=_output_scale(case, scales, inner, x.scale[0]))
    act = case.pick(ACTIVATIONS)
    case.tflite(
        "FULLY_CONNECTED",
        [x, weight, bias],
        [y],
        ("FullyConnectedOptions", {"fusedActivationFunction": _FUSED[act]}),
    )
    case.node("Gemm", ["x", "w", *(["b"] if bias else [])], case.activated(act), transB=1)
    case.activate(act)


def batch_matmul(case: Case) -> None:
    batch, m, k, n = case.integer(1, 3), case.integer(1, 5), case.integer(1, 20), case.integer(1, 5)
    a = case.input("a", (batch, m, k))
    b = case.input("b", (batch, k, n))
    levels = 73.0 * 73 * np.sqrt(k) * (65536 if case.dtype == "int16" else 1)
    scale = levels * a.scale[0] * b.scale[0] / (30000 if case.dtype == "int16" else 60)
    y = case.activation(
        "y", (batch, m, n), scale=case.near(scale * case.rng.uniform(0.3, 2), a.scale[0], b.scale[0]),
    )
    case.tflite("BATCH_MATMUL", [a, b], [y], ("BatchMatMulOptions", {"adjX": False, "adjY": False}))
    case.node("MatMul", ["a", "b"])


def _shape(case: Case, rank: int | None = None) -> tuple[int, ...]:
    rank = rank or case.pick([1, 2, 3, 4, 4])
    return tuple(case.integer(1, 6) for _ in range(rank))


def _pair(case: Case) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    shape = _shape(case)
    kind = case.pick(["same", "same", "channel", "scalar", "one"])
    other = {
        "same": shape,
        "channel": shape[-1:],
        "scalar": (1,),
        "one": tuple(1 if case.rng.random() < 0.4 else d for d in shape),
    }[kind]
    pair = (shape, other) if case.rng.random() < 0.7 else (other, shape)
    return (*pair, shape)


def _binary(case: Case, operator: str, options: str, onnx: str, scale: Callable[..., float]) -> None:
    first, second, shape = _pair(case)
    a = case.input("a", first)
    b_scale = case.near(a.scale[0] * float(np.exp(case.rng.uniform(-3, 3))), a.scale[0])
    if case.rng.random() < 0.3:
        b = case.constant("b", case.codes(case.dtype, second), [b_scale], zero=case.zero())
    else:
        b = case.input("b", second, scale=b_scale)
    y = case.activation("y", shape, scale=scale(a.scale[0], b.scale[0]))
    act = case.pick(ACTIVATIONS) if options else "NONE"
    fields: dict[str, Any] = {"fusedActivationFunction": _FUSED[act]}
    if options in ("AddOptions", "SubOptions"):
        fields["potScaleInt16"] = False
    case.tflite(operator, [a, b], [y], (options, fields) if options else None)
    case.node(onnx, ["a", "b"], case.activated(act))
    case.activate(act)


def add(case: Case) -> None:
    _binary(
        case, "ADD", "AddOptions", "Add",
        lambda a, b: case.near(max(a, b) * float(np.exp(case.rng.uniform(-0.5, 1))), a),
    )


def sub(case: Case) -> None:
    _binary(
        case, "SUB", "SubOptions", "Sub",
        lambda a, b: case.near(max(a, b) * float(np.exp(case.rng.uniform(-0.5, 1))), a),
    )


def mul(case: Case) -> None:
    reach = 12000 if case.dtype == "int16" else 50
    _binary(
        case, "MUL", "MulOptions", "Mul",
        lambda a, b: case.near(a * b * reach * float(np.exp(case.rng.uniform(-1, 1))), a, b),
    )


def _min_max(case: Case, operator: str, onnx: str) -> None:
    first, second, shape = _pair(case)
    a = case.input("a", first)
    b = case.input("b", second, scale=a.scale[0], zero=a.zero_point[0])
    y = case.activation("y", shape, scale=a.scale[0], zero=a.zero_point[0])
    case.tflite(operator, [a, b], [y], ("MaximumMinimumOptions", {}))
    case.node(onnx, ["a", "b"])


def squared_difference(case: Case) -> None:
    first, second, shape = _pair(case)
    a = case.input("a", first)
    b = case.input("b", second, scale=a.scale[0] * float(np.exp(case.rng.uniform(-1, 1))))
    y = case.activation("y", shape, scale=a.scale[0] ** 2 * 100 * case.rng.uniform(0.3, 2))
    case.tflite("SQUARED_DIFFERENCE", [a, b], [y], ("SquaredDifferenceOptions", {}))
    case.node("Sub", ["a", "b"], "d")
    case.node("Mul", ["d", "d"], "y")


def _reduce(case: Case, operator: str, onnx: str) -> None:
    shape = _shape(case, case.pick([2, 3, 4, 4]))
    if case.rng.random() < 0.15:
        shape = (1, 17, 23, 3)
    rank = len(shape)
    count = case.integer(1, rank)
    axes = sorted(case.rng.choice(rank, count, replace=False).tolist())
    if rank == 4 and case.rng.random() < 0.4:
        axes = [1, 2]
    keep = bool(case.pick([True, False]))
    x = case.input("x", shape)
    terms = int(np.prod([shape[a] for a in axes]))
    left = tuple(1 if i in axes else d for i, d in enumerate(shape) if keep or i not in axes)
    zero = None
    if operator == "SUM":
        scale = case.near(x.scale[0] * np.sqrt(terms) * case.rng.uniform(0.5, 3), x.scale[0])
    elif operator == "MEAN":
        scale = case.near(x.scale[0] * float(np.exp(case.rng.uniform(-2, 0.5))), x.scale[0])
    else:
        scale, zero = x.scale[0], x.zero_point[0]
    y = case.activation("y", left, scale=scale, zero=zero)
    axis = case.constant("axes", np.array(axes, np.int32))
    case.tflite(operator, [x, axis], [y], ("ReducerOptions", {"keepDims": keep}))
    case.init("axes64", np.array(axes, np.int64))
    case.node(onnx, ["x", "axes64"], keepdims=int(keep))


def _pool(case: Case, operator: str, onnx: str) -> None:
    n, h, w, c = (case.integer(1, k) for k in (2, 9, 9, 5))
    kh, sh, _ = _window(case, h, dilated=False)
    kw, sw, _ = _window(case, w, dilated=False)
    same = case.pick([True, False])
    oh, top, bottom = _padding(case, h, kh, sh, 1, same)
    ow, left, right = _padding(case, w, kw, sw, 1, same)
    x = case.input("x", (n, h, w, c), order=CHANNELS_FIRST)
    y = case.activation(
        "y", (n, oh, ow, c), scale=x.scale[0], zero=x.zero_point[0], order=CHANNELS_FIRST
    )
    fields = {
        "padding": 0 if same else 1,
        "strideH": sh,
        "strideW": sw,
        "filterHeight": kh,
        "filterWidth": kw,
    }
    case.tflite(operator, [x], [y], ("Pool2DOptions", fields))
    case.node(
        onnx, ["x"], kernel_shape=[kh, kw], strides=[sh, sw], pads=[top, left, bottom, right]
    )


def _every(case: Case) -> tuple[int, ...]:
    """A shape with room for every value of the input type."""
    return (65536,) if case.dtype == "int16" else (256,)


def _unary(
    case: Case,
    operator: str,
    onnx: str,
    options: tuple[str, Mapping[str, Any]] | None = None,
    output: tuple[float, int] | None = None,
    scale: float | None = None,
    positive: bool = False,
    same: bool = False,
    **attributes: Any,
) -> None:
    case.runs = 1
    limits = np.iinfo(case.dtype)
    every = np.arange(limits.min, limits.max + 1).astype(case.dtype)
    zero = case.zero()
    if positive:
        zero = int(limits.min) if case.dtype != "int16" else 0
    x = case.input("x", every.shape, scale=scale or case.scale(1e-3, 0.2), zero=zero)
    if case.dtype == "int16" and scale is None:
        x.scale = (float(np.float32(x.scale[0] / 256)),)
    y_scale = case.near(x.scale[0] * float(np.exp(case.rng.uniform(-1, 1))), x.scale[0])
    y_zero = None
    if output is not None:
        y_scale, y_zero = output
    if same:
        y_scale, y_zero = x.scale[0], x.zero_point[0]
    y = case.activation("y", every.shape, scale=y_scale, zero=y_zero)
    case.tflite(operator, [x], [y], options)
    case.node(onnx, ["x"], **attributes)
    case.feeds = lambda: [[every]]  # type: ignore[method-assign]


def _fixed(case: Case, signed: tuple[float, int], wide: float) -> tuple[float, int]:
    if case.dtype == "int16":
        return wide, 0
    scale, zero = signed
    return scale, zero + (128 if case.dtype == "uint8" else 0)


def logistic(case: Case) -> None:
    _unary(case, "LOGISTIC", "Sigmoid", output=_fixed(case, (1 / 256, -128), 1 / 32768))


def tanh(case: Case) -> None:
    _unary(case, "TANH", "Tanh", output=_fixed(case, (1 / 128, 0), 1 / 32768))


def leaky_relu(case: Case) -> None:
    alpha = float(np.float32(case.pick([0.1, 0.2, 0.01, 0.3, 0.5, 1.5, -0.2])))
    _unary(
        case, "LEAKY_RELU", "LeakyRelu", ("LeakyReluOptions", {"alpha": alpha}), alpha=alpha
    )


def elu(case: Case) -> None:
    _unary(case, "ELU", "Elu")


def gelu(case: Case) -> None:
    approximate = bool(case.pick([True, False]))
    _unary(
        case, "GELU", "Gelu", ("GeluOptions", {"approximate": approximate}),
        approximate="tanh" if approximate else "none",
    )


def relu(case: Case) -> None:
    _unary(case, "RELU", "Relu")


def relu6(case: Case) -> None:
    # One scale: TFLite Micro does not rescale here.
    _unary(case, "RELU6", "Clip", same=True)
    case.init("low", np.float32(0))
    case.init("high", np.float32(6))
    case.nodes[-1].input.extend(["low", "high"])


def prelu(case: Case) -> None:
    shape = _shape(case, 4)
    x = case.input("x", shape)
    slope_shape = case.pick([(1, 1, shape[-1]), shape[1:], (1, 1, 1)])
    slope = case.constant(
        "slope", case.codes(case.dtype, slope_shape), [case.scale(1e-3, 0.02)], zero=0
    )
    y_scale = case.near(x.scale[0] * float(np.exp(case.rng.uniform(-1, 1))), x.scale[0])
    y = case.activation("y", shape, scale=y_scale)
    case.tflite("PRELU", [x, slope], [y])
    case.node("PRelu", ["x", "slope"])


def softmax(case: Case, output: str | None = None) -> None:
    shape = _shape(case)
    if case.rng.random() < 0.3:
        shape = (3, case.pick([10, 100, 400]))
    out = output or case.dtype
    x = case.input("x", shape, scale=case.scale(1e-3, 1.0) / (256 if case.dtype == "int16" else 1))
    scale, zero = {"int8": (1 / 256, -128), "uint8": (1 / 256, 0), "int16": (1 / 32768, 0)}[out]
    if out == "int16" and case.dtype != "int16":
        scale, zero = 1 / 65536, -32768
    y = case.activation("y", shape, dtype=out, scale=scale, zero=zero)
    case.tflite("SOFTMAX", [x], [y], ("SoftmaxOptions", {"beta": 1.0}))
    case.node("Softmax", ["x"], axis=-1)


def log_softmax(case: Case) -> None:
    shape = _shape(case)
    x = case.input("x", shape, scale=case.scale(1e-3, 1.0))
    y = case.activation("y", shape, scale=16 / 256, zero=127)
    case.tflite("LOG_SOFTMAX", [x], [y], ("LogSoftmaxOptions", {}))
    case.node("LogSoftmax", ["x"], axis=-1)


def quantize(case: Case, output: str) -> None:
    shape = _every(case)
    x = case.input("x", shape)
    y_scale = x.scale[0] * float(np.exp(case.rng.uniform(-2, 2)))
    if (case.dtype, output) == ("int8", "int16"):
        y_scale /= 200
    if (case.dtype, output) == ("int16", "int8"):
        y_scale *= 200
    y = case.activation("y", shape, dtype=output, scale=case.near(y_scale, x.scale[0]))
    case.tflite("QUANTIZE", [x], [y], ("QuantizeOptions", {}))
    case.node("Identity", ["x"])


def _resize(case: Case, operator: str, mode: str) -> None:
    n, h, w, c = (case.integer(1, k) for k in (2, 7, 7, 3))
    oh, ow = case.integer(1, 15), case.integer(1, 15)
    x = case.input("x", (n, h, w, c), order=CHANNELS_FIRST)
    y = case.activation(
        "y", (n, oh, ow, c), scale=x.scale[0], zero=x.zero_point[0], order=CHANNELS_FIRST
    )
    corners, half = case.pick([(False, False), (True, False), (False, True)])
    size = case.constant("size", np.array([oh, ow], np.int32))
    kind = "ResizeBilinearOptions" if mode == "linear" else "ResizeNearestNeighborOptions"
    fields = {"alignCorners": corners, "halfPixelCenters": half}
    case.tflite(operator, [x, size], [y], (kind, fields))
    coordinates = "align_corners" if corners else "half_pixel" if half else "asymmetric"
    case.init("sizes", np.array([n, c, oh, ow], np.int64))
    nearest = {"nearest_mode": "round_prefer_ceil" if corners else "floor"}
    if mode != "linear" and half:
        nearest = {"nearest_mode": "round_prefer_ceil"}
    case.node(
        "Resize", ["x", "", "", "sizes"], mode=mode,
        coordinate_transformation_mode=coordinates, **(nearest if mode == "nearest" else {}),
    )


def concatenation(case: Case) -> None:
    shape = _shape(case, 4)
    axis = case.integer(0, 3)
    parts = [
        tuple(case.integer(1, 4) if i == axis else d for i, d in enumerate(shape)) for _ in range(3)
    ]
    a = case.input("a", parts[0])
    options = {"scale": a.scale[0], "zero": a.zero_point[0]}
    b, c = (case.input(n, p, **options) for n, p in (("b", parts[1]), ("c", parts[2])))
    total = tuple(sum(p[i] for p in parts) if i == axis else d for i, d in enumerate(shape))
    y = case.activation("y", total, **options)
    case.tflite("CONCATENATION", [a, b, c], [y], ("ConcatenationOptions", {"axis": axis}))
    case.node("Concat", ["a", "b", "c"], axis=axis)


def concatenation_rescaled(case: Case) -> None:
    """uint8 alone may state different scales."""
    concatenation(case)


#: name -> (maker, dtypes)
OPERATORS: Mapping[str, tuple[Maker, tuple[str, ...]]] = MappingProxyType(
    {
        "CONV_2D": (conv, ("int8", "int16", "uint8")),
        "DEPTHWISE_CONV_2D": (lambda c: conv(c, True), ("int8", "int16", "uint8")),
        "TRANSPOSE_CONV": (transpose_conv, ("int8", "int16")),
        "FULLY_CONNECTED": (fully_connected, ("int8", "int16", "uint8")),
        "FULLY_CONNECTED per channel": (
            lambda c: fully_connected(c, True), ("int8", "int16"),
        ),
        "BATCH_MATMUL": (batch_matmul, ("int8", "int16")),
        "ADD": (add, ("int8", "int16", "uint8")),
        "SUB": (sub, ("int8", "int16", "uint8")),
        "MUL": (mul, ("int8", "int16", "uint8")),
        "MAXIMUM": (lambda c: _min_max(c, "MAXIMUM", "Max"), ("int8", "int16", "uint8")),
        "MINIMUM": (lambda c: _min_max(c, "MINIMUM", "Min"), ("int8", "int16", "uint8")),
        "SQUARED_DIFFERENCE": (squared_difference, ("int8",)),
        "MEAN": (lambda c: _reduce(c, "MEAN", "ReduceMean"), ("int8", "int16", "uint8")),
        "SUM": (lambda c: _reduce(c, "SUM", "ReduceSum"), ("int8", "int16", "uint8")),
        "REDUCE_MAX": (lambda c: _reduce(c, "REDUCE_MAX", "ReduceMax"), ("int8", "int16")),
        "REDUCE_MIN": (lambda c: _reduce(c, "REDUCE_MIN", "ReduceMin"), ("int8", "int16")),
        "AVERAGE_POOL_2D": (
            lambda c: _pool(c, "AVERAGE_POOL_2D", "AveragePool"), ("int8", "int16", "uint8"),
        ),
        "MAX_POOL_2D": (lambda c: _pool(c, "MAX_POOL_2D", "MaxPool"), ("int8", "int16", "uint8")),
        "LOGISTIC": (logistic, ("int8", "int16", "uint8")),
        "TANH": (tanh, ("int8", "int16", "uint8")),
        "RELU": (relu, ("int8", "int16", "uint8")),
        "RELU6": (relu6, ("int8", "int16", "uint8")),
        "LEAKY_RELU": (leaky_relu, ("int8", "int16", "uint8")),
        "PRELU": (prelu, ("int8", "int16", "uint8")),
        "ELU": (elu, ("int8",)),
        "GELU": (gelu, ("int8", "int16")),
        "HARD_SWISH": (
            lambda c: _unary(c, "HARD_SWISH", "HardSwish", ("HardSwishOptions", {})),
            ("int8", "int16", "uint8"),
        ),
        "EXP": (lambda c: _unary(c, "EXP", "Exp", ("ExpOptions", {})), ("int8", "int16")),
        "LOG": (lambda c: _unary(c, "LOG", "Log", positive=True), ("int8", "int16")),
        "SQRT": (lambda c: _unary(c, "SQRT", "Sqrt", positive=True), ("int8", "int16")),
        "ABS": (lambda c: _unary(c, "ABS", "Abs", ("AbsOptions", {})), ("int8", "int16")),
        "NEG": (lambda c: _unary(c, "NEG", "Neg", ("NegOptions", {}), same=True), ("int8", "int16")),
        "SOFTMAX": (softmax, ("int8", "int16", "uint8")),
        "SOFTMAX to int16": (lambda c: softmax(c, "int16"), ("int8",)),
        "LOG_SOFTMAX": (log_softmax, ("int8",)),
        "QUANTIZE to int8": (lambda c: quantize(c, "int8"), ("int8", "int16")),
        "QUANTIZE to int16": (lambda c: quantize(c, "int16"), ("int8", "int16")),
        "QUANTIZE to uint8": (lambda c: quantize(c, "uint8"), ("int8", "uint8")),
        "RESIZE_BILINEAR": (
            lambda c: _resize(c, "RESIZE_BILINEAR", "linear"), ("int8", "int16", "uint8"),
        ),
        "RESIZE_NEAREST_NEIGHBOR": (
            lambda c: _resize(c, "RESIZE_NEAREST_NEIGHBOR", "nearest"), ("int8", "int16", "uint8"),
        ),
        "CONCATENATION": (concatenation, ("int8", "int16", "uint8")),
    }
)
