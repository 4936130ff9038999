"""Softmax in integers: gemmlowp's, with the exponentials as a table.

``half_denominator`` is half of the sum after normalization to [1, 2), in Q0.31: the sum shifted
left until its bit 30 is set. The last step doubles the estimate with saturation (2^30 * 2^-29).
Axes are counted from the first one, since onnxruntime's ReduceSum ignores negative axes of empty
tensors. Rows whose sum is 512 and more need a last shift above 31, for which gemmlowp's function is
not defined (LiteRT's reference kernel aborts); here it is the mathematical value.

The numpy form, with the constants explained, is :mod:`intaglio.transforms.softmax`.
"""

from __future__ import annotations

from intaglio.passes.dialect.specification import Attribute, FunctionSpecification, Tensor

# gemmlowp's SaturatingRoundingDoublingHighMul, the product of two Q0.31 numbers, is RescaleSingle
# with shift 31.
_MULTIPLY = """
  {result} = intaglio.RescaleSingle <to = 6> ({a}, {b}, q31, zero, lowest, highest)
"""

_NEWTON_STEP = (
    _MULTIPLY.format(result="unit_{i}", a="half_denominator", b="estimate_{i}")
    + """
  error_{i} = Sub (unit, unit_{i})
"""
    + _MULTIPLY.format(result="step_quarter_{i}", a="estimate_{i}", b="error_{i}")
    + """
  step_{i} = Mul (step_quarter_{i}, four)
  estimate_{j} = Add (estimate_{i}, step_{i})
"""
)

_BODY = (
    """
  zero = Constant <value = int32 {0}> ()
  lowest = Constant <value = int32 {-2147483648}> ()
  highest = Constant <value = int32 {2147483647}> ()
  q31 = Constant <value = int8 {31}> ()

  flat = Constant <value = int64[1] {-1}> ()
  shape = Shape (x)
  rank = Shape (shape)
  axis_number = Constant <value_int: int = @axis> ()
  axis_list = Reshape (axis_number, flat)
  row_axis = Mod (axis_list, rank)
  x_integer = Cast <to = 6> (x)
  peak = ReduceMax <keepdims = 1> (x_integer, row_axis)
  difference = Sub (peak, x_integer)
  flat_difference = Reshape (difference, flat)
  flat_exponential = GatherElements <axis = 0> (exp_table, flat_difference)
  exponential = Reshape <allowzero = 1> (flat_exponential, shape)

  one_factor = Constant <value = int32 {1}> ()
  sum_places = Constant <value = int8 {12}> ()
  term = intaglio.RescaleSingle <to = 6>
    (exponential, one_factor, sum_places, zero, lowest, highest)
  total = ReduceSum <keepdims = 1> (term, row_axis)

  powers = Constant <value = int32[11] {1048576, 2097152, 4194304, 8388608, 16777216, 33554432,
    67108864, 134217728, 268435456, 536870912, 1073741824}> ()
  total_apart = Unsqueeze (total, rank)
  reaches = GreaterOrEqual (total_apart, powers)
  reaches_integer = Cast <to = 6> (reaches)
  bits_over_unit = ReduceSum <keepdims = 0> (reaches_integer, rank)

  most_bits = Constant <value = int32 {11}> ()
  headroom = Sub (most_bits, bits_over_unit)
  headroom_places = Cast <to = 12> (headroom)
  one = Constant <value = uint32 {1}> ()
  headroom_bits = BitShift <direction = "LEFT"> (one, headroom_places)
  headroom_factor = Cast <to = 6> (headroom_bits)
  half_denominator = Mul (total, headroom_factor)

  unit = Constant <value = int32 {536870912}> ()
  four = Constant <value = int32 {4}> ()
  slope = Constant <value = int32 {-1010580540}> ()
  intercept = Constant <value = int32 {1515870810}> ()
"""
    + _MULTIPLY.format(result="slope_part", a="half_denominator", b="slope")
    + """
  estimate_0 = Add (intercept, slope_part)
"""
    + "".join(_NEWTON_STEP.format(i=i, j=i + 1) for i in range(3))
    + """
  half_unit = Constant <value = int32 {1073741824}> ()
  q29 = Constant <value = int8 {29}> ()
  reciprocal = intaglio.RescaleSingle <to = 6>
    (estimate_3, half_unit, q29, zero, lowest, highest)
"""
    + _MULTIPLY.format(result="probability", a="exponential", b="reciprocal")
    + """
  output_places = Constant <value = int32 {23}> ()
  output_shift = Add (bits_over_unit, output_places)
  output_zero_point = Constant <value = int32 {-128}> ()
  output_maximum = Constant <value = int32 {127}> ()
  result = intaglio.RescaleSingle <to = 3>
    (probability, one_factor, output_shift, output_zero_point, output_zero_point, output_maximum)
"""
)

