"""Additive table layers: ``AdditiveLut``, a convolution whose products are look-ups.

The windows are made by an integer convolution with an identity as kernel, one channel at a time,
so that any kernel, stride and dilation works on images of unknown size. The rows are read and
summed tap by tap in a Scan: one Gather of all taps would hold taps times the size of the result,
and takes twice as long in onnxruntime.
"""

from __future__ import annotations

from intaglio.passes.dialect.specification import Attribute, FunctionSpecification, Tensor

_ATTRIBUTES = (
    Attribute("kernel_shape", "size of the window", (1, 1)),
    Attribute("strides", "distance of neighboring windows", (1, 1)),
    Attribute("pads", "border added to x: top, left, bottom, right", (0, 0, 0, 0)),
    Attribute("dilations", "distance of the taps of a window", (1, 1)),
    Attribute("group", "number of groups of channels", 1),
    Attribute("shift", "bits that the index drops, 0..8: 2 for the upper part of a 6/2 split", 0),
    Attribute("mask", "bits that the index keeps after that: 3 for the lower part", -1),
    Attribute("low", "the index that row 0 is for", -128),
    Attribute("pad_value", "what x is in the border, such as its zero point", 0),
)

_WINDOWS = """
  zero = Constant <value = int64 {0}> ()
  one = Constant <value = int64 {1}> ()
  flat = Constant <value = int64[1] {-1}> ()
  single = Constant <value = int64[1] {1}> ()
  batch = Shape <start = 0, end = 1> (x)
  channels = Shape <start = 1, end = 2> (x)

  border = Constant <value_ints: ints = @pads> ()
  border_integer = Constant <value_int: int = @pad_value> ()
  border_value = CastLike (border_integer, x)
  first_image_axis = Constant <value = int64 {2}> ()
  x_shape = Shape (x)
  x_rank_vector = Shape (x_shape)
  x_rank = Squeeze (x_rank_vector)
  image_axes = Range (first_image_axis, x_rank, one)
  bordered = Pad (x, border, border_value, image_axes)
  image = Shape <start = 2> (bordered)
  plane_count = Mul (batch, channels)
  plane_shape = Concat <axis = 0> (plane_count, single, image)
  planes = Reshape <allowzero = 1> (bordered, plane_shape)

  kernel = Constant <value_ints: ints = @kernel_shape> ()
  window = ReduceProd <keepdims = 1> (kernel)
  square = Concat <axis = 0> (window, window)
  square_zeros = ConstantOfShape <value = int32[1] {0}> (square)
  identity_wide = EyeLike (square_zeros)
  identity = Cast <to = 3> (identity_wide)
  picker_shape = Concat <axis = 0> (window, single, kernel)
  picker = Reshape (identity, picker_shape)
  picked = ConvInteger <dilations: ints = @dilations, kernel_shape: ints = @kernel_shape,
    strides: ints = @strides> (planes, picker)
"""

# 256 is a multiple of every 2^shift, and makes the dividend positive, where Div is the shift.
_INDEX = """
  one_bit = Constant <value = uint64 {1}> ()
  lift = Constant <value = int32 {256}> ()
  shift_integer = Constant <value_int: int = @shift> ()
  shift_unsigned = Cast <to = 13> (shift_integer)
  step_unsigned = BitShift <direction = "LEFT"> (one_bit, shift_unsigned)
  step = Cast <to = 6> (step_unsigned)
  mask_integer = Constant <value_int: int = @mask> ()
  mask_narrow = Cast <to = 6> (mask_integer)
  low_integer = Constant <value_int: int = @low> ()
  low_narrow = Cast <to = 6> (low_integer)
  lifted = Add (picked, lift)
  lifted_shifted = Div (lifted, step)
  lift_shifted = Div (lift, step)
  shifted = Sub (lifted_shifted, lift_shifted)
  masked = BitwiseAnd (shifted, mask_narrow)
  row_unbounded = Sub (masked, low_narrow)
  rows = Shape <start = 1, end = 2> (tables)
  last_row_wide = Sub (rows, single)
  last_row_vector = Cast <to = 6> (last_row_wide)
  last_row = Squeeze (last_row_vector)
  first_row = Constant <value = int32 {0}> ()
  row = Clip (row_unbounded, first_row, last_row)
"""

