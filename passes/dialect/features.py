"""The codec of features with dynamic ranges: lowest and highest of a group, codes between them.

A group is all channels of a tensor in one tile of its plane; tiles at the end of an axis may be cut
short. Codes are bytes in int8: code 200 is -56.
"""

from __future__ import annotations

from intaglio.passes.dialect.specification import Attribute, FunctionSpecification, Tensor

_TILE = Attribute("tile", "rows and columns of a tile")
_LEVELS = Attribute("levels", "codes are 0 to levels - 1; 1 to 256")
_RANGES = Tensor(
    "ranges", "int8", "[N, 2 * tiles]", "lowest and highest of each tile, row by row of tiles"
)

# How many tiles there are, how much the last ones lack, and the shape with tiles as axes.
_TILES = """
  one = Constant <value = int64 {1}> ()
  column = Constant <value = int64[2] {-1, 1}> ()
  flat = Constant <value = int64[1] {-1}> ()
  nothing_before = Constant <value = int64[2] {0, 0}> ()
  image_axes = Constant <value = int64[2] {2, 3}> ()
  tile_size = Constant <value_ints: ints = @tile> ()
  batch = Shape <start = 0, end = 1> (x)
  leading = Shape <start = 0, end = 2> (x)
  image = Shape <start = 2> (x)
  image_and_tile = Add (image, tile_size)
  image_nudged = Sub (image_and_tile, one)
  tile_count = Div (image_nudged, tile_size)
  whole = Mul (tile_count, tile_size)
  lacking = Sub (whole, image)
  pads = Concat <axis = 0> (nothing_before, lacking)
  count_column = Reshape (tile_count, column)
  size_column = Reshape (tile_size, column)
  tile_columns = Concat <axis = 1> (count_column, size_column)
  tile_list = Reshape (tile_columns, flat)
  tiled_shape = Concat <axis = 0> (leading, tile_list)
  x_integer = Cast <to = 6> (x)
"""

# Lowest and highest of each tile, as [N, 1, rows, 1, columns, 1].
_BOUNDS = """
  pair = Constant <value = int64[1] {2}> ()
  single = Constant <value = int64[1] {1}> ()
  first_place = Constant <value = int64 {0}> ()
  second_place = Constant <value = int64 {1}> ()
  range_shape = Concat <axis = 0> (batch, tile_count, pair)
  ranges_apart = Reshape <allowzero = 1> (ranges, range_shape)
  ranges_integer = Cast <to = 6> (ranges_apart)
  ones_column = Constant <value = int64[2,1] {1, 1}> ()
  bound_columns = Concat <axis = 1> (count_column, ones_column)
  bound_list = Reshape (bound_columns, flat)
  bound_shape = Concat <axis = 0> (batch, single, bound_list)
  lowest_apart = Gather <axis = 3> (ranges_integer, first_place)
  highest_apart = Gather <axis = 3> (ranges_integer, second_place)
  lowest = Reshape <allowzero = 1> (lowest_apart, bound_shape)
  highest = Reshape <allowzero = 1> (highest_apart, bound_shape)
  span = Sub (highest, lowest)
  zero = Constant <value = int32 {0}> ()
  unit = Constant <value = int32 {1}> ()
  level_count = Constant <value_int: int = @levels> ()
  levels_narrow = Cast <to = 6> (level_count)
  steps = Sub (levels_narrow, unit)
  padded = Pad (x_integer, pads, zero, image_axes)
  tiled = Reshape <allowzero = 1> (padded, tiled_shape)
"""

# From tiles as axes back to the plane, as long as it was.
_BACK = """
  whole_shape = Concat <axis = 0> (leading, whole)
  untiled = Reshape <allowzero = 1> (RESULT, whole_shape)
  cropped = Slice (untiled, nothing_before, image, image_axes)
  result = Cast <to = 3> (cropped)
"""

