"""What each unit computes, in plain Python integers, from the scales of the quantized form alone.

Written from docs/design/arithmetic.md and the TensorFlow Lite kernels it names. Nothing here uses
the package: multipliers, shifts, zero points and tables are derived anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from tests.passes.dialect import python_integers as judge

DOUBLE, SINGLE, WIDE = judge.scale_double, judge.scale_single, judge.scale_wide


def REAL(acc: int, scale: float) -> int:  # noqa: N802
    """C's ``round(double(acc) * scale)``: it has no multiplier and no shift."""
    numerator, denominator = abs(float(acc) * scale).as_integer_ratio()
    level = (2 * numerator + denominator) // (2 * denominator)
    return level if acc >= 0 else -level


#: Kind of operator to rounding: the table of arithmetic.md.
ROUNDINGS: dict[tuple[str, str], dict[str, Callable[[int, int, int], int]]] = {
    ("tflm", "int8"): {"else": DOUBLE},
    ("litert", "int8"): {"else": DOUBLE, "fully_connected": REAL},
    ("tosa-single", "int8"): {"else": SINGLE},
    ("tflm", "int16"): {
        "else": DOUBLE,
        "conv": WIDE,
        "fully_connected": WIDE,
        "batch_matmul": WIDE,
    },
    ("litert", "int16"): {
        "else": DOUBLE,
        "conv": WIDE,
        "fully_connected": REAL,
        "batch_matmul": WIDE,
    },
    ("tosa-single", "int16"): {
        "else": SINGLE,
        "conv": WIDE,
        "fully_connected": WIDE,
        "batch_matmul": WIDE,
    },
}

#: Operators whose scales LiteRT multiplies and divides in float32.
NARROW = {"litert": {"mul", "batch_matmul", "relu", "prelu", "leaky_relu"}}


def fixed_point(scale: float) -> tuple[int, int]:
    """Multiplier in [2^30, 2^31) and total right shift."""
    mantissa, exponent = math.frexp(scale)
    multiplier = math.floor(mantissa * 2**31 + 0.5)
    if multiplier == 2**31:
        multiplier, exponent = 2**30, exponent + 1
    return multiplier, 31 - exponent


class Case:
    """One quantized graph with integers for its inputs.

    Args:
        proto: The quantized form; tensor ``t`` has constants ``t_scale`` and ``t_zero_point``.
        codes: Integers of the computed inputs, by tensor.
        profile: Arithmetic profile.
    """

    def __init__(self, proto: onnx.ModelProto, codes: dict[str, np.ndarray], profile: str) -> None:
        graph = proto.graph
        self.constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
        self.kinds = [
            n for n in graph.node if n.op_type not in ("QuantizeLinear", "DequantizeLinear")
        ]
        self.codes = {k: v.astype(np.int64) for k, v in codes.items()}
        self.profile = profile

    def scales(self, tensor: str) -> list[float]:
        return [float(s) for s in self.constants[f"{tensor}_scale"].reshape(-1)]

    def scale(self, tensor: str) -> float:
        [scale] = self.scales(tensor)
        return scale

    def zero(self, tensor: str) -> int:
        return int(self.constants[f"{tensor}_zero_point"].reshape(-1)[0])

    def dtype(self, tensor: str) -> str:
        return self.constants[f"{tensor}_zero_point"].dtype.name

    def integers(self, tensor: str) -> np.ndarray:
        if tensor in self.codes:
            return self.codes[tensor]
        return self.constants[f"{tensor}_quantized"].astype(np.int64)

    def centered(self, tensor: str) -> np.ndarray:
        return self.integers(tensor) - self.zero(tensor)

    def attribute(self, kind: str, name: str, default: Any = None) -> Any:
        [node] = [n for n in self.kinds if n.op_type == kind]
        for attribute in node.attribute:
            if attribute.name == name:
                return onnx.helper.get_attribute_value(attribute)
        return default

    def rounding(self, kind: str, tensor: str = "x") -> Callable[[int, int, int], int]:
        table = ROUNDINGS[self.profile, self.dtype(tensor)]
        return table.get(kind, table["else"])

    def ratio(self, kind: str, *factors: float) -> float:
        """The product of scales over the scale of ``y``, as precise as the runtime has it."""
        real = np.float32 if kind in NARROW.get(self.profile, ()) else np.float64
        product = real(factors[0])
        for factor in factors[1:]:
            product = product * real(factor)
        return float(product / real(self.scale("y")))

    def finish(
        self, acc: Any, scale: Any, rounding: Any, low: float = -math.inf, high: float = math.inf
    ):
        """Rescale, zero point, clamp of the output ``y``; ``scale`` a number or one a channel.

        Per-channel scales go with axis 1, or with the last axis where there are two or fewer.
        """
        limits = np.iinfo(self.dtype("y"))
        minimum, maximum = (self._level(bound, limits) for bound in (low, high))
        scales = np.atleast_1d(np.asarray(scale, np.float64))
        array = np.asarray(acc, object)
        axis = 1 if array.ndim > 2 else array.ndim - 1
        spread = np.broadcast_to(
            scales.reshape([-1 if i == axis else 1 for i in range(array.ndim)]), array.shape
        )
        result = np.zeros(array.shape, np.int64)
        for index in np.ndindex(*array.shape):
            scale = float(spread[index])
            constants = (scale,) if rounding is REAL else fixed_point(scale)
            raw = rounding(int(array[index]), *constants)
            result[index] = judge.clamp(raw + self.zero("y"), minimum, maximum)
        return result

    def _level(self, bound: float, limits: Any) -> int:
        if math.isinf(bound):
            return int(limits.min if bound < 0 else limits.max)
        steps = float(np.float32(bound) / np.float32(self.scale("y")))
        level = math.floor(abs(steps) + 0.5) * (1 if steps >= 0 else -1)
        return judge.clamp(level + self.zero("y"), limits.min, limits.max)


