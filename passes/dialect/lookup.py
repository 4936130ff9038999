"""Look-up tables: ``Table``, ``TableChannelwise``, ``TableInterpolated``."""

from __future__ import annotations

from intaglio.passes.dialect.specification import FunctionSpecification, Tensor

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
    body="""
  x_integer = Cast <to = 6> (x)
  lowest = Constant <value = int32 {128}> ()
  index = Add (x_integer, lowest)
  result = Gather <axis = 0> (table, index)
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
  zero = Constant <value = int32 {0}> ()
  one = Constant <value = int32 {1}> ()
  entries = Constant <value = int32 {256}> ()
  lowest = Constant <value = int32 {128}> ()
  any_size = Constant <value = int64[1] {-1}> ()
  channels_long = Shape <start = 0, end = 1> (table)
  channels_vector = Cast <to = 6> (channels_long)
  channels = Squeeze (channels_vector)
  channel = Range (zero, channels, one)
  first_entry = Mul (channel, entries)
  middle_entry = Add (first_entry, lowest)
  inner_shape = Shape <start = 2> (x)
  inner_rank = Shape (inner_shape)
  inner_ones = ConstantOfShape <value = int64[1] {1}> (inner_rank)
  channel_shape = Concat <axis = 0> (any_size, inner_ones)
  middle_entry_of_channel = Reshape (middle_entry, channel_shape)
  x_integer = Cast <to = 6> (x)
  index = Add (x_integer, middle_entry_of_channel)
  all_tables = Reshape (table, any_size)
  result = Gather <axis = 0> (all_tables, index)
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
    body="""
  one = Constant <value = int32 {1}> ()
  half = Constant <value = int32 {64}> ()
  step = Constant <value = int32 {128}> ()
  low_bits = Constant <value = int32 {127}> ()
  lowest = Constant <value = int32 {32768}> ()
  x_integer = Cast <to = 6> (x)
  distance = BitwiseAnd (x_integer, low_bits)
  position = Add (x_integer, lowest)
  index = Div (position, step)
  next_index = Add (index, one)
  table_integer = Cast <to = 6> (table)
  table_positive = Add (table_integer, lowest)
  left = Gather <axis = 0> (table_positive, index)
  right = Gather <axis = 0> (table_positive, next_index)
  slope = Sub (right, left)
  left_fine = Mul (left, step)
  rise = Mul (slope, distance)
  interpolated = Add (left_fine, rise)
  nudged = Add (interpolated, half)
  rounded = Div (nudged, step)
  signed = Sub (rounded, lowest)
  result = Cast <to = 5> (signed)
""",
)

SPECIFICATIONS = (_TABLE, _TABLE_CHANNELWISE, _TABLE_INTERPOLATED)
