"""The C++ snippet that registers the operators of a file in TFLite Micro."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from intaglio.passes.lower.refused import RefusedError

#: TFLite operator to the method of MicroMutableOpResolver that registers it. What is not here,
#: TFLite Micro does not have.
MICRO_OPERATORS: Mapping[str, str] = {
    "ABS": "AddAbs",
    "ADD": "AddAdd",
    "AVERAGE_POOL_2D": "AddAveragePool2D",
    "BATCH_MATMUL": "AddBatchMatMul",
    "CAST": "AddCast",
    "CONCATENATION": "AddConcatenation",
    "CONV_2D": "AddConv2D",
    "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D",
    "DEPTH_TO_SPACE": "AddDepthToSpace",
    "DEQUANTIZE": "AddDequantize",
    "FULLY_CONNECTED": "AddFullyConnected",
    "GATHER": "AddGather",
    "HARD_SWISH": "AddHardSwish",
    "LEAKY_RELU": "AddLeakyRelu",
    "LOGISTIC": "AddLogistic",
    "MAXIMUM": "AddMaximum",
    "MAX_POOL_2D": "AddMaxPool2D",
    "MEAN": "AddMean",
    "MINIMUM": "AddMinimum",
    "MUL": "AddMul",
    "PAD": "AddPad",
    "PADV2": "AddPadV2",
    "PRELU": "AddPrelu",
    "QUANTIZE": "AddQuantize",
    "REDUCE_MAX": "AddReduceMax",
    "REDUCE_MIN": "AddReduceMin",
    "RELU": "AddRelu",
    "RELU6": "AddRelu6",
    "RESHAPE": "AddReshape",
    "RESIZE_BILINEAR": "AddResizeBilinear",
    "RESIZE_NEAREST_NEIGHBOR": "AddResizeNearestNeighbor",
    "RSQRT": "AddRsqrt",
    "SLICE": "AddSlice",
    "SOFTMAX": "AddSoftmax",
    "SPACE_TO_DEPTH": "AddSpaceToDepth",
    "SPLIT": "AddSplit",
    "SPLIT_V": "AddSplitV",
    "STRIDED_SLICE": "AddStridedSlice",
    "SUB": "AddSub",
    "SUM": "AddSum",
    "TANH": "AddTanh",
    "TRANSPOSE": "AddTranspose",
    "TRANSPOSE_CONV": "AddTransposeConv",
}

#: Profile of graphs that are rounded as TFLite Micro does.
MICRO_PROFILE = "tflm"

#: Its operators without an int16 kernel, of those that this target writes for int16.
_NO_INT16 = frozenset({"ABS", "GATHER", "REDUCE_MAX", "REDUCE_MIN", "RESIZE_BILINEAR"})


def require_micro(operator: str, dtype: str) -> None:
    """Refuses an operator that TFLite Micro lacks.

    Args:
        operator: Name of the operator.
        dtype: Type of its result.

    Raises:
        RefusedError: TFLite Micro does not have it for that type.
    """
    missing = operator not in MICRO_OPERATORS
    if missing or (dtype == "int16" and operator in _NO_INT16):
        raise RefusedError(
            f"TFLite Micro has no {operator}" + ("" if missing else " for int16"),
            "lower for LiteRT: --set lower.profile=litert",
        )


def resolver_header(role: str, operators: Iterable[str], arena: int | None) -> str:
    """A C++ header for one model.

    Args:
        role: Name of the model.
        operators: Names of its operators.
        arena: Bytes of tensor arena that TFLite Micro needs; None where that was not measured.

    Returns:
        Text of the header.
    """
    used = sorted(set(operators))
    known = [name for name in used if name in MICRO_OPERATORS]
    missing = [name for name in used if name not in MICRO_OPERATORS]
    identifier = "".join(c if c.isalnum() else "_" for c in role)
    upper = identifier.upper()
    lines = [
        f"// Operators and memory of {role}.tflite for TensorFlow Lite Micro. Generated.",
        f"#ifndef INTAGLIO_{upper}_OPS_H_",
        f"#define INTAGLIO_{upper}_OPS_H_",
        "",
        '#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"',
        "",
    ]
    if arena is None:
        lines += [
            "// Install the Python package tflite-micro and convert again for the size of the",
            f"// tensor arena, INTAGLIO_{upper}_ARENA_BYTES.",
        ]
    else:
        lines += [
            "// Measured on x86-64 with the reference kernels. A 32-bit device needs less for",
            "// pointers; optimized kernels may need more for their buffers.",
            f"#define INTAGLIO_{upper}_ARENA_BYTES {arena}",
        ]
    lines += [
        "",
        f"using Intaglio{_camel(identifier)}Resolver = "
        f"tflite::MicroMutableOpResolver<{max(len(known), 1)}>;",
        "",
        f"inline TfLiteStatus Intaglio{_camel(identifier)}Register("
        f"Intaglio{_camel(identifier)}Resolver& resolver) {{",
    ]
    lines += [f"  // TFLite Micro has no {name}." for name in missing]
    for name in known:
        call = f"resolver.{MICRO_OPERATORS[name]}()"
        lines.append(f"  if ({call} != kTfLiteOk) return kTfLiteError;")
    lines += ["  return kTfLiteOk;", "}", "", f"#endif  // INTAGLIO_{upper}_OPS_H_", ""]
    return "\n".join(lines)


def _camel(identifier: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in identifier.split("_"))
