"""Random functions of one tensor: every 8-bit or 16-bit input at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.property.tflite_case import NHWC_TO_NCHW, Case
from tests.property.tflite_pairs import any_shape


def _every(case: Case) -> tuple[int, ...]:
    """A shape with room for every value of the input type."""
    return (65536,) if case.dtype == "int16" else (256,)


def unary(
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
    unary(case, "LOGISTIC", "Sigmoid", output=_fixed(case, (1 / 256, -128), 1 / 32768))


def tanh(case: Case) -> None:
    unary(case, "TANH", "Tanh", output=_fixed(case, (1 / 128, 0), 1 / 32768))


def leaky_relu(case: Case) -> None:
    alpha = float(np.float32(case.pick([0.1, 0.2, 0.01, 0.3, 0.5, 1.5, -0.2])))
    unary(case, "LEAKY_RELU", "LeakyRelu", ("LeakyReluOptions", {"alpha": alpha}), alpha=alpha)


def elu(case: Case) -> None:
    unary(case, "ELU", "Elu")


def gelu(case: Case) -> None:
    approximate = bool(case.pick([True, False]))
    unary(
        case,
        "GELU",
        "Gelu",
        ("GeluOptions", {"approximate": approximate}),
        approximate="tanh" if approximate else "none",
    )


def relu(case: Case) -> None:
    unary(case, "RELU", "Relu")


def relu6(case: Case) -> None:
    # One scale: TFLite Micro does not rescale here.
    unary(case, "RELU6", "Clip", same=True)
    case.init("low", np.float32(0))
    case.init("high", np.float32(6))
    case.nodes[-1].input.extend(["low", "high"])


def prelu(case: Case) -> None:
    shape = any_shape(case, 4)
    x = case.input("x", shape)
    slope_shape = case.pick([(1, 1, shape[-1]), shape[1:], (1, 1, 1)])
    slope = case.constant(
        "slope", case.codes(case.dtype, slope_shape), [case.scale(1e-3, 0.02)], zero=case.zero()
    )
    y_scale = case.near(x.scale[0] * float(np.exp(case.rng.uniform(-1, 1))), x.scale[0])
    y = case.activation("y", shape, scale=y_scale)
    case.tflite("PRELU", [x, slope], [y])
    case.node("PRelu", ["x", "slope"])


def softmax(case: Case) -> None:
    shape = any_shape(case)
    if case.rng.random() < 0.3:
        shape = (3, case.pick([10, 100, 400]))
    x = case.input("x", shape, scale=case.scale(1e-3, 1.0) / (256 if case.dtype == "int16" else 1))
    scale, zero = {"int8": (1 / 256, -128), "uint8": (1 / 256, 0), "int16": (1 / 32768, 0)}[
        case.dtype
    ]
    y = case.activation("y", shape, scale=scale, zero=zero)
    case.tflite("SOFTMAX", [x], [y], ("SoftmaxOptions", {"beta": 1.0}))
    case.node("Softmax", ["x"], axis=-1)


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


def resize(case: Case, operator: str, mode: str) -> None:
    n, h, w, c = (case.integer(1, k) for k in (2, 7, 7, 3))
    oh, ow = case.integer(1, 15), case.integer(1, 15)
    x = case.input("x", (n, h, w, c), order=NHWC_TO_NCHW)
    y = case.activation(
        "y", (n, oh, ow, c), scale=x.scale[0], zero=x.zero_point[0], order=NHWC_TO_NCHW
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
        "Resize",
        ["x", "", "", "sizes"],
        mode=mode,
        coordinate_transformation_mode=coordinates,
        **(nearest if mode == "nearest" else {}),
    )


def concatenation(case: Case) -> None:
    shape = any_shape(case, 4)
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
