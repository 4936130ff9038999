"""Layers of TinyLUT's own structure: bit branches, means with residuals, rotations.

The tables themselves are read by ``AdditiveLut``; what stands around it is here. All of it is
defined in :mod:`intaglio.transforms.table_networks.reference`.

Of the four rotations two have the size of the image and two have it with its sides exchanged. Each
two run as one batch: the image turned, and the same turned by 180 degrees.
"""

from __future__ import annotations

from intaglio.passes.dialect.specification import Attribute, FunctionSpecification, Tensor

_SOURCE = "intaglio.transforms.table_networks.reference"
_CELLS = "[N, C, H, W]"


def _integer(attribute: str, out: str) -> str:
    """Text that makes the int32 scalar ``out`` of an attribute."""
    return f"""
  {attribute}_integer = Constant <value_int: int = @{attribute}> ()
  {out} = Cast <to = 6> ({attribute}_integer)
"""


#: Levels from 0 on, and where the rows of each channel begin in tables that lie flat.
_FIRST_ROW = (
    """
  zero = Constant <value = int64 {0}> ()
  one = Constant <value = int64 {1}> ()
"""
    + _integer("low", "low")
    + """
  features_integer = Cast <to = 6> (features)
  level = Sub (features_integer, low)
  channels = Shape <start = 0, end = 1> (COUNT)
  channel_count = Squeeze (channels)
  channel = Range (zero, channel_count, one)
  first_wide = Mul (channel, rows)
  first_integer = Cast <to = 6> (first_wide)
  column = Constant <value = int64[3] {-1, 1, 1}> ()
  first_row = Reshape (first_integer, column)
"""
)

#: Both image axes from their last place to the first, for Slice.
_BACKWARDS = """
  back = Constant <value = int64[2] {-1, -1}> ()
  before_first = Constant <value = int64[2] {-9223372036854775807, -9223372036854775807}> ()
"""

#: Places from -reach on, folded at 0 and at the last pixel.
_FOLD = """
  place_KIND = Range (start, SIZE, one)
  folded_KIND = Mod (place_KIND, period_KIND)
  back_KIND = Sub (period_KIND, folded_KIND)
  beyond_KIND = GreaterOrEqual (folded_KIND, SIZE)
  OUT = Where (beyond_KIND, back_KIND, folded_KIND)
"""


def _fold(kind: str, size: str, out: str) -> str:
    """Text that names the places along one axis."""
    return _FOLD.replace("KIND", kind).replace("SIZE", size).replace("OUT", out)


# 128 is a multiple of every 2^shift, so pixels may be shifted before it is subtracted.
_INDEX = FunctionSpecification(
    name="BranchIndex",
    description="The bits of each pixel that a branch sees, as levels from low on.",
    formula="((((image - 128) >> shift) - low) & mask) + low",
    source=_SOURCE,
    inputs=(Tensor("image", "uint8", "[N, 1, H, W]", "planes"),),
    attributes=(
        Attribute("shift", "right shift of the pixel less 128, 0..4", 0),
        Attribute("mask", "levels less one: 3, 15 or 63"),
        Attribute("low", "smallest level", 0),
    ),
    output=Tensor("index", "int8", "[N, 1, H, W]", "levels, low to low + mask"),
    body="""
  middle = Constant <value = uint32 {128}> ()
  shift_integer = Constant <value_int: int = @shift> ()
  shift_unsigned = Cast <to = 12> (shift_integer)
"""
    + _integer("mask", "mask_narrow")
    + _integer("low", "low_narrow")
    + """
  pixel = Cast <to = 12> (image)
  shifted_unsigned = BitShift <direction = "RIGHT"> (pixel, shift_unsigned)
  shifted = Cast <to = 6> (shifted_unsigned)
  middle_shifted_unsigned = BitShift <direction = "RIGHT"> (middle, shift_unsigned)
  middle_shifted = Cast <to = 6> (middle_shifted_unsigned)
  offset = Add (middle_shifted, low_narrow)
  bits = Sub (shifted, offset)
  masked = BitwiseAnd (bits, mask_narrow)
  level = Add (masked, low_narrow)
  index = Cast <to = 3> (level)
""",
)

