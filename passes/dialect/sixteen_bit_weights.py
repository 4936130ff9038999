"""Products of int8 activations and int16 weights: what a model computes whose weights train.

``w = 256*high + (low + 128)``, with ``high = w >> 8`` (downward) and ``low = (w & 255) - 128`` both
int8, so that two int8 products, the second with a weight zero point of -128, give the exact 64-bit
sum for every int16 weight. Both have operands of equal sign, which no CPU saturates.

The weights may be computed: a training step gives the same node perturbed ones.
"""

from __future__ import annotations

from intaglio.passes.dialect.specification import Attribute, FunctionSpecification, Tensor

#: Largest magnitude of a weight between and within steps: the grid is symmetric.
WEIGHT_LIMIT = 32767

#: Products of one sum: a half sums ``255 * 255`` for each, and must fit int32.
MOST_PRODUCTS = (2**31 - 1) // (255 * 255)

_ATTRIBUTES = tuple(
    Attribute(name, "as of Conv; may be left out")
    for name in ("dilations", "group", "kernel_shape", "pads", "strides")
)

_SPLIT = """
  low_bits = Constant <value = int32 {255}> ()
  middle = Constant <value = int32 {128}> ()
  byte = Constant <value = int32 {256}> ()
  high_zero_point = Constant <value = int8 {0}> ()
  low_zero_point = Constant <value = int8 {-128}> ()
  WEIGHT_integer = Cast <to = 6> (WEIGHT)
  low_byte = BitwiseAnd (WEIGHT_integer, low_bits)
  low_signed = Sub (low_byte, middle)
  low = Cast <to = 3> (low_signed)
  high_part = Sub (WEIGHT_integer, low_byte)
  high_byte = Div (high_part, byte)
  high = Cast <to = 3> (high_byte)
"""

_JOIN = """
  byte_wide = Constant <value = int64 {256}> ()
  low_wide = Cast <to = 7> (low_acc)
  high_wide = Cast <to = 7> (high_acc)
  high_shifted = Mul (high_wide, byte_wide)
  acc = Add (high_shifted, low_wide)
"""

_LIMIT = f"The sums of each half must fit int32: up to {MOST_PRODUCTS:,} products."

_CONV = FunctionSpecification(
    name="ConvInteger8By16",
    description=f"Conv of int8 activations and int16 weights, exact in 64 bits. {_LIMIT}",
    formula="256 * ConvInteger(x, w >> 8) + ConvInteger(x, w & 255)",
    source="ConvInteger of ONNX with weights of two bytes",
    inputs=(
        Tensor("x", "int8", "[N, Cin, ...]", "activations"),
        Tensor("w", "int16", "[Cout, Cin/group, ...]", "weights, zero point 0"),
        Tensor("x_zero_point", "int8", "scalar", "zero point of x"),
    ),
    attributes=_ATTRIBUTES,
    output=Tensor("acc", "int64", "as of Conv", "accumulators"),
    body=_SPLIT.replace("WEIGHT", "w")
    + """
  high_acc = ConvInteger <dilations: ints = @dilations, group: int = @group,
    kernel_shape: ints = @kernel_shape, pads: ints = @pads, strides: ints = @strides>
    (x, high, x_zero_point, high_zero_point)
  low_acc = ConvInteger <dilations: ints = @dilations, group: int = @group,
    kernel_shape: ints = @kernel_shape, pads: ints = @pads, strides: ints = @strides>
    (x, low, x_zero_point, low_zero_point)
"""
    + _JOIN,
)

_MATMUL = FunctionSpecification(
    name="MatMulInteger8By16",
    description=f"MatMul of int8 activations and int16 weights, exact in 64 bits. {_LIMIT}",
    formula="256 * MatMulInteger(a, b >> 8) + MatMulInteger(a, b & 255)",
    source="MatMulInteger of ONNX with weights of two bytes",
    inputs=(
        Tensor("a", "int8", "[..., M, K]", "activations"),
        Tensor("b", "int16", "[K, N]", "weights, zero point 0"),
        Tensor("a_zero_point", "int8", "scalar", "zero point of a"),
    ),
    output=Tensor("acc", "int64", "[..., M, N]", "accumulators"),
    body=_SPLIT.replace("WEIGHT", "b")
    + """
  high_acc = MatMulInteger (a, high, a_zero_point, high_zero_point)
  low_acc = MatMulInteger (a, low, a_zero_point, low_zero_point)
"""
    + _JOIN,
)

SPECIFICATIONS = (_CONV, _MATMUL)
