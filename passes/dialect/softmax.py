"""Softmax in integers: gemmlowp's, with the exponentials as a table.

The numpy form, with the constants explained, is :mod:`intaglio.transforms.softmax`.
"""

from __future__ import annotations

from intaglio.passes.dialect.specification import Attribute, FunctionSpecification, Tensor

_NEWTON_STEP = """
  denominator_times_{i} = intaglio.ScaleSingle (half_denominator, estimate_{i}, q31, no_offset)
  error_{i} = Sub (unit, denominator_times_{i})
  step_quarter_{i} = intaglio.ScaleSingle (estimate_{i}, error_{i}, q31, no_offset)
  step_{i} = Mul (step_quarter_{i}, four)
  estimate_{j} = Add (estimate_{i}, step_{i})
"""

_BODY = (
    """
  axis_number = Constant <value_int: int = @axis> ()
  flat = Constant <value = int64[1] {-1}> ()
  row_axis = Reshape (axis_number, flat)
  x_integer = Cast <to = 6> (x)
  peak = ReduceMax <keepdims = 1> (x_integer, row_axis)
  difference = Sub (peak, x_integer)
  exponential_q31 = Gather <axis = 0> (exp_table, difference)
  exponential = Cast <to = 7> (exponential_q31)

  half_term = Constant <value = int64 {2048}> ()
  term_unit = Constant <value = int64 {4096}> ()
  exponential_nudged = Add (exponential, half_term)
  term = Div (exponential_nudged, term_unit)
  total = ReduceSum <keepdims = 1> (term, row_axis)

  powers = Constant <value = int64[11] {1048576, 2097152, 4194304, 8388608, 16777216, 33554432,
    67108864, 134217728, 268435456, 536870912, 1073741824}> ()
  total_apart = Unsqueeze (total, flat)
  reaches = GreaterOrEqual (total_apart, powers)
  reaches_integer = Cast <to = 7> (reaches)
  bits_over_unit = ReduceSum <keepdims = 0> (reaches_integer, flat)

  integer_bits = Constant <value = int64 {12}> ()
  headroom = Sub (integer_bits, bits_over_unit)
  headroom_places = Cast <to = 13> (headroom)
  one = Constant <value = uint64 {1}> ()
  headroom_bits = BitShift <direction = "LEFT"> (one, headroom_places)
  headroom_factor = Cast <to = 7> (headroom_bits)
  denominator = Mul (total, headroom_factor)
  two = Constant <value = int64 {2}> ()
  half_denominator = Div (denominator, two)

  q31 = Constant <value = int8 {31}> ()
  no_offset = Constant <value = int64 {0}> ()
  unit = Constant <value = int64 {536870912}> ()
  four = Constant <value = int64 {4}> ()
  first_slope = Constant <value = int32 {-1010580540}> ()
  first_constant = Constant <value = int64 {1515870810}> ()
  estimate_0 = intaglio.ScaleSingle (half_denominator, first_slope, q31, first_constant)
"""
    + "".join(_NEWTON_STEP.format(i=i, j=i + 1) for i in range(3))
    + """
  reciprocal_wide = Mul (estimate_3, two)
  largest = Constant <value = int64 {2147483647}> ()
  reciprocal = Min (reciprocal_wide, largest)

  probability = intaglio.ScaleSingle (exponential, reciprocal, q31, no_offset)
  output_places = Constant <value = int64 {23}> ()
  output_shift = Add (bits_over_unit, output_places)
  output_factor = Constant <value = int32 {1}> ()
  output_offset = Constant <value = int64 {-128}> ()
  output = intaglio.ScaleSingle (probability, output_factor, output_shift, output_offset)
  low = Constant <value = int64 {-128}> ()
  high = Constant <value = int64 {127}> ()
  clipped = Clip (output, low, high)
  result = Cast <to = 3> (clipped)
"""
)

SPECIFICATIONS = (
    FunctionSpecification(
        name="SoftmaxInteger",
        description="Softmax of int8 with gemmlowp's fixed-point arithmetic: exponentials in Q0.31, "
        "their sum in Q12.19, its reciprocal by three Newton-Raphson steps. The result has scale "
        "1/256 and zero point -128. Rows have at most 4095 entries.",
        formula="e = exp_table[max(x) - x]; round(e / sum(round(e / 2^12)) in units of 1/256) - 128",
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
)