def products(case: Case, weight: str = "w") -> list[float]:
    """``s_x * s_w / s_y``, one or one a channel."""
    return [case.scale("x") * s / case.scale("y") for s in case.scales(weight)]


def bias(case: Case, name: str, channels: int) -> np.ndarray:
    """Integer bias (at ``s_x * s_w`` in the quantized form), zero where there is none."""
    if f"{name}_quantized" not in case.constants:
        return np.zeros(channels, np.int64)
    return np.broadcast_to(case.integers(name).reshape(-1), (channels,))


def conv(case: Case, low: float = -math.inf, high: float = math.inf) -> np.ndarray:
    weight = case.integers("w")
    acc = judge.conv(
        case.centered("x"),
        weight,
        case.attribute("Conv", "strides", [1, 1]),
        case.attribute("Conv", "pads", [0, 0, 0, 0]),
        case.attribute("Conv", "dilations", [1, 1]),
        case.attribute("Conv", "group", 1),
    )
    acc = acc + bias(case, "b", len(weight)).reshape(1, -1, 1, 1)
    return case.finish(acc, products(case), case.rounding("conv"), low, high)


def conv_transpose(case: Case) -> np.ndarray:
    weight = case.integers("w")
    group = case.attribute("ConvTranspose", "group", 1)
    acc = judge.conv_transpose(
        case.integers("x"),
        weight,
        case.zero("x"),
        case.attribute("ConvTranspose", "strides", [1, 1]),
        case.attribute("ConvTranspose", "pads", [0, 0, 0, 0]),
        case.attribute("ConvTranspose", "output_padding", [0, 0]),
        case.attribute("ConvTranspose", "dilations", [1, 1]),
        group,
    )
    acc = acc + bias(case, "b", acc.shape[1]).reshape(1, -1, 1, 1)
    scales = products(case)
    # The same channel of every group has one scale.
    return case.finish(acc, scales * (group if len(scales) > 1 else 1), case.rounding("conv"))


def gemm(case: Case) -> np.ndarray:
    weight = case.integers("w").T
    acc = judge.matmul(case.centered("x"), weight) + bias(case, "b", weight.shape[1])
    return case.finish(acc, products(case), case.rounding("fully_connected"))


def matmul(case: Case, second: str) -> np.ndarray:
    first, other = case.centered("x"), case.centered(second)
    lead = first.shape[:-2]
    rows = first.reshape(-1, *first.shape[-2:])
    columns = np.broadcast_to(other, (*lead, *other.shape[-2:])).reshape(-1, *other.shape[-2:])
    acc = np.stack([judge.matmul(a, b) for a, b in zip(rows, columns, strict=True)])
    kind = "fully_connected" if second == "w" else "batch_matmul"
    scales = np.asarray([case.ratio(kind, case.scale("x"), s) for s in case.scales(second)])
    acc = acc.reshape(*lead, *acc.shape[-2:])
    # Channels are the last axis here: brought to axis 1 and back.
    moved = case.finish(np.moveaxis(acc, -1, 1), scales, case.rounding(kind))
    return np.moveaxis(moved, 1, -1)


def add(case: Case, other: str, sign: int, low: float = -math.inf) -> np.ndarray:
    kinds = {case.dtype(t) for t in ("x", other, "y")}
    left = 15 if "int16" in kinds else 20
    twice = 2 * max(case.scale("x"), case.scale(other))
    rounding = case.rounding("add", "x" if case.dtype("x") == "int16" else other)
    terms = []
    for tensor in ("x", other):
        multiplier, shift = fixed_point(case.scale(tensor) / twice)
        wide = case.centered(tensor).astype(object) << left
        terms.append(
            np.vectorize(lambda v, m=multiplier, s=shift: rounding(int(v), m, s), otypes=[object])(
                wide
            )
        )
    total = terms[0] + sign * terms[1]
    return case.finish(total, twice / (2.0**left * case.scale("y")), rounding, low)


