"""Every TFLite operator that is compared: how a random case is made, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from tests.property.tflite_case import Case
from tests.property.tflite_functions import (
    concatenation,
    elu,
    gelu,
    leaky_relu,
    logistic,
    prelu,
    quantize,
    relu,
    relu6,
    resize,
    softmax,
    tanh,
    unary,
)
from tests.property.tflite_pairs import add, min_max, mul, pool, reduce, sub
from tests.property.tflite_products import batch_matmul, conv, fully_connected, transpose_conv

Maker = Callable[[Case], None]

#: name -> (maker, dtypes)
OPERATORS: Mapping[str, tuple[Maker, tuple[str, ...]]] = MappingProxyType(
    {
        "CONV_2D": (conv, ("int8", "int16", "uint8")),
        "DEPTHWISE_CONV_2D": (lambda c: conv(c, True), ("int8", "int16", "uint8")),
        "TRANSPOSE_CONV": (transpose_conv, ("int8", "int16")),
        "FULLY_CONNECTED": (fully_connected, ("int8", "int16", "uint8")),
        "FULLY_CONNECTED per channel": (
            lambda c: fully_connected(c, True),
            ("int8", "int16"),
        ),
        "BATCH_MATMUL": (batch_matmul, ("int8", "int16")),
        "ADD": (add, ("int8", "int16", "uint8")),
        "SUB": (sub, ("int8", "int16", "uint8")),
        "MUL": (mul, ("int8", "int16", "uint8")),
        "MAXIMUM": (lambda c: min_max(c, "MAXIMUM", "Max"), ("int8", "int16", "uint8")),
        "MINIMUM": (lambda c: min_max(c, "MINIMUM", "Min"), ("int8", "int16", "uint8")),
        "MEAN": (lambda c: reduce(c, "MEAN", "ReduceMean"), ("int8", "int16", "uint8")),
        "SUM": (lambda c: reduce(c, "SUM", "ReduceSum"), ("int8", "int16", "uint8")),
        "REDUCE_MAX": (lambda c: reduce(c, "REDUCE_MAX", "ReduceMax"), ("int8", "int16")),
        "REDUCE_MIN": (lambda c: reduce(c, "REDUCE_MIN", "ReduceMin"), ("int8", "int16")),
        "AVERAGE_POOL_2D": (
            lambda c: pool(c, "AVERAGE_POOL_2D", "AveragePool"),
            ("int8", "int16", "uint8"),
        ),
        "MAX_POOL_2D": (lambda c: pool(c, "MAX_POOL_2D", "MaxPool"), ("int8", "int16", "uint8")),
        "LOGISTIC": (logistic, ("int8", "int16", "uint8")),
        "TANH": (tanh, ("int8", "int16", "uint8")),
        "RELU": (relu, ("int8", "int16", "uint8")),
        "RELU6": (relu6, ("int8", "int16", "uint8")),
        "LEAKY_RELU": (leaky_relu, ("int8", "int16", "uint8")),
        "PRELU": (prelu, ("int8", "int16", "uint8")),
        "ELU": (elu, ("int8",)),
        "GELU": (gelu, ("int8", "int16")),
        "HARD_SWISH": (
            lambda c: unary(c, "HARD_SWISH", "HardSwish", ("HardSwishOptions", {})),
            ("int8", "int16", "uint8"),
        ),
        "EXP": (lambda c: unary(c, "EXP", "Exp", ("ExpOptions", {})), ("int8", "int16")),
        "LOG": (lambda c: unary(c, "LOG", "Log", positive=True), ("int8", "int16")),
        "ABS": (lambda c: unary(c, "ABS", "Abs", ("AbsOptions", {})), ("int8", "int16")),
        "SOFTMAX": (softmax, ("int8", "int16", "uint8")),
        "QUANTIZE to int8": (lambda c: quantize(c, "int8"), ("int8", "int16")),
        "QUANTIZE to int16": (lambda c: quantize(c, "int16"), ("int8", "int16")),
        "QUANTIZE to uint8": (lambda c: quantize(c, "uint8"), ("int8", "uint8")),
        "RESIZE_BILINEAR": (
            lambda c: resize(c, "RESIZE_BILINEAR", "linear"),
            ("int8", "int16", "uint8"),
        ),
        "RESIZE_NEAREST_NEIGHBOR": (
            lambda c: resize(c, "RESIZE_NEAREST_NEIGHBOR", "nearest"),
            ("int8", "int16", "uint8"),
        ),
        "CONCATENATION": (concatenation, ("int8", "int16", "uint8")),
    }
)

#: Cases that the runtime refuses: it has no such kernel. None in TFLite Micro have uint8.
MISSING: frozenset[tuple[str, str, str]] = frozenset(
    {
        ("REDUCE_MAX", "int16", "tflm"),
        ("REDUCE_MIN", "int16", "tflm"),
        ("PRELU", "int16", "tflm"),
        ("GELU", "int8", "tflm"),
        ("GELU", "int16", "tflm"),
        ("HARD_SWISH", "int16", "tflm"),
        ("HARD_SWISH", "int16", "litert"),
        ("EXP", "int8", "tflm"),
        ("EXP", "int16", "tflm"),
        ("LOG", "int8", "tflm"),
        ("LOG", "int16", "tflm"),
        ("RESIZE_BILINEAR", "int16", "tflm"),
        *((name, "uint8", "tflm") for name, (_, dtypes) in OPERATORS.items() if "uint8" in dtypes),
    }
)

#: Differences that are known: the most LSB, the largest share of values, and why.
EXCEPTIONS: Mapping[tuple[str, str, str], tuple[int, float, str]] = MappingProxyType(
    {
        ("GELU", "int16", "litert"): (
            1,
            0.02,
            "entries of its table hang on the last bit of the C library's erfcf and tanhf",
        ),
        ("CONV_2D", "uint8", "litert"): (1, 0.02, "uint8 kernels multiply scales in float32"),
        ("DEPTHWISE_CONV_2D", "uint8", "litert"): (
            1,
            0.02,
            "uint8 kernels multiply scales in float32",
        ),
        ("SUM", "int8", "litert"): (1, 0.5, "the built-in kernel that stands in rounds otherwise"),
        ("SUM", "int16", "litert"): (1, 0.5, "the built-in kernel that stands in rounds otherwise"),
        ("SUM", "uint8", "litert"): (1, 0.5, "the built-in kernel that stands in rounds otherwise"),
        ("AVERAGE_POOL_2D", "uint8", "litert"): (1, 0.5, "the uint8 kernel rounds otherwise"),
        ("RESIZE_BILINEAR", "uint8", "litert"): (2, 0.5, "the uint8 kernel rounds otherwise"),
    }
)

#: What LiteRT's reference resolver cannot judge: its SUM (2.3.0) gives numbers without relation to
#: its input, and it has no ELU. The optimized built-in kernels stand in for it.
BUILTIN: frozenset[str] = frozenset({"SUM", "ELU"})

#: Kernels that give numbers without meaning: LiteRT prepares no multipliers for them.
BROKEN: frozenset[tuple[str, str, str]] = frozenset({("PRELU", "int16", "litert")})


def cases() -> list[tuple[str, str, str]]:
    """Operator, type and profile of everything that a runtime computes."""
    return [
        (name, dtype, profile)
        for name, (_, dtypes) in OPERATORS.items()
        for dtype in dtypes
        for profile in ("tflm", "litert")
        if (name, dtype, profile) not in MISSING | BROKEN
    ]


def judge(name: str, profile: str) -> str:
    """The runtime that a profile is compared with."""
    return "litert-builtin" if profile == "litert" and name in BUILTIN else profile
