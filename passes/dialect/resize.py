"""Linear resizing in integers; indices and weights come from :mod:`intaglio.transforms.resize`."""

from __future__ import annotations

from intaglio.passes.dialect.specification import FunctionSpecification, Tensor

SPECIFICATIONS = (
    FunctionSpecification(
        name="ResizeLinearInteger",
        description="Bilinear interpolation with 10-bit weights and one rounding at the end, half "
        "away from zero. Scale and zero point stay.",
        formula="s = sum over the four neighbors of value * weight_y * weight_x; "
        "trunc((s + (s > 0 ? 2^19 : -2^19)) / 2^20)",
        source="TensorFlow Lite reference_ops::ResizeBilinearInteger",
        inputs=(
            Tensor("x", "int8 or int16", "[N, C, H, W]", "input"),
            Tensor("y0", "int64", "[OH]", "upper row of each output row"),
            Tensor("y1", "int64", "[OH]", "lower row of each output row"),
            Tensor("wy", "int32", "[OH]", "weight of the lower row, 1024 is 1.0"),
            Tensor("x0", "int64", "[OW]", "left column of each output column"),
            Tensor("x1", "int64", "[OW]", "right column of each output column"),
            Tensor("wx", "int32", "[OW]", "weight of the right column, 1024 is 1.0"),
        ),
        output=Tensor("result", "as x", "[N, C, OH, OW]", "interpolated values"),
        # Columns first: they are gathered element by element, rows as blocks.
        body="""
  full_weight = Constant <value = int32 {1024}> ()
  second = Constant <value = int64[1] {1}> ()
  x_integer = Cast <to = 6> (x)
  left = Gather <axis = 3> (x_integer, x0)
  right = Gather <axis = 3> (x_integer, x1)
  left_weight = Sub (full_weight, wx)
  left_weighted = Mul (left, left_weight)
  right_weighted = Mul (right, wx)
  columns = Add (left_weighted, right_weighted)

  columns_wide = Cast <to = 7> (columns)
  upper = Gather <axis = 2> (columns_wide, y0)
  lower = Gather <axis = 2> (columns_wide, y1)
  upper_weight_list = Sub (full_weight, wy)
  upper_weight_integer = Unsqueeze (upper_weight_list, second)
  lower_weight_integer = Unsqueeze (wy, second)
  upper_weight = Cast <to = 7> (upper_weight_integer)
  lower_weight = Cast <to = 7> (lower_weight_integer)
  upper_weighted = Mul (upper, upper_weight)
  lower_weighted = Mul (lower, lower_weight)
  sums = Add (upper_weighted, lower_weighted)

  zero = Constant <value = int64 {0}> ()
  half = Constant <value = int64 {524288}> ()
  minus_half = Constant <value = int64 {-524288}> ()
  unit = Constant <value = int64 {1048576}> ()
  positive = Greater (sums, zero)
  nudge = Where (positive, half, minus_half)
  nudged = Add (sums, nudge)
  rounded = Div (nudged, unit)
  result = CastLike (rounded, x)
""",
    ),
)
