"""Convolutions and products that ONNX has no integer operator for.

int16 activations times int8 weights: ``x = 256*high + (low + 128)``, with ``high = x >> 8`` and
``low = (x & 255) - 128`` both int8, so that two int8 convolutions, the second with zero point
-128, give the exact 64-bit sum. Both have operands of equal sign, which no CPU saturates.
"""

from __future__ import annotations

from intaglio.passes.dialect.specification import Attribute, FunctionSpecification, Tensor

_CONVOLUTION_ATTRIBUTES = tuple(
    Attribute(name, "as of Conv; may be left out")
    for name in ("dilations", "group", "kernel_shape", "pads", "strides")
)

_TRANSPOSE_ATTRIBUTES = (
    Attribute("dilations", "distance of the kernel's elements", (1, 1)),
    Attribute("group", "number of groups", 1),
    Attribute("output_padding", "rows and columns added at the end", (0, 0)),
    Attribute("pads", "cropped from the result: top, left, bottom, right", (0, 0, 0, 0)),
    Attribute("strides", "rows and columns from one input element to the next", (1, 1)),
)

_WEIGHT_TRANSPOSED = Tensor("w", "int8", "[Cin, Cout/group, kH, kW]", "weights, zero point 0")

_TRANSPOSE_SHAPE = (
    "[N, Cout, OH, OW], OH = strides*(H-1) + output_padding + (kH-1)*dilations + 1 - pads"
)

_SPLIT = """
  low_bits = Constant <value = int32 {255}> ()
  middle = Constant <value = int32 {128}> ()
  byte = Constant <value = int32 {256}> ()
  low_zero_point = Constant <value = int8 {-128}> ()
  high_zero_point = Constant <value = int8 {0}> ()
  VALUE_integer = Cast <to = 6> (VALUE)
  low_byte = BitwiseAnd (VALUE_integer, low_bits)
  low_signed = Sub (low_byte, middle)
  low = Cast <to = 3> (low_signed)
  high_part = Sub (VALUE_integer, low_byte)
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

_SPLIT_LIMIT = "The sums of each half must fit int32: sum |w| < 2^31 / 255."

_CONV = FunctionSpecification(
    name="ConvInteger16",
    description=f"Conv of int16 activations and int8 weights, exact in 64 bits. {_SPLIT_LIMIT}",
    formula="256 * ConvInteger(x >> 8, w) + ConvInteger(x & 255, w)",
    source="TensorFlow Lite reference_integer_ops::ConvPerChannel (int16x8)",
    inputs=(
        Tensor("x", "int16", "[N, Cin, ...]", "activations, zero point 0"),
        Tensor("w", "int8", "[Cout, Cin/group, ...]", "weights, zero point 0"),
    ),
    attributes=_CONVOLUTION_ATTRIBUTES,
    output=Tensor("acc", "int64", "as of Conv", "accumulators"),
    body=_SPLIT.replace("VALUE", "x")
    + """
  high_acc = ConvInteger <dilations: ints = @dilations, group: int = @group,
    kernel_shape: ints = @kernel_shape, pads: ints = @pads, strides: ints = @strides>
    (high, w, high_zero_point)
  low_acc = ConvInteger <dilations: ints = @dilations, group: int = @group,
    kernel_shape: ints = @kernel_shape, pads: ints = @pads, strides: ints = @strides>
    (low, w, low_zero_point)
"""
    + _JOIN,
)

_MATMUL = FunctionSpecification(
    name="MatMulInteger16",
    description=f"MatMul of int16 activations and int8 weights, exact in 64 bits. {_SPLIT_LIMIT}",
    formula="256 * MatMulInteger(a >> 8, b) + MatMulInteger(a & 255, b)",
    source="TensorFlow Lite reference_integer_ops::FullyConnected (int16x8)",
    inputs=(
        Tensor("a", "int16", "[..., M, K]", "activations, zero point 0"),
        Tensor("b", "int8", "[..., K, N]", "weights, zero point 0"),
    ),
    output=Tensor("acc", "int64", "[..., M, N]", "accumulators"),
    body=_SPLIT.replace("VALUE", "a")
    + """
  high_acc = MatMulInteger (high, b, high_zero_point)
  low_acc = MatMulInteger (low, b, low_zero_point)
