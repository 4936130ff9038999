"""Layers of a table network without rotations: cells, which of their rows are read, residuals.

A cell is what the network computes one set of features for: a pixel, or 2 x 2 of them. The tables
themselves are read by ``AdditiveLut``; what stands around it is here. All of it is defined in
:mod:`intaglio.transforms.table_networks.centred`.

Sums are rounded by a shift of unsigned integers: 2^30 is added before, since ONNX has no shift of
signed ones. Sums are far smaller, and 2^30 is a multiple of every divisor.
"""

from __future__ import annotations

from intaglio.passes.dialect.specification import Attribute, FunctionSpecification, Tensor

_SOURCE = "intaglio.transforms.table_networks.centred"

_HALF_UP = """
  OUT_one = Constant <value = uint32 {1}> ()
  OUT_lift = Constant <value = int32 {1073741824}> ()
  OUT_shift_integer = Constant <value_int: int = @SHIFT> ()
  OUT_shift = Cast <to = 12> (OUT_shift_integer)
  OUT_step = BitShift <direction = "LEFT"> (OUT_one, OUT_shift)
  OUT_half_unsigned = BitShift <direction = "RIGHT"> (OUT_step, OUT_one)
  OUT_half = Cast <to = 6> (OUT_half_unsigned)
  OUT_nudge = Add (OUT_lift, OUT_half)
  OUT_nudged = Add (VALUE, OUT_nudge)
  OUT_nudged_unsigned = Cast <to = 12> (OUT_nudged)
  OUT_shifted_unsigned = BitShift <direction = "RIGHT"> (OUT_nudged_unsigned, OUT_shift)
  OUT_shifted = Cast <to = 6> (OUT_shifted_unsigned)
  OUT_lift_unsigned = Cast <to = 12> (OUT_lift)
  OUT_lift_down_unsigned = BitShift <direction = "RIGHT"> (OUT_lift_unsigned, OUT_shift)
  OUT_lift_down = Cast <to = 6> (OUT_lift_down_unsigned)
  OUT = Sub (OUT_shifted, OUT_lift_down)
"""

_CLAMP = """
  lowest = Constant <value = int32 {-128}> ()
  highest = Constant <value = int32 {127}> ()
  clamped = Clip (VALUE, lowest, highest)
  OUT = Cast <to = 3> (clamped)
"""


def half_up(value: str, shift: str, out: str) -> str:
    """Text of ``(value + 2^(shift-1)) >> shift`` of int32.

    Args:
        value: Name of the int32 tensor; its absolute values are below 2^29.
        shift: Name of the function's attribute, 0 to 24.
        out: Name of the result, and prefix of the names in between.
    """
    return _HALF_UP.replace("VALUE", value).replace("SHIFT", shift).replace("OUT", out)


def clamp(value: str, out: str) -> str:
    """Text that clamps the int32 ``value`` to the int8 ``out``; once in a body."""
    return _CLAMP.replace("VALUE", value).replace("OUT", out)


_IMAGE = Tensor("image", "uint8", "[N, 1, H, W]", "one plane")
_SUMS = Tensor("sums", "int32", "[N, C + r*r, h, w]", "what CellStem gave")
_CELLS = "[N, C, h, w]"

