"""What target ``tosa`` takes, in the words of the quantized form."""

from __future__ import annotations

from intaglio.targets.base import Capability

_SOURCE = "TOSA 1.0, profile PRO-INT"
_INT8 = ("int8",)

_FLAT = "two spatial dimensions"

#: Operator, and what it must be.
_ROWS = (
    ("Conv", f"{_FLAT}; any groups, strides, dilations and padding"),
    ("ConvTranspose", f"{_FLAT}; any groups, strides, dilations and padding"),
    ("Gemm", "the weight is constant"),
    ("MatMul", "operands of two dimensions and more"),
    ("Add", ""),
    ("Sub", ""),
    ("Mul", ""),
    ("Max", ""),
    ("Min", ""),
    ("PRelu", "constant slopes"),
    ("Relu", ""),
    ("Clip", "constant bounds"),
    ("Sigmoid", "and every other function of one tensor: a table"),
    ("Softmax", "not on Ethos-U55 and U65, which have no GATHER"),
    ("AveragePool", _FLAT),
    ("GlobalAveragePool", ""),
    ("MaxPool", f"{_FLAT}; no dilations"),
    ("ReduceMean", ""),
    ("ReduceSum", ""),
    ("ReduceMax", ""),
    ("ReduceMin", ""),
    ("Concat", ""),
    ("DepthToSpace", ""),
    ("Expand", ""),
    ("Flatten", ""),
    ("Gather", "constant indices"),
    ("Pad", ""),
    ("Reshape", ""),
    ("Resize", "nearest or linear"),
    ("Slice", ""),
    ("SpaceToDepth", ""),
    ("Split", ""),
    ("Squeeze", ""),
    ("Tile", ""),
    ("Transpose", ""),
    ("Unsqueeze", ""),
)

CAPABILITIES = tuple(
    Capability(operator, _INT8, constraint, _SOURCE) for operator, constraint in _ROWS
)
