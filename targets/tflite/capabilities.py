"""What target ``tflite`` takes, operator by operator, and the kernel that computes it."""

from __future__ import annotations

from intaglio.targets.base import Capability

_BOTH = ("int8", "int16")
_BYTE = ("int8",)
_WIDTH = "one width for input and output"
_TABLE = "int8 as its own kernel where that gives the same 256 entries, else CAST, ADD, GATHER"

CAPABILITIES: tuple[Capability, ...] = (
    Capability("Conv", _BOTH, f"two-dimensional; {_WIDTH}", "CONV_2D, DEPTHWISE_CONV_2D"),
    Capability("ConvTranspose", _BOTH, f"two-dimensional; {_WIDTH}", "TRANSPOSE_CONV"),
    Capability("Gemm, MatMul", _BOTH, f"constant matrix; {_WIDTH}", "FULLY_CONNECTED"),
    Capability("MatMul", _BOTH, "two tensors, or a stack of matrices", "BATCH_MATMUL"),
    Capability("Add, Sub", _BOTH, _WIDTH, "ADD, SUB"),
    Capability("Mul", _BOTH, _WIDTH, "MUL"),
    Capability("Max, Min", _BOTH, "one scale", "MAXIMUM, MINIMUM"),
    Capability("GlobalAveragePool, ReduceMean", _BOTH, _WIDTH, "MEAN"),
    Capability("ReduceSum", _BOTH, f"profile tflm; {_WIDTH}", "SUM"),
    Capability("ReduceMax, ReduceMin", _BOTH, "int16: profile litert", "REDUCE_MAX, REDUCE_MIN"),
    Capability("AveragePool", _BOTH, "padding that is SAME or VALID", "AVERAGE_POOL_2D"),
    Capability(
        "MaxPool, GlobalMaxPool",
        _BOTH,
        "no dilations",
        "MAX_POOL_2D, after PADV2 where it pads otherwise",
    ),
    Capability("PRelu", _BOTH, _WIDTH, "PRELU; int16: RELU, MINIMUM, MUL, ADD"),
    Capability("Softmax", _BOTH, "", "SOFTMAX"),
    Capability("Relu, Clip", _BOTH, "", "fused; RELU, RELU6; QUANTIZE, MAXIMUM, MINIMUM"),
    Capability("LeakyRelu", _BOTH, "", "LEAKY_RELU"),
    Capability("Sigmoid", _BOTH, _TABLE, "LOGISTIC"),
    Capability("Tanh", _BOTH, _TABLE, "TANH"),
    Capability("Abs", _BOTH, "int16: profile litert", "ABS"),
    Capability("HardSwish", _BYTE, _TABLE, "HARD_SWISH"),
    Capability("Gelu, Exp, Log", _BOTH, f"{_TABLE}; int16: profile litert", "GELU, EXP, LOG"),
    Capability("other element-wise functions", _BYTE, _TABLE, "LUT of 256 entries"),
    Capability("Resize", _BOTH, "int16 linear: profile litert", "RESIZE_BILINEAR"),
    Capability("Resize", _BOTH, "nearest; GATHER where needed", "RESIZE_NEAREST_NEIGHBOR"),
    Capability("Pad", _BOTH, "modes but constant: GATHER", "PAD, PADV2"),
    Capability("Concat", _BOTH, "", "CONCATENATION"),
    Capability("Split", _BOTH, "", "SPLIT, SPLIT_V"),
    Capability("Slice", _BOTH, "", "SLICE, STRIDED_SLICE"),
    Capability("Gather", _BOTH, "constant indices; int16: profile litert", "GATHER"),
    Capability("Reshape, Flatten, Squeeze, Unsqueeze", _BOTH, "", "RESHAPE"),
    Capability("Transpose", _BOTH, "", "TRANSPOSE"),
    Capability("Tile, Expand", _BOTH, "", "CONCATENATION of copies"),
    Capability("DepthToSpace, SpaceToDepth", _BOTH, "", "DEPTH_TO_SPACE, SPACE_TO_DEPTH"),
)
