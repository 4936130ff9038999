"""Random convolutions and matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.property.tflite_case import ACTIVATIONS, FUSED, NHWC_TO_NCHW, Case


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


def window(case: Case, size: int, *, dilated: bool = True) -> tuple[int, int, int]:
    """Kernel, stride, dilation of one axis."""
    dilation = case.pick([1, 1, 2]) if dilated else 1
    kernel = case.integer(1, min(3, (size - 1) // dilation + 1))
    return kernel, case.integer(1, 3), dilation


def padding(case: Case, size: int, kernel: int, stride: int, dilation: int, same: bool):
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
    ((kh, sh, dh), (kw, sw, dw)) = (window(case, h), window(case, w))
    if depthwise:
        sw = sh
    same = case.pick([True, False])
    oh, top, bottom = padding(case, h, kh, sh, dh, same)
    ow, left, right = padding(case, w, kw, sw, dw, same)
    x = case.input("x", (n, h, w, channels), order=NHWC_TO_NCHW)
    inner = channels // group
    terms = kh * kw * (1 if depthwise else inner)
    scales = _weight_scales(case, outputs)
    if depthwise:
        weight = case.constant(
            "w",
            _weights(case, (1, kh, kw, outputs)),
            scales,
            axis=3,
            order=(3, 0, 1, 2),
            onnx_axis=0,
            zero=_weight_zero(case),
        )
    else:
        weight = case.constant(
            "w",
            _weights(case, (outputs, kh, kw, inner)),
            scales,
            axis=0,
            order=(0, 3, 1, 2),
            zero=_weight_zero(case),
        )
    bias = _bias(case, scales, outputs, terms, x.scale[0])
    y = case.activation(
        "y",
        (n, oh, ow, outputs),
        order=NHWC_TO_NCHW,
        scale=_output_scale(case, scales, terms, x.scale[0]),
    )
    act = case.pick(ACTIVATIONS)
    fields = {
        "padding": 0 if same else 1,
        "strideH": sh,
        "strideW": sw,
        "dilationHFactor": dh,
        "dilationWFactor": dw,
        "fusedActivationFunction": FUSED[act],
    }
    if depthwise:
        fields["depthMultiplier"] = multiplier
        case.tflite(
            "DEPTHWISE_CONV_2D",
            [x, weight, *([bias] if bias else [])],
            [y],
            ("DepthwiseConv2DOptions", fields),
        )
    else:
        case.tflite(
            "CONV_2D", [x, weight, *([bias] if bias else [])], [y], ("Conv2DOptions", fields)
        )
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
    x = case.input("x", (n, h, w, channels), order=NHWC_TO_NCHW)
    scales = _weight_scales(case, outputs)
    terms = channels * kh * kw // (sh * sw) + 1
    weight = case.constant(
        "w",
        _weights(case, (outputs, kh, kw, channels)),
        scales,
        axis=0,
        order=(3, 0, 1, 2),
        onnx_axis=1,
    )
    bias = _bias(case, scales, outputs, terms, x.scale[0]) if case.rng.random() < 0.7 else None
    y = case.activation(
        "y",
        (n, oh, ow, outputs),
        order=NHWC_TO_NCHW,
        scale=_output_scale(case, scales, terms, x.scale[0]),
    )
    size = case.constant("size", np.array(y.shape, np.int32))
    act = case.pick(ACTIVATIONS)
    fields = {
        "padding": 0 if same else 1,
        "strideH": sh,
        "strideW": sw,
        "fusedActivationFunction": FUSED[act],
    }
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
        case.activated(act),
        strides=[sh, sw],
        kernel_shape=[kh, kw],
        pads=[pads[0][0], pads[1][0], pads[0][1], pads[1][1]],
        output_padding=extra,
    )
    case.activate(act)


def fully_connected(case: Case, per_channel: bool | None = None) -> None:
    n, inner, outputs = case.integer(1, 4), case.pick([1, 3, 16, 64, 200]), case.integer(1, 20)
    x = case.input("x", (n, inner))
    scales = _weight_scales(case, outputs)
    if not per_channel:
        scales = scales[:1]
    weight = case.constant(
        "w", _weights(case, (outputs, inner)), scales, axis=0, zero=_weight_zero(case)
    )
    bias = _bias(case, scales, outputs, inner, x.scale[0]) if case.rng.random() < 0.7 else None
    y = case.activation("y", (n, outputs), scale=_output_scale(case, scales, inner, x.scale[0]))
    act = case.pick(ACTIVATIONS)
    case.tflite(
        "FULLY_CONNECTED",
        [x, weight, bias],
        [y],
        ("FullyConnectedOptions", {"fusedActivationFunction": FUSED[act]}),
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
        "y",
        (batch, m, n),
        scale=case.near(scale * case.rng.uniform(0.3, 2), a.scale[0], b.scale[0]),
    )
    case.tflite("BATCH_MATMUL", [a, b], [y], ("BatchMatMulOptions", {"adjX": False, "adjY": False}))
    case.node("MatMul", ["a", "b"])