# The border is as wide as the windows need; more of them fit the last rows of odd sizes.
_STEM = FunctionSpecification(
    name="CellStem",
    description="Integer convolution of the pixels less 128, one window for each cell, the image "
    "continued by its edge pixels: sums for the features, and behind them for the sub-pixels.",
    formula="h = ceil(H / s); sums[n, o, i, j] = bias[o] + sum over the k x k window from "
    "(s*i - p, s*j - p), p = floor((k - s) / 2), of weights[o] * (pixel - 128)",
    source=_SOURCE,
    inputs=(
        _IMAGE,
        Tensor("weights", "int8", "[C + r*r, 1, k, k]", "weights"),
        Tensor("bias", "int32", "[C + r*r]", "biases"),
    ),
    attributes=(Attribute("strides", "s: pixels a cell has on each side", (1, 1)),),
    output=Tensor("sums", "int32", "[N, C + r*r, h, w]", "sums"),
    body="""
  one = Constant <value = int64 {1}> ()
  two = Constant <value = int64 {2}> ()
  flat = Constant <value = int64[1] {-1}> ()
  stride = Constant <value_ints: ints = @strides> ()
  size = Shape <start = 2> (image)
  kernel = Shape <start = 2> (weights)
  stride_less_one = Sub (stride, one)
  size_up = Add (size, stride_less_one)
  cells = Div (size_up, stride)
  overlap = Sub (kernel, stride)
  before = Div (overlap, two)
  cells_less_one = Sub (cells, one)
  last_start = Mul (cells_less_one, stride)
  extent = Add (last_start, kernel)
  beyond = Sub (extent, size)
  after = Sub (beyond, before)
  border = Concat <axis = 0> (before, after)
  image_axes = Constant <value = int64[2] {2, 3}> ()
  bordered = Pad <mode = "edge"> (image, border, , image_axes)

  middle = Constant <value = int32 {128}> ()
  pixel = Cast <to = 6> (bordered)
  centred = Sub (pixel, middle)
  x = Cast <to = 3> (centred)
  products = ConvInteger <strides: ints = @strides> (x, weights)
  bias_shape = Constant <value = int64[3] {-1, 1, 1}> ()
  bias_column = Reshape (bias, bias_shape)
  sums = Add (products, bias_column)
""",
)

_FEATURES = FunctionSpecification(
    name="CellFeatures",
    description="Features from the first sums of the stem.",
    formula="clamp((sums[:, c] + 2^(shift-1)) >> shift, -128, 127), c < channels",
    source=_SOURCE,
    inputs=(_SUMS,),
    attributes=(
        Attribute("channels", "C: number of features"),
        Attribute("shift", "right shift, 0..24", 0),
    ),
    output=Tensor("features", "int8", _CELLS, "features"),
    body="""
  flat = Constant <value = int64[1] {-1}> ()
  first = Constant <value = int64[1] {0}> ()
  channel_axis = Constant <value = int64[1] {1}> ()
  channel_count = Constant <value_int: int = @channels> ()
  end = Reshape (channel_count, flat)
  own = Slice (sums, first, end, channel_axis)
"""
    + half_up("own", "shift", "rounded")
    + clamp("rounded", "features"),
)

_ROWS = FunctionSpecification(
    name="CellRows",
    description="Which row of its tables each channel reads: its own 3 x 3 window of features, "
    "zero outside the image.",
    formula="clamp((sum over the window of taps[c] * features[:, c] + 2^(shift-1)) >> shift, "
    "-8, 7)",
    source=_SOURCE,
    inputs=(
        Tensor("features", "int8", _CELLS, "features"),
        Tensor("taps", "int8", "[C, 1, 3, 3]", "weights; absolute values sum to 255 at most"),
    ),
    attributes=(
        Attribute("group", "C: number of features"),
        Attribute("shift", "right shift, 0..14", 0),
    ),
    output=Tensor("rows", "int8", _CELLS, "rows, -8 to 7"),
    body="""
  window = ConvInteger <group: int = @group, pads = [1, 1, 1, 1]> (features, taps)
"""
    + half_up("window", "shift", "rounded")
    + """
  lowest = Constant <value = int32 {-8}> ()
  highest = Constant <value = int32 {7}> ()
  clamped = Clip (rounded, lowest, highest)
  rows = Cast <to = 3> (clamped)
""",
)

_RESIDUAL = FunctionSpecification(
    name="CellResidual",
    description="Features and what the tables change of them.",
    formula="clamp(features + ((change + 2^(shift-1)) >> shift), -128, 127)",
    source=_SOURCE,
    inputs=(
        Tensor("features", "int8", _CELLS, "features"),
        Tensor("change", "int32", _CELLS, "sums of table rows"),
    ),
    attributes=(Attribute("shift", "right shift, 0..14", 0),),
    output=Tensor("result", "int8", _CELLS, "features"),
    body="""
  before = Cast <to = 6> (features)
"""
    + half_up("change", "shift", "rounded")
    + """
  after = Add (before, rounded)
"""
    + clamp("after", "result"),
)