# Places from -reach on, folded at 0 and at the last pixel as often as it takes; n - 1 may be 0.
_REFLECT = FunctionSpecification(
    name="ReflectBefore",
    description="The image reflected upwards and to the left, its first row and column not "
    "repeated; images narrower than the border are reflected again and again.",
    formula="q = (i - reach) mod m, m = max(2*(H-1), 1); result[i] = x[q] if q < H else x[m - q]; "
    "columns likewise",
    source="numpy.pad, mode reflect",
    inputs=(Tensor("x", "int8", "[N, C, H, W]", "image"),),
    attributes=(Attribute("reach", "rows and columns added", 2),),
    output=Tensor("result", "int8", "[N, C, H + reach, W + reach]", "image with border"),
    body="""
  zero = Constant <value = int64 {0}> ()
  one = Constant <value = int64 {1}> ()
  two = Constant <value = int64 {2}> ()
  reach_integer = Constant <value_int: int = @reach> ()
  start = Neg (reach_integer)
  size = Shape <start = 2> (x)
  last = Sub (size, one)
  twice = Mul (last, two)
  period = Max (twice, one)
  height = Gather <axis = 0> (size, zero)
  width = Gather <axis = 0> (size, one)
  period_vertical = Gather <axis = 0> (period, zero)
  period_across = Gather <axis = 0> (period, one)
"""
    + _fold("vertical", "height", "row")
    + _fold("across", "width", "column")
    + """
  rows = Gather <axis = 2> (x, row)
  result = Gather <axis = 3> (rows, column)
""",
)

# 16384 * count makes the dividend positive; 16384 is even, so parity stays.
_MEAN = FunctionSpecification(
    name="BranchMean",
    description="Mean of table entries, rounded half to even, and the features before; these may "
    "be one channel for all, or more channels than there are means.",
    formula="clamp(round_half_even(acc / count) + features[:, :channels of acc], low, high)",
    source=_SOURCE,
    inputs=(
        Tensor("acc", "int32", _CELLS, "sums of count entries of int8"),
        Tensor("features", "int8", "[N, 1 or at least C, H, W]", "features before"),
    ),
    attributes=(
        Attribute("count", "entries in a sum"),
        Attribute("low", "smallest result", -128),
        Attribute("high", "largest result", 127),
    ),
    output=Tensor("result", "int8", _CELLS, "features"),
    body="""
  one = Constant <value = int32 {1}> ()
  first = Constant <value = int64[1] {0}> ()
  channel_axis = Constant <value = int64[1] {1}> ()
"""
    + _integer("count", "divisor")
    + _integer("low", "lowest")
    + _integer("high", "highest")
    + """
  lift = Constant <value = int32 {16384}> ()
  lifted_by = Mul (lift, divisor)
  lifted = Add (acc, lifted_by)
  floor_lifted = Div (lifted, divisor)
  whole = Mul (floor_lifted, divisor)
  rest = Sub (lifted, whole)
  rest_twice = Add (rest, rest)
  odd = BitwiseAnd (floor_lifted, one)
  rest_tie = Add (rest_twice, odd)
  is_above = Greater (rest_tie, divisor)
  above = Cast <to = 6> (is_above)
  floor = Sub (floor_lifted, lift)
  mean = Add (floor, above)
  channels = Shape <start = 1, end = 2> (acc)
  own_bytes = Slice (features, first, channels, channel_axis)
  own = Cast <to = 6> (own_bytes)
  sum = Add (mean, own)
  clamped = Clip (sum, lowest, highest)
  result = Cast <to = 3> (clamped)
""",
)

# A GatherElements on flat tensors is the fastest look-up of single entries in onnxruntime.
_SCALE = FunctionSpecification(
    name="BranchScale",
    description="Looks each feature up in the table of its channel: its learned scale.",
    formula="scale[c, features[:, c] - low]",
    source=_SOURCE,
    inputs=(
        Tensor("features", "int8", _CELLS, "levels, low to low + rows - 1"),
        Tensor("scale", "int8", "[C, rows]", "new levels"),
    ),
    attributes=(Attribute("low", "smallest level", 0),),
    output=Tensor("result", "int8", _CELLS, "features"),
    body="""
  flat = Constant <value = int64[1] {-1}> ()
  shape = Shape (features)
  rows = Shape <start = 1, end = 2> (scale)
"""
    + _FIRST_ROW.replace("COUNT", "scale")
    + """
  place = Add (level, first_row)
  place_flat = Reshape (place, flat)
  scale_flat = Reshape (scale, flat)
  entry = GatherElements <axis = 0> (scale_flat, place_flat)
  result = Reshape <allowzero = 1> (entry, shape)
""",
)

