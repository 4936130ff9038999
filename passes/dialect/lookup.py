"""Look-up tables: ``Table``, ``TableChannelwise``, ``TableInterpolated`` and the 16-bit sigmoids.

The look-up is a GatherElements on flat tensors: onnxruntime's Gather copies element by element and
takes seven times as long.
"""

from __future__ import annotations

from intaglio.passes.dialect.specification import FunctionSpecification, Tensor

_FLATTEN = """
  any_size = Constant <value = int64[1] {-1}> ()
  shape = Shape (x)
  x_flat = Reshape (x, any_size)
  x_integer = Cast <to = 6> (x_flat)
"""

_TABLE = FunctionSpecification(
    name="Table",
    description="Looks int8 values up in a table of 256 entries: any function of one tensor.",
    formula="table[x + 128]",
    source="TensorFlow Lite LUTPopulate / LUTLookup (int8), TOSA TABLE",
    inputs=(
        Tensor("x", "int8", "any", "input"),
        Tensor("table", "int8 or int16", "[256]", "results for -128..127"),
    ),
    output=Tensor("result", "as table", "as x", "looked-up values"),
    body=_FLATTEN
    + """
  lowest = Constant <value = int32 {128}> ()
  index = Add (x_integer, lowest)
  entry = GatherElements <axis = 0> (table, index)
  result = Reshape <allowzero = 1> (entry, shape)
""",
)

_TABLE_CHANNELWISE = FunctionSpecification(
    name="TableChannelwise",
    description="Looks int8 values up in the table of their channel (axis 1).",
    formula="table[c, x[n, c, ...] + 128]",
    source="per-channel form of Table",
    inputs=(
        Tensor("x", "int8", "[N, C, ...]", "input"),
        Tensor("table", "int8", "[C, 256]", "one table a channel, results for -128..127"),
    ),
    output=Tensor("result", "int8", "as x", "looked-up values"),
    body="""
  zero = Constant <value = int64 {0}> ()
  one = Constant <value = int64 {1}> ()
  entries = Constant <value = int32 {256}> ()
  lowest = Constant <value = int32 {128}> ()
  any_size = Constant <value = int64[1] {-1}> ()
  channels_vector = Shape <start = 0, end = 1> (table)
  channels = Squeeze (channels_vector)
  channel_wide = Range (zero, channels, one)
  channel = Cast <to = 6> (channel_wide)
  first_entry = Mul (channel, entries)
  middle_entry = Add (first_entry, lowest)
  inner_shape = Shape <start = 2> (x)
  inner_rank = Shape (inner_shape)
  inner_ones = ConstantOfShape <value = int64[1] {1}> (inner_rank)
  channel_shape = Concat <axis = 0> (any_size, inner_ones)
  middle_entry_of_channel = Reshape (middle_entry, channel_shape)
  x_integer = Cast <to = 6> (x)
  index = Add (x_integer, middle_entry_of_channel)
  flat_index = Reshape (index, any_size)
  all_tables = Reshape (table, any_size)
  entry = GatherElements <axis = 0> (all_tables, flat_index)
  shape = Shape (x)
  result = Reshape <allowzero = 1> (entry, shape)
""",
)

_TABLE_INTERPOLATED = FunctionSpecification(
    name="TableInterpolated",
    description="Looks int16 values up in a table of 513 entries, 128 steps apart, with linear "
    "interpolation. Where neighboring entries are more than 32767 apart the source kernel wraps "
    "and this does not.",
    formula="i = (x + 32768) >> 7, d = x & 127; table[i] + (((table[i+1] - table[i])*d + 64) >> 7)",
    source="TensorFlow Lite LUTLookup (int16)",
    inputs=(
        Tensor("x", "int16", "any", "input"),
        Tensor("table", "int16", "[513]", "results for -32768, -32640, ..., 32768"),
    ),
    output=Tensor("result", "int16", "as x", "interpolated values"),
    # The sum in front of the shift is made non-negative, where truncating Div is the floor.
    body=_FLATTEN
    + """
  one = Constant <value = int32 {1}> ()
  half = Constant <value = int32 {64}> ()
  step = Constant <value = int32 {128}> ()
  low_bits = Constant <value = int32 {127}> ()
  lowest = Constant <value = int32 {32768}> ()
  distance = BitwiseAnd (x_integer, low_bits)
  position = Add (x_integer, lowest)
  index = Div (position, step)
  next_index = Add (index, one)
  table_integer = Cast <to = 6> (table)
  table_positive = Add (table_integer, lowest)
  left = GatherElements <axis = 0> (table_positive, index)
  right = GatherElements <axis = 0> (table_positive, next_index)
  slope = Sub (right, left)
  left_fine = Mul (left, step)
  rise = Mul (slope, distance)
  interpolated = Add (left_fine, rise)
  nudged = Add (interpolated, half)
  rounded = Div (nudged, step)
  signed = Sub (rounded, lowest)
  narrow = Cast <to = 5> (signed)
  result = Reshape <allowzero = 1> (narrow, shape)
""",
)