def mul(case: Case, other: str) -> np.ndarray:
    product = case.centered("x").astype(object) * case.centered(other)
    ratio = case.ratio("mul", case.scale("x"), case.scale(other))
    return case.finish(product, ratio, case.rounding("mul"))


def mean(case: Case, axes: tuple[int, ...], keepdims: bool) -> np.ndarray:
    x = case.centered("x")
    total = x.sum(axis=axes, keepdims=keepdims)
    count = int(np.prod([x.shape[a] for a in axes]))
    multiplier, shift = fixed_point(case.scale("x") / case.scale("y"))
    places = min(count.bit_length() - 1, 32, 62 - shift)
    folded, moved = (multiplier << places) // count, shift + places
    rounding = case.rounding("mean")
    limits = np.iinfo(case.dtype("y"))
    values = [
        judge.clamp(rounding(int(v), folded, moved) + case.zero("y"), limits.min, limits.max)
        for v in total.reshape(-1)
    ]
    return np.array(values, np.int64).reshape(total.shape)


def prelu(case: Case) -> np.ndarray:
    x, slope = np.broadcast_arrays(case.centered("x"), case.integers("slope"))
    positive = fixed_point(case.ratio("prelu", case.scale("x")))
    negative = fixed_point(case.ratio("prelu", case.scale("x"), case.scale("slope")))
    rounding = case.rounding("prelu")
    limits = np.iinfo(case.dtype("y"))
    values = [
        rounding(int(v), *positive) if v >= 0 else rounding(int(v) * int(a), *negative)
        for v, a in zip(x.reshape(-1), slope.reshape(-1), strict=True)
    ]
    return np.clip(np.array(values).reshape(x.shape) + case.zero("y"), limits.min, limits.max)


def requantize(case: Case, tensor: str, low: float = -math.inf, high: float = math.inf):
    kind = "requantize" if math.isinf(low) else "relu"
    ratio = case.ratio(kind, case.scale(tensor))
    return case.finish(case.centered(tensor), ratio, case.rounding(kind, tensor), low, high)


def leaky_relu(case: Case, alpha: float) -> np.ndarray:
    ratio = case.ratio("leaky_relu", case.scale("x"))
    x = case.centered("x")
    positive = case.finish(x, ratio, case.rounding("leaky_relu"))
    slope = case.ratio("leaky_relu", case.scale("x"), float(np.float32(alpha)))
    negative = case.finish(x, slope, case.rounding("leaky_relu"))
    return np.where(x >= 0, positive, negative)


def average_pool(case: Case) -> np.ndarray:
    return judge.average_pool(
        case.integers("x"),
        case.attribute("AveragePool", "kernel_shape"),
        case.attribute("AveragePool", "strides", [1, 1]),
        case.attribute("AveragePool", "pads", [0, 0, 0, 0]),
        case.attribute("AveragePool", "ceil_mode", 0),
    )


def resize(case: Case, height: int, width: int, mode: str) -> np.ndarray:
    return judge.resize_linear(case.integers("x"), height, width, mode)


def softmax(case: Case, axis: int) -> np.ndarray:
    return judge.softmax(case.integers("x"), np.array(exponentials(case.scale("x"))), axis)


def concat(case: Case, tensors: list[str], axis: int) -> np.ndarray:
    return np.concatenate([requantize(case, t) for t in tensors], axis=axis)


def exponentials(scale: float) -> list[int]:
    """exp(-scale * k) in Q0.31 for k = 0..255, as gemmlowp computes it from Q5.26."""
    mantissa, left = math.frexp(min(scale * 2.0**26, 2.0**31 - 1))
    multiplier = math.floor(mantissa * 2**31 + 0.5)
    if multiplier == 2**31:
        multiplier, left = 2**30, left + 1
    smallest = -math.floor(31 * 2.0**26 / 2.0**left)
    return [
        exp_negative(judge.doubling_high_mul(-k << left, multiplier)) if -k >= smallest else 0
        for k in range(256)
    ]


def exp_negative(a: int) -> int:
    """gemmlowp exp_on_negative_values for Q5.26."""
    if a == 0:
        return 2**31 - 1
    multiply = judge.doubling_high_mul
    quarter = 1 << 24
    fraction = (a & (quarter - 1)) - quarter
    x = (fraction << 5) + (1 << 28)
    x2 = multiply(x, x)
    x3, x4 = multiply(x2, x), multiply(x2, x2)
    tail = multiply(judge.divide_by_pot(x4, 2) + x3, 715827883) + x2
    result = 1895147668 + multiply(1895147668, x + judge.divide_by_pot(tail, 1))
    rest = fraction - a
    factors = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
    for bit, factor in enumerate(factors, start=24):
        if rest >> bit & 1:
            result = multiply(result, factor)
    return result