# A step of the Scan reads one tap of all channels.
_DEPTHWISE = FunctionSpecification(
    name="BranchDepthwise",
    description="Sums of table entries over the 3 x 3 window of each channel that ends in the "
    "feature itself; zero outside the image.",
    formula="acc[:, c, i, j] = sum over y, x of tables[c, 3*y + x, "
    "features[:, c, i + y - 2, j + x - 2] - low]",
    source=_SOURCE,
    inputs=(
        Tensor("features", "int8", _CELLS, "levels, low to low + rows - 1"),
        Tensor("tables", "int8", "[C, 9, rows]", "entries, taps row by row"),
    ),
    attributes=(Attribute("low", "smallest level", 0),),
    output=Tensor("acc", "int32", _CELLS, "sums"),
    body="""
  flat = Constant <value = int64[1] {-1}> ()
  shape = Shape (features)
  size = Shape <start = 2> (features)
  rows = Shape <start = 2, end = 3> (tables)
"""
    + _FIRST_ROW.replace("COUNT", "tables")
    + """
  border = Constant <value = int64[4] {2, 2, 0, 0}> ()
  axes = Constant <value = int64[2] {2, 3}> ()
  no_level = Constant <value = int32 {0}> ()
  outside = Sub (no_level, low)
  inner = Pad (level, border, outside, axes)
  place = Add (inner, first_row)

  starts = Constant <value = int64[9, 2] {0, 0, 0, 1, 0, 2, 1, 0, 1, 1, 1, 2, 2, 0, 2, 1, 2, 2}> ()
  taps = Constant <value = int64[2] {9, -1}> ()
  taps_first = Transpose <perm = [1, 0, 2]> (tables)
  entries_bytes = Reshape (taps_first, taps)
  entries = Cast <to = 6> (entries_bytes)
  cells = ReduceProd <keepdims = 1> (shape)
  nothing = ConstantOfShape <value = int32[1] {0}> (cells)
  sums = Scan <num_scan_inputs = 2, body = add_tap
    (int32[cells] before, int64[2] start, int32[places] tap_entries)
    => (int32[cells] after) {
      end = Add (start, size)
      window = Slice (place, start, end, axes)
      window_flat = Reshape (window, flat)
      entry = GatherElements <axis = 0> (tap_entries, window_flat)
      after = Add (before, entry)
    }> (nothing, starts, entries)
  acc = Reshape <allowzero = 1> (sums, shape)
""",
)

_SUM = FunctionSpecification(
    name="BranchSum",
    description="The sub-pixels of two branches.",
    formula="clamp(a + b, -128, 127)",
    source=_SOURCE,
    inputs=(
        Tensor("a", "int8", _CELLS, "sub-pixels of one branch"),
        Tensor("b", "int8", _CELLS, "those of the other"),
    ),
    output=Tensor("result", "int8", _CELLS, "sub-pixels"),
    body="""
  lowest = Constant <value = int32 {-128}> ()
  highest = Constant <value = int32 {127}> ()
  a_integer = Cast <to = 6> (a)
  b_integer = Cast <to = 6> (b)
  sum = Add (a_integer, b_integer)
  clamped = Clip (sum, lowest, highest)
  result = Cast <to = 3> (clamped)
""",
)