# The sum in front of the shift is made non-negative; 2^47 is a multiple of every 2^shift.
_SCALED_INPUT = """
  zero = Constant <value = int64 {0}> ()
  one = Constant <value = int64 {1}> ()
  two = Constant <value = int64 {2}> ()
  bias = Constant <value = int64 {140737488355328}> ()
  one_bit = Constant <value = uint64 {1}> ()
  any_size = Constant <value = int64[1] {-1}> ()
  shape = Shape (x)
  x_flat = Reshape (x, any_size)
  x_wide = Cast <to = 7> (x_flat)
  factor = Cast <to = 7> (multiplier)
  places = Cast <to = 13> (shift)
  divisor_bits = BitShift <direction = "LEFT"> (one_bit, places)
  divisor = Cast <to = 7> (divisor_bits)
  half = Div (divisor, two)
  product = Mul (x_wide, factor)
  nudged = Add (product, half)
  positive = Add (nudged, bias)
  shifted = Div (positive, divisor)
  shifted_bias = Div (bias, divisor)
  scaled = Sub (shifted, shifted_bias)
  size = Abs (scaled)

  segment = Constant <value = int64 {SEGMENT}> ()
  last_segment = Constant <value = int64 {254}> ()
  saturated = Constant <value = int64 {SATURATED}> ()
  step = Div (size, segment)
  steps_up = Mul (step, segment)
  offset = Sub (size, steps_up)
  is_beyond = Greater (step, last_segment)
  index = Where (is_beyond, last_segment, step)
  next_index = Add (index, one)
  left_entry = GatherElements <axis = 0> (table, index)
  right_entry = GatherElements <axis = 0> (table, next_index)
  left = Cast <to = 7> (left_entry)
  right = Cast <to = 7> (right_entry)
  slope = Sub (right, left)
  left_fine = Mul (left, segment)
  rise = Mul (slope, offset)
  inside = Add (left_fine, rise)
  sigmoid = Where (is_beyond, saturated, inside)
  negative = Less (scaled, zero)
"""

_SIGMOID_INPUTS = (
    Tensor("x", "int16", "any", "input, zero point 0"),
    Tensor("table", "int32", "[256]", "sigmoid(i / 24) in Q0.16"),
    Tensor("multiplier", "int32", "scalar", "12288 s_x 2^shift, at most 32767"),
    Tensor("shift", "int8", "scalar", "right shift, 0..31"),
)

_SIGMOID = FunctionSpecification(
    name="SigmoidInteger16",
    description="Sigmoid of int16: 256 entries, 1/24 apart, with linear interpolation.",
    formula="v = (x * multiplier + half) >> shift; sigmoid(v / 12288) from the table, 2^-15",
    source="TensorFlow Lite reference_integer_ops::Logistic (int16)",
    inputs=_SIGMOID_INPUTS,
    output=Tensor("result", "int16", "as x", "scale 1/32768, zero point 0"),
    body=_SCALED_INPUT.replace("SEGMENT", "512").replace("SATURATED", str(0x7FFF << 10))
    + """
  upward = Constant <value = int64 {512}> ()
  full_less_one = Constant <value = int64 {33554943}> ()
  unit = Constant <value = int64 {1024}> ()
  right_half = Add (sigmoid, upward)
  left_half = Sub (full_less_one, sigmoid)
  chosen = Where (negative, left_half, right_half)
  rounded = Div (chosen, unit)
  narrow = Cast <to = 5> (rounded)
  result = Reshape <allowzero = 1> (narrow, shape)
""",
)

# 2^23 in Q0.24 is sigmoid(0); the sums are in (-2^23, 2^23), so 2^24 makes them positive.
_TANH = FunctionSpecification(
    name="TanhInteger16",
    description="Tanh of int16 as 2 sigmoid(2x) - 1: 256 entries with linear interpolation.",
    formula="v = (x * multiplier + half) >> shift; 2 sigmoid(v / 6144) - 1 from the table, 2^-15",
    source="TensorFlow Lite reference_integer_ops::Tanh (int16)",
    inputs=_SIGMOID_INPUTS,
    output=Tensor("result", "int16", "as x", "scale 1/32768, zero point 0"),
    body=_SCALED_INPUT.replace("SEGMENT", "256").replace("SATURATED", str(0xFFFF << 8))
    + """
  middle_less_nudge = Constant <value = int64 {8388480}> ()
  middle_and_nudge = Constant <value = int64 {8388735}> ()
  positive_bias = Constant <value = int64 {16777216}> ()
  shifted_positive_bias = Constant <value = int64 {65536}> ()
  unit = Constant <value = int64 {256}> ()
  right_half = Sub (sigmoid, middle_less_nudge)
  left_half = Sub (middle_and_nudge, sigmoid)
  chosen = Where (negative, left_half, right_half)
  chosen_positive = Add (chosen, positive_bias)
  rounded_positive = Div (chosen_positive, unit)
  rounded = Sub (rounded_positive, shifted_positive_bias)
  narrow = Cast <to = 5> (rounded)
  result = Reshape <allowzero = 1> (narrow, shape)
""",
)

SPECIFICATIONS = (_TABLE, _TABLE_CHANNELWISE, _TABLE_INTERPOLATED, _SIGMOID, _TANH)