# The sum is at least 2^14: the largest exponential alone is nearly 2^15.
_BODY_16 = """
  zero = Constant <value = int32 {0}> ()
  flat = Constant <value = int64[1] {-1}> ()
  shape = Shape (x)
  rank = Shape (shape)
  axis_number = Constant <value_int: int = @axis> ()
  axis_list = Reshape (axis_number, flat)
  row_axis = Mod (axis_list, rank)
  x_integer = Cast <to = 6> (x)
  peak = ReduceMax <keepdims = 1> (x_integer, row_axis)
  difference = Sub (x_integer, peak)
  table_lowest = Constant <value = int32 {-32768}> ()
  table_highest = Constant <value = int32 {32767}> ()
  scaled = intaglio.RescaleDouble <to = 5>
    (difference, multiplier, shift, table_highest, table_lowest, table_highest)
  exponential_narrow = intaglio.TableInterpolated (scaled, exp_table)
  exponential = Cast <to = 6> (exponential_narrow)
  total = ReduceSum <keepdims = 1> (exponential, row_axis)

  powers = Constant <value = int32[16] {32768, 65536, 131072, 262144, 524288, 1048576, 2097152,
    4194304, 8388608, 16777216, 33554432, 67108864, 134217728, 268435456, 536870912,
    1073741824}> ()
  total_apart = Unsqueeze (total, rank)
  reaches = GreaterOrEqual (total_apart, powers)
  reaches_integer = Cast <to = 6> (reaches)
  bits_above = ReduceSum <keepdims = 0> (reaches_integer, rank)
  fewest_bits = Constant <value = int32 {14}> ()
  bits = Add (bits_above, fewest_bits)

  most_bits = Constant <value = int32 {30}> ()
  headroom = Sub (most_bits, bits)
  headroom_places = Cast <to = 12> (headroom)
  one = Constant <value = uint32 {1}> ()
  headroom_bits = BitShift <direction = "LEFT"> (one, headroom_places)
  headroom_factor = Cast <to = 7> (headroom_bits)
  total_wide = Cast <to = 7> (total)
  normalized_fine = Mul (total_wide, headroom_factor)
  half_unit = Constant <value = int64 {8192}> ()
  unit = Constant <value = int64 {16384}> ()
  normalized_nudged = Add (normalized_fine, half_unit)
  normalized = Div (normalized_nudged, unit)
  middle = Constant <value = int64 {98304}> ()
  centered_wide = Sub (normalized, middle)
  centered_integer = Cast <to = 6> (centered_wide)
  centered_clipped = Clip (centered_integer, table_lowest, table_highest)
  centered = Cast <to = 5> (centered_clipped)
  reciprocal_narrow = intaglio.TableInterpolated (centered, reciprocal_table)
  reciprocal = Cast <to = 6> (reciprocal_narrow)

  product_signed = Mul (exponential, reciprocal)
  product = Max (product_signed, zero)
  places = Cast <to = 12> (bits)
  half_places = Sub (places, one)
  half = BitShift <direction = "LEFT"> (one, half_places)
  product_bits = Cast <to = 12> (product)
  nudged = Add (product_bits, half)
  shifted = BitShift <direction = "RIGHT"> (nudged, places)
  probability = Cast <to = 6> (shifted)
  clipped = Min (probability, table_highest)
  result = Cast <to = 5> (clipped)
"""

SPECIFICATIONS = (
    FunctionSpecification(
        name="SoftmaxInteger",
        description="Softmax of int8 with gemmlowp's fixed-point arithmetic: exponentials in "
        "Q0.31, their sum in Q12.19, its reciprocal by three Newton-Raphson steps. The result has "
        "scale 1/256 and zero point -128. Rows have at most 4095 entries.",
        formula="e = exp_table[max(x) - x]; round(256 * e / sum(e)) - 128, in fixed point",
        source="TensorFlow Lite reference_ops::Softmax (int8), gemmlowp fixedpoint.h",
        inputs=(
            Tensor("x", "int8", "any", "logits"),
            Tensor(
                "exp_table",
                "int32",
                "[256]",
                "Q0.31 exponentials of the differences 0, -1, ..., -255; the first is 2^31 - 1",
            ),
        ),
        attributes=(Attribute("axis", "the axis that is normalized", -1),),
        output=Tensor("result", "int8", "as x", "probabilities, scale 1/256, zero point -128"),
        body=_BODY,
    ),
    FunctionSpecification(
        name="SoftmaxInteger16",
        description="Softmax of int16: exponentials on [-10, 0] and the reciprocal of the "
        "normalized sum from tables of 513 entries with interpolation.",
        formula="e = exp_table[rescale(x - max(x)) + 32767]; e / sum(e) in steps of 1/32768",
        source="TensorFlow Lite reference_ops::SoftmaxInt16",
        inputs=(
            Tensor("x", "int16", "any", "logits, zero point 0"),
            Tensor("exp_table", "int16", "[513]", "exp on [-10, 0] in Q0.15"),
            Tensor("reciprocal_table", "int16", "[513]", "1 / (1 + v) on [0, 1] in Q0.15"),
            Tensor("multiplier", "int32", "scalar", "6553.5 s_x in Q31"),
            Tensor("shift", "int8", "scalar", "its total right shift, 2..62"),
        ),
        attributes=(Attribute("axis", "the axis that is normalized", -1),),
        output=Tensor("result", "int16", "as x", "probabilities, scale 1/32768, zero point 0"),
        body=_BODY_16,
    ),
)