_FIND = FunctionSpecification(
    name="FeatureRanges",
    description="Lowest and highest integer of each tile, over all channels.",
    formula="min and max of x over channels and the places of a tile",
    source="ranges of intaglio.transforms.split",
    inputs=(Tensor("x", "int8", "[N, C, H, W]", "a stripe of a feature"),),
    attributes=(_TILE,),
    output=_RANGES,
    body=_TILES
    + """
  least = Constant <value = int32 {-128}> ()
  most = Constant <value = int32 {127}> ()
  group_axes = Constant <value = int64[3] {1, 3, 5}> ()
  last_axis = Constant <value = int64[1] {3}> ()
  padded_high = Pad (x_integer, pads, most, image_axes)
  padded_low = Pad (x_integer, pads, least, image_axes)
  tiled_high = Reshape <allowzero = 1> (padded_high, tiled_shape)
  tiled_low = Reshape <allowzero = 1> (padded_low, tiled_shape)
  lowest = ReduceMin <keepdims = 0> (tiled_high, group_axes)
  highest = ReduceMax <keepdims = 0> (tiled_low, group_axes)
  lowest_apart = Unsqueeze (lowest, last_axis)
  highest_apart = Unsqueeze (highest, last_axis)
  both = Concat <axis = 3> (lowest_apart, highest_apart)
  tiles_vector = ReduceProd <keepdims = 1> (tile_count)
  tiles_twice = Add (tiles_vector, tiles_vector)
  ranges_shape = Concat <axis = 0> (batch, tiles_twice)
  ranges_integer = Reshape <allowzero = 1> (both, ranges_shape)
  ranges = Cast <to = 3> (ranges_integer)
""",
)

# The products stay below 2^27: d * M <= r * (n * 2^18 / r + 1), and 2 * c * r + n < 2^18.
_ENCODE = FunctionSpecification(
    name="FeatureEncode",
    description="Codes of integers: which of `levels` steps between lowest and highest of its tile "
    "is nearest to each, halves upward; integers beyond them count as these.",
    formula="r = highest - lowest; M = ceil((levels - 1) * 2^18 / r), 0 where r = 0; "
    "d = max(min(x, highest) - lowest, 0); (d * M + 2^17) >> 18",
    source="dynamic codes of intaglio.transforms.split",
    inputs=(Tensor("x", "int8", "[N, C, H, W]", "a stripe of a feature"), _RANGES),
    attributes=(_LEVELS, _TILE),
    output=Tensor("result", "int8", "as x", "codes, bytes"),
    body=_TILES
    + _BOUNDS
    + """
  fraction = Constant <value = int32 {262144}> ()
  half = Constant <value = int32 {131072}> ()
  byte_middle = Constant <value = int32 {127}> ()
  byte_size = Constant <value = int32 {256}> ()
  is_flat = Equal (span, zero)
  divisor = Where (is_flat, unit, span)
  scaled_steps = Mul (steps, fraction)
  scaled_up = Add (scaled_steps, divisor)
  scaled_nudged = Sub (scaled_up, unit)
  ratio = Div (scaled_nudged, divisor)
  multiplier = Where (is_flat, zero, ratio)
  capped = Min (tiled, highest)
  above = Sub (capped, lowest)
  distance = Max (above, zero)
  product = Mul (distance, multiplier)
  nudged = Add (product, half)
  code = Div (nudged, fraction)
  is_beyond = Greater (code, byte_middle)
  below = Sub (code, byte_size)
  signed = Where (is_beyond, below, code)
"""
    + _BACK.replace("RESULT", "signed"),
)

_DECODE = FunctionSpecification(
    name="FeatureDecode",
    description="The integers that codes of FeatureEncode stand for.",
    formula="r = highest - lowest, n = levels - 1; lowest + (2 * code * r + n) // (2 * n), lowest "
    "where n = 0",
    source="dynamic values of intaglio.transforms.split",
    inputs=(Tensor("x", "int8", "[N, C, H, W]", "codes, bytes"), _RANGES),
    attributes=(_LEVELS, _TILE),
    output=Tensor("result", "int8", "as x", "integers"),
    body=_TILES
    + _BOUNDS
    + """
  two = Constant <value = int32 {2}> ()
  byte = Constant <value = int32 {255}> ()
  code = BitwiseAnd (tiled, byte)
  code_span = Mul (code, span)
  code_span_twice = Mul (code_span, two)
  nudged = Add (code_span_twice, steps)
  is_single = Equal (steps, zero)
  some_steps = Where (is_single, unit, steps)
  divisor = Mul (some_steps, two)
  ratio = Div (nudged, divisor)
  rise = Where (is_single, zero, ratio)
  decoded = Add (lowest, rise)
"""
    + _BACK.replace("RESULT", "decoded"),
)

SPECIFICATIONS = (_FIND, _ENCODE, _DECODE)