# A step of the Scan reads, for each position, the row of one tap in the table of each group.
_SUM = """
  group_count = Constant <value_int: int = @group> ()
  groups = Reshape (group_count, flat)
  group_channels = Div (channels, groups)
  cells_list = Shape <start = 2> (picked)
  cells = ReduceProd <keepdims = 1> (cells_list)
  row_shape = Concat <axis = 0> (batch, groups, group_channels, window, cells)
  row_apart = Reshape <allowzero = 1> (row, row_shape)
  row_moved = Transpose <perm = [3, 2, 0, 4, 1]> (row_apart)
  taps = Mul (window, group_channels)
  positions = Mul (batch, cells)
  scanned_shape = Concat <axis = 0> (taps, positions, groups)
  row_of_tap = Reshape <allowzero = 1> (row_moved, scanned_shape)
  group_wide = Range (zero, group_count, one)
  group_index = Cast <to = 6> (group_wide)
  group_narrow = Cast <to = 6> (groups)
  row_of_groups = Mul (row_of_tap, group_narrow)
  index = Add (row_of_groups, group_index)

  outputs = Shape <start = 2, end = 3> (tables)
  group_outputs = Div (outputs, groups)
  all_rows = Mul (rows, groups)
  entries_shape = Concat <axis = 0> (taps, all_rows, group_outputs)
  entries_apart = Reshape (tables, entries_shape)
  entries = Cast <to = 6> (entries_apart)
  sums_shape = Concat <axis = 0> (positions, groups, group_outputs)
  nothing = ConstantOfShape <value = int32[1] {0}> (sums_shape)
  sums = Scan <num_scan_inputs = 2, body = add_tap
    (int32[?, ?, ?] before, int32[?, ?] tap_index,
     int32[?, ?] tap_entries) => (int32[?, ?, ?] after) {
      entry = Gather <axis = 0> (tap_entries, tap_index)
      after = Add (before, entry)
    }> (nothing, index, entries)

  flat_shape = Concat <axis = 0> (batch, cells, outputs)
  channels_last = Reshape <allowzero = 1> (sums, flat_shape)
  channels_first = Transpose <perm = [0, 2, 1]> (channels_last)
  acc_shape = Concat <axis = 0> (batch, outputs, cells_list)
  acc = Reshape <allowzero = 1> (channels_first, acc_shape)
"""

_ADDITIVE = FunctionSpecification(
    name="AdditiveLut",
    description="A sum of table rows over the taps and channels of a window: a convolution whose "
    "products are looked up, so that they may be any function. Row `r` of a table is for the "
    "index `low + r`; indices beyond the table read its first or last row. With a group for each "
    "channel it is a look-up for each channel alone.",
    formula="r(v) = clamp(((v >> shift) & mask) - low, 0, rows - 1); "
    "acc[n, o, p] = sum over taps t, channels c of the group g of o: "
    "tables[t*Cin/group + c, r(x[n, g*Cin/group + c, window p at t]), o]",
    source="TinyLUT (NeurIPS 2024): separable mapping and dynamic discretization",
    inputs=(
        Tensor("x", "int8 or uint8", "[N, Cin, H, W] (or any number of image axes)", "indices"),
        Tensor(
            "tables",
            "int8 or int16",
            "[kH*kW*Cin/group, rows, Cout]",
            "entries; taps row by row, the channels of a tap together",
        ),
    ),
    attributes=_ATTRIBUTES,
    output=Tensor("acc", "int32", "[N, Cout, OH, OW] as of Conv", "sums"),
    body=_WINDOWS + _INDEX + _SUM,
)

SPECIFICATIONS = (_ADDITIVE,)
