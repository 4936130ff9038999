"""Multiply-accumulates of a node, in float graphs and in integer ones.

A convolution makes each element of its output from ``C_in / group * k_h * k_w`` products, a matrix
product from as many as it sums over, and a transposed convolution adds each element of its input
into ``C_out / group * k_h * k_w`` others. All else has no products of weights and counts nothing.
"""

from __future__ import annotations

import math

import onnx_ir as ir

_CONVOLUTIONS = frozenset({"Conv", "ConvInteger", "ConvInteger16", "ConvInteger8By16"})
_TRANSPOSED = frozenset({"ConvTranspose", "ConvTransposeInteger", "ConvTransposeInteger16"})
_PRODUCTS = frozenset(
    {
        "Gemm",
        "MatMul",
        "MatMulInteger",
        "MatMulInteger16",
        "MatMulInteger16By16",
        "MatMulInteger8By16",
    }
)

#: Accumulators are followed through so many operators to one whose shape is noted.
_LONGEST_TAIL = 4


def count_macs(node: ir.Node) -> int | None:
    """Multiply-accumulates of one run of a node, 0 for operators without products of weights.

    Args:
        node: A node of the standard or of our dialect.

    Returns:
        The count, None where a dimension is not known; a symbolic first dimension counts as 1.
    """
    kind = node.op_type
    if kind not in _CONVOLUTIONS | _TRANSPOSED | _PRODUCTS:
        return 0
    left_dims, right_dims = dimensions(node.inputs[0]), dimensions(node.inputs[1])
    if left_dims is None or right_dims is None:
        return None
    if kind in _TRANSPOSED:
        return math.prod(left_dims) * math.prod(right_dims[1:])
    out_dims = _result_dimensions(node.outputs[0])
    if out_dims is None:
        return None
    if kind in _CONVOLUTIONS:
        return math.prod(out_dims) * math.prod(right_dims[1:])
    transposed = node.attributes.get_int("transA", 0) if kind == "Gemm" else 0
    inner = left_dims[0] if transposed else left_dims[-1]
    return math.prod(out_dims) * inner


def dimensions(value: ir.Value | None) -> list[int] | None:
    """Dimensions of ``value``, a symbolic first one as 1; None where another is not known."""
    if value is None or value.shape is None:
        return None
    dims: list[int] = []
    for index, dim in enumerate(value.shape):
        if isinstance(dim, int):
            dims.append(dim)
        elif index == 0:
            dims.append(1)
        else:
            return None
    return dims


def _result_dimensions(value: ir.Value) -> list[int] | None:
    """Dimensions of ``value``, or of what is made from it: lowering notes none on accumulators."""
    for _ in range(_LONGEST_TAIL):
        if value.shape is not None:
            return dimensions(value)
        # The bias and the rescaling behind an accumulator change no shape.
        readers = [use.node for use in value.uses()]
        if len(readers) != 1 or not readers[0].outputs:
            return None
        value = readers[0].outputs[0]
    return None