"""
    + _JOIN,
)

_MATMUL_16_BY_16 = FunctionSpecification(
    name="MatMulInteger16By16",
    description="MatMul of two int16 tensors, exact in 64 bits.",
    formula="sum over k of a[..., m, k] * b[..., k, n]",
    source="TensorFlow Lite reference_ops::BatchMatMul (int16)",
    inputs=(
        Tensor("a", "int16", "[..., M, K]", "first operand, zero point 0"),
        Tensor("b", "int16", "[..., K, N]", "second operand, zero point 0"),
    ),
    output=Tensor("acc", "int64", "[..., M, N]", "accumulators"),
    body="""
  a_wide = Cast <to = 7> (a)
  b_wide = Cast <to = 7> (b)
  acc = MatMul (a_wide, b_wide)
""",
)

# Sizes along the two image axes are columns [2, 1]: two of them side by side, read row by row,
# interleave to the shapes of the Reshapes.
_CONV_TRANSPOSE = FunctionSpecification(
    name="ConvTransposeInteger",
    description="ConvTranspose of int8 as one ConvInteger with stride 1: output row "
    "stride*i + phase sees every stride-th row of the kernel only, so each phase is a convolution "
    "with a sub-kernel. The phases are computed as channels and then interleaved. Any group, "
    "stride, dilation and padding; two image axes.",
    formula="sum over i, k with i*stride + k*dilation = o + pad of (x[i] - x_zero_point) * w[k]",
    source="ConvTranspose of ONNX in integers; TensorFlow Lite TRANSPOSE_CONV before its rescale",
    inputs=(
        Tensor("x", "int8", "[N, Cin, H, W]", "activations"),
        _WEIGHT_TRANSPOSED,
        Tensor("x_zero_point", "int8", "scalar", "zero point of x"),
    ),
    attributes=_TRANSPOSE_ATTRIBUTES,
    output=Tensor("acc", "int32", _TRANSPOSE_SHAPE, "accumulators"),
    body="""
  zero = Constant <value = int8 {0}> ()
  one = Constant <value = int64 {1}> ()
  ones = Constant <value = int64[2,1] {1, 1}> ()
  no_pads = Constant <value = int64[2] {0, 0}> ()
  column = Constant <value = int64[2] {-1, 1}> ()
  flat = Constant <value = int64[1] {-1}> ()
  image_axes = Constant <value = int64[2] {2, 3}> ()
  group_count = Constant <value_int: int = @group> ()
  groups = Reshape (group_count, flat)
  stride_list = Constant <value_ints: ints = @strides> ()
  stride = Reshape (stride_list, column)
  dilation_list = Constant <value_ints: ints = @dilations> ()
  dilation = Reshape (dilation_list, column)
  output_padding_list = Constant <value_ints: ints = @output_padding> ()
  extra = Reshape (output_padding_list, column)
  pad_list = Constant <value_ints: ints = @pads> ()
  pad_begin, pad_end = Split <axis = 0, num_outputs = 2> (pad_list)
  pad_begin_column = Reshape (pad_begin, column)
  pad_end_column = Reshape (pad_end, column)

  channels = Shape <start = 0, end = 2> (w)
  channels_in = Shape <start = 0, end = 1> (w)
  group_out = Shape <start = 1, end = 2> (w)
  group_in = Div (channels_in, groups)
  channels_out = Mul (group_out, groups)
  kernel_list = Shape <start = 2> (w)
  kernel = Reshape (kernel_list, column)

  spread_column = Concat <axis = 1> (kernel, ones)
  spread_list = Reshape (spread_column, flat)
  spread_shape = Concat <axis = 0> (channels, spread_list)
  spread = Reshape (w, spread_shape)
  gap_axes = Constant <value = int64[2] {3, 5}> ()
  gap_column = Sub (dilation, ones)
  gap = Reshape (gap_column, flat)
  gap_pads = Concat <axis = 0> (no_pads, gap)
  gapped = Pad (spread, gap_pads, zero, gap_axes)
  gapped_size = Mul (kernel, dilation)
  gapped_list = Reshape (gapped_size, flat)
  dilated_shape = Concat <axis = 0> (channels, gapped_list)
  dilated = Reshape (gapped, dilated_shape)

  reach_less_one = Sub (gapped_size, gap_column)
  reach = Add (reach_less_one, extra)
  reach_nudged_up = Add (reach, stride)
  reach_nudged = Sub (reach_nudged_up, ones)
  taps = Div (reach_nudged, stride)
  whole = Mul (taps, stride)
  missing_column = Sub (whole, gapped_size)
  missing = Reshape (missing_column, flat)
  whole_pads = Concat <axis = 0> (no_pads, missing)
  whole_kernel = Pad (dilated, whole_pads, zero, image_axes)
  tap_phase_column = Concat <axis = 1> (taps, stride)
  tap_phase = Reshape (tap_phase_column, flat)
  split_shape = Concat <axis = 0> (groups, group_in, group_out, tap_phase)
  split = Reshape (whole_kernel, split_shape)
  tap_axes = Constant <value = int64[2] {3, 5}> ()
  last = Constant <value = int64[2] {-1, -1}> ()
  before_first = Constant <value = int64[2] {-9223372036854775807, -9223372036854775807}> ()
  flipped = Slice (split, last, before_first, tap_axes, last)
  phases_first = Transpose <perm = [0, 2, 4, 6, 1, 3, 5]> (flipped)
  taps_list = Reshape (taps, flat)
  phase_list = Reshape (stride, flat)
  phase_count = ReduceProd <keepdims = 1> (phase_list)
  phase_channels = Mul (channels_out, phase_count)
  kernels_shape = Concat <axis = 0> (phase_channels, group_in, taps_list)
  kernels = Reshape (phases_first, kernels_shape)

  border_column = Sub (taps, ones)
  border = Reshape (border_column, flat)
  border_pads = Concat <axis = 0> (border, border)
  bordered = Pad (x, border_pads, x_zero_point, image_axes)
  phases = ConvInteger <group: int = @group> (bordered, kernels, x_zero_point)

  batch = Shape <start = 0, end = 1> (x)
  cells_list = Shape <start = 2> (phases)
  phases_shape = Concat <axis = 0> (batch, channels_out, phase_list, cells_list)
  phases_apart = Reshape (phases, phases_shape)
  interleaved = Transpose <perm = [0, 1, 4, 2, 5, 3]> (phases_apart)
  cells = Reshape (cells_list, column)
  full_size = Mul (cells, stride)
  full_list = Reshape (full_size, flat)
  full_shape = Concat <axis = 0> (batch, channels_out, full_list)
  full = Reshape (interleaved, full_shape)

  image_list = Shape <start = 2> (x)
  image = Reshape (image_list, column)
  image_less_one = Sub (image, ones)
  span = Mul (image_less_one, stride)
  span_and_reach = Add (span, reach)
  crop_end_column = Sub (span_and_reach, pad_end_column)
  crop_end = Reshape (crop_end_column, flat)
  acc = Slice (full, pad_begin, crop_end, image_axes)