_TURN = FunctionSpecification(
    name="TurnPair",
    description="The image turned, and the same turned by 180 degrees, as one batch. Steps (1, 1) "
    "and axes in order leave it as it is; exchanged axes and steps (-1, 1) turn it by 90 degrees "
    "counterclockwise.",
    formula="t = transpose(image, perm)[:, :, ::steps[0], ::steps[1]]; [t, t[:, :, ::-1, ::-1]]",
    source=_SOURCE,
    inputs=(Tensor("image", "uint8", "[N, 1, H, W]", "planes"),),
    attributes=(
        Attribute("perm", "order of the axes", (0, 1, 2, 3)),
        Attribute("steps", "1 or -1 for rows and columns", (1, 1)),
    ),
    output=Tensor("result", "uint8", "[2*N, 1, H, W] or [2*N, 1, W, H]", "turned planes"),
    body="""
  one = Constant <value = int64 {1}> ()
  two = Constant <value = int64 {2}> ()
  axes = Constant <value = int64[2] {2, 3}> ()
  far = Constant <value = int64 {9223372036854775807}> ()
"""
    + _BACKWARDS
    + """
  step = Constant <value_ints: ints = @steps> ()
  step_less_one = Sub (step, one)
  start = Div (step_less_one, two)
  end = Mul (step, far)
  moved = Transpose <perm: ints = @perm> (image)
  turned = Slice (moved, start, end, axes, step)
  opposite = Slice (turned, back, before_first, axes, back)
  result = Concat <axis = 0> (turned, opposite)
""",
)

_TURNED_SUM = FunctionSpecification(
    name="TurnedSum",
    description="Interleaves the sub-pixels of the image as it is, and of the image turned by 90 "
    "degrees, each with the one turned by a further 180; turns all back and adds them up.",
    formula="clamp(128 + sum over turns of turned_back(interleaved(cells of the turn)), 0, 255)",
    source=_SOURCE,
    inputs=(
        Tensor("image", "uint8", "[N, 1, H, W]", "planes; only the type is used"),
        Tensor("upright", "int8", "[2*N, r*r, H, W]", "sub-pixels, turned by 0 and 180 degrees"),
        Tensor("sideways", "int8", "[2*N, r*r, W, H]", "sub-pixels, turned by 90 and 270 degrees"),
    ),
    attributes=(Attribute("upscale", "r: pixels of the result a pixel has on each side"),),
    output=Tensor("result", "uint8", "[N, 1, H*r, W*r]", "planes"),
    body="""
  flat = Constant <value = int64[1] {-1}> ()
  single = Constant <value = int64[1] {1}> ()
  axes = Constant <value = int64[2] {2, 3}> ()
"""
    + _BACKWARDS
    + """
  across = Constant <value = int64[1] {3}> ()
  back_across = Constant <value = int64[1] {-1}> ()
  before_first_across = Constant <value = int64[1] {-9223372036854775807}> ()
  upscale_integer = Constant <value_int: int = @upscale> ()
  upscale_list = Reshape (upscale_integer, flat)
  side = Concat <axis = 0> (upscale_list, upscale_list)
"""
    + "".join(
        """
  KIND_batch = Shape <start = 0, end = 1> (KIND)
  KIND_size = Shape <start = 2> (KIND)
  KIND_block_shape = Concat <axis = 0> (KIND_batch, side, KIND_size)
  KIND_blocks = Reshape <allowzero = 1> (KIND, KIND_block_shape)
  KIND_interleaved = Transpose <perm = [0, 3, 1, 4, 2]> (KIND_blocks)
  KIND_full = Mul (KIND_size, side)
  KIND_shape = Concat <axis = 0> (KIND_batch, single, KIND_full)
  KIND_planes = Reshape <allowzero = 1> (KIND_interleaved, KIND_shape)
  KIND_integers = Cast <to = 6> (KIND_planes)
  KIND_first, KIND_opposite = Split <axis = 0, num_outputs = 2> (KIND_integers)
  KIND_second = Slice (KIND_opposite, back, before_first, axes, back)
  KIND_sum = Add (KIND_first, KIND_second)
""".replace("KIND", kind)
        for kind in ("upright", "sideways")
    )
    + """
  sideways_moved = Transpose <perm = [0, 1, 3, 2]> (sideways_sum)
  sideways_back = Slice (sideways_moved, back_across, before_first_across, across, back_across)
  all_sum = Add (upright_sum, sideways_back)
  middle = Constant <value = int32 {128}> ()
  darkest = Constant <value = int32 {0}> ()
  brightest = Constant <value = int32 {255}> ()
  sum = Add (all_sum, middle)
  clamped = Clip (sum, darkest, brightest)
  result = CastLike (clamped, image)
""",
)

SPECIFICATIONS = (_INDEX, _REFLECT, _SCALE, _DEPTHWISE, _MEAN, _SUM, _TURN, _TURNED_SUM)