# Rows of cells times sub-rows may be more than the result has; the rest is cut off.
_HEAD = FunctionSpecification(
    name="CellHead",
    description="The image under each sub-pixel and what tables and stem change of it.",
    formula="result[r*i + y, r*j + x] = clamp(image[floor((r*i + y) * s / r), ...] + "
    "(((change[o] << head_shift) + sums[C + o] + 2^(out_shift-1)) >> out_shift), 0, 255), "
    "o = r*y + x",
    source=_SOURCE,
    inputs=(
        _IMAGE,
        Tensor("change", "int32", "[N, r*r, h, w]", "sums of table rows"),
        _SUMS,
    ),
    attributes=(
        Attribute("upscale", "r: pixels of the result a cell has on each side"),
        Attribute("strides", "s: pixels a cell has on each side", (1, 1)),
        Attribute("head_shift", "left shift of the tables' sums, 0..14", 0),
        Attribute("out_shift", "right shift of the sum of both, 0..24", 0),
    ),
    output=Tensor("result", "uint8", "[N, 1, floor(H*r/s), floor(W*r/s)]", "one plane"),
    body="""
  zero = Constant <value = int64 {0}> ()
  one = Constant <value = int64 {1}> ()
  flat = Constant <value = int64[1] {-1}> ()
  single = Constant <value = int64[1] {1}> ()
  batch = Shape <start = 0, end = 1> (image)
  own = Shape <start = 1, end = 2> (change)
  all_sums = Shape <start = 1, end = 2> (sums)
  channels = Sub (all_sums, own)
  linear = Slice (sums, channels, all_sums, single)
  unit = Constant <value = uint32 {1}> ()
  head_shift_integer = Constant <value_int: int = @head_shift> ()
  head_shift_unsigned = Cast <to = 12> (head_shift_integer)
  factor_unsigned = BitShift <direction = "LEFT"> (unit, head_shift_unsigned)
  factor = Cast <to = 6> (factor_unsigned)
  raised = Mul (change, factor)
  both = Add (raised, linear)
"""
    + half_up("both", "out_shift", "rounded")
    + """
  upscale_integer = Constant <value_int: int = @upscale> ()
  upscale_list = Reshape (upscale_integer, flat)
  side = Concat <axis = 0> (upscale_list, upscale_list)
  stride = Constant <value_ints: ints = @strides> ()
  cells = Shape <start = 2> (change)
  block_shape = Concat <axis = 0> (batch, side, cells)
  blocks = Reshape <allowzero = 1> (rounded, block_shape)
  interleaved = Transpose <perm = [0, 3, 1, 4, 2]> (blocks)
  full = Mul (cells, side)
  plane_shape = Concat <axis = 0> (batch, single, full)
  plane = Reshape <allowzero = 1> (interleaved, plane_shape)
  size = Shape <start = 2> (image)
  size_up = Mul (size, side)
  wanted = Div (size_up, stride)
  nothing = Constant <value = int64[2] {0, 0}> ()
  image_axes = Constant <value = int64[2] {2, 3}> ()
  cropped = Slice (plane, nothing, wanted, image_axes)

  stride_vertical = Gather <axis = 0> (stride, zero)
  stride_across = Gather <axis = 0> (stride, one)
  height = Gather <axis = 0> (wanted, zero)
  width = Gather <axis = 0> (wanted, one)
  place_vertical = Range (zero, height, one)
  place_across = Range (zero, width, one)
  place_vertical_down = Mul (place_vertical, stride_vertical)
  place_across_down = Mul (place_across, stride_across)
  row = Div (place_vertical_down, upscale_integer)
  column = Div (place_across_down, upscale_integer)
  rows = Gather <axis = 2> (image, row)
  under_bytes = Gather <axis = 3> (rows, column)
  under = Cast <to = 6> (under_bytes)
  sum = Add (under, cropped)
  darkest = Constant <value = int32 {0}> ()
  brightest = Constant <value = int32 {255}> ()
  clamped_sum = Clip (sum, darkest, brightest)
  result = CastLike (clamped_sum, image)
""",
)

SPECIFICATIONS = (_STEM, _FEATURES, _ROWS, _RESIDUAL, _HEAD)