""",
)

_CONV_TRANSPOSE_16 = FunctionSpecification(
    name="ConvTransposeInteger16",
    description="ConvTranspose of int16 activations and int8 weights, exact in 64 bits. "
    + _SPLIT_LIMIT,
    formula="256 * ConvTransposeInteger(x >> 8, w) + ConvTransposeInteger(x & 255, w)",
    source="TensorFlow Lite TRANSPOSE_CONV (int16x8) before its rescale",
    inputs=(
        Tensor("x", "int16", "[N, Cin, H, W]", "activations, zero point 0"),
        _WEIGHT_TRANSPOSED,
    ),
    attributes=_TRANSPOSE_ATTRIBUTES,
    output=Tensor("acc", "int64", _TRANSPOSE_SHAPE, "accumulators"),
    body=_SPLIT.replace("VALUE", "x")
    + """
  high_acc = intaglio.ConvTransposeInteger <dilations: ints = @dilations, group: int = @group,
    output_padding: ints = @output_padding, pads: ints = @pads, strides: ints = @strides>
    (high, w, high_zero_point)
  low_acc = intaglio.ConvTransposeInteger <dilations: ints = @dilations, group: int = @group,
    output_padding: ints = @output_padding, pads: ints = @pads, strides: ints = @strides>
    (low, w, low_zero_point)
"""
    + _JOIN,
)

SPECIFICATIONS = (_CONV, _MATMUL, _MATMUL_16_BY_16, _CONV_TRANSPOSE, _CONV_TRANSPOSE_16)
