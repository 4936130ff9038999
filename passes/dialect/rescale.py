"""Rescaling with named rounding: ``Rescale`` and ``Double``, ``Single``, ``Wide`` or ``Real``.

``clip(acc * multiplier * 2^-shift + zero_point, minimum, maximum)`` with a 64-bit product. Every
other function that rescales calls one of these.

ONNX has no shift of signed integers: adding 2^63 makes the value a non-negative uint64 for the
logical shift, which leaves ``value + 2^(63-shift)``. That is not undone but completed to
``value + 2^62``, so that the clamp, too, is on uint64: Clip, Min and Max of int64 in onnxruntime
(1.31, x86) compare the lower halves of equal upper halves as signed numbers, so that a value in
[2^31, 2^32) passes below a maximum of 127. Everything that depends on multiplier and shift only is
as large as these are, and a runtime folds it when they are constants.

The formulas are those of :mod:`intaglio.transforms.fixed_point`.
"""

from __future__ import annotations

from intaglio.passes.dialect.specification import Attribute, FunctionSpecification, Tensor

TO = Attribute("to", "ONNX data type of the result: INT8 (3), INT16 (5) or INT32 (6)")

MULTIPLIER = Tensor(
    "multiplier", "int32", "broadcastable to the accumulator", "scale in Q31, 0 to 2^31 - 1"
)
SHIFT = Tensor("shift", "int8", "as multiplier", "total right shift, 2..62")

#: The last inputs of every function that ends in a rescale.
OUTPUT_STAGE = (
    Tensor("zero_point", "int32", "scalar", "zero point of the result"),
    Tensor("minimum", "int32", "scalar", "smallest result"),
    Tensor("maximum", "int32", "scalar", "largest result"),
)

ROUNDINGS = ("Double", "Single")

_OPERANDS = """
  wide = Cast <to = 7> (acc)
  factor = Cast <to = 7> (multiplier)
  places = Cast <to = 13> (shift)
  product = Mul (wide, factor)
"""

# m16 = min((m + 2^15) >> 16, 0x7FFF) and the shift less 16.
_REDUCED_OPERANDS = """
  wide = Cast <to = 7> (acc)
  factor_31_bits = Cast <to = 7> (multiplier)
  reduction_half = Constant <value = int64 {32768}> ()
  reduction = Constant <value = int64 {65536}> ()
  largest_factor = Constant <value = int64 {32767}> ()
  factor_nudged = Add (factor_31_bits, reduction_half)
  factor_rounded = Div (factor_nudged, reduction)
  factor = Min (factor_rounded, largest_factor)
  full_places = Cast <to = 13> (shift)
  reduction_places = Constant <value = uint64 {16}> ()
  places = Sub (full_places, reduction_places)
  product = Mul (wide, factor)
"""

_HALF = """
  one = Constant <value = uint64 {1}> ()
  places_less_one = Sub (places, one)
  half_unsigned = BitShift <direction = "LEFT"> (one, places_less_one)
  half = Cast <to = 7> (half_unsigned)
"""

_ONE_ROUNDING = """
  rounded = Add (product, half)
"""

# Ties of the second rounding go away from zero: +2^30 or -2^30 where there is a second one.
_TWO_ROUNDINGS = """
  zero = Constant <value = int64 {0}> ()
  first_half = Constant <value = int64 {1073741824}> ()
  first_places = Constant <value = uint64 {31}> ()
  rounds_twice = Greater (places, first_places)
  nudge = Where (rounds_twice, first_half, zero)
  half_upward = Add (half, nudge)
  half_downward = Sub (half, nudge)
  negative = Less (wide, zero)
  nudged_half = Where (negative, half_downward, half_upward)
  rounded = Add (product, nudged_half)
"""

# The value carries 2^63 before the shift and 2^62 after it: never negative, never above 2^63.
_SHIFT_CLAMP_NARROW = """
  sign_place = Constant <value = uint64 {63}> ()
  bias = BitShift <direction = "LEFT"> (one, sign_place)
  rounded_bits = Cast <to = 13> (rounded)
  biased = Add (rounded_bits, bias)
  shifted = BitShift <direction = "RIGHT"> (biased, places)

  final_bias = Constant <value = int64 {4611686018427387904}> ()
  bias_left_bits = BitShift <direction = "RIGHT"> (bias, places)
  bias_left = Cast <to = 7> (bias_left_bits)
  zero_point_wide = Cast <to = 7> (zero_point)
  biased_zero_point = Add (zero_point_wide, final_bias)
  offset_wide = Sub (biased_zero_point, bias_left)
  offset = Cast <to = 13> (offset_wide)
  positioned = Add (shifted, offset)

  minimum_wide = Cast <to = 7> (minimum)
  biased_minimum = Add (minimum_wide, final_bias)
  low = Cast <to = 13> (biased_minimum)
  maximum_wide = Cast <to = 7> (maximum)
  biased_maximum = Add (maximum_wide, final_bias)
  high = Cast <to = 13> (biased_maximum)
  clipped = Clip (positioned, low, high)
  clipped_wide = Cast <to = 7> (clipped)
  clamped = Sub (clipped_wide, final_bias)
  result = Cast <to: int = @to> (clamped)
"""

# 44 bits times 53 in three parts of 18, 18 and 17 bits. The float64 product is rounded to 53 bits
# before it is rounded to an integer: a product that lies below a tie by at most half of its last
# place becomes that tie, and goes up. With k whole steps the place of the last bit is known.
_REAL = """
  zero_wide = Constant <value = int64 {0}> ()
  one = Constant <value = uint64 {1}> ()
  part_bits = Constant <value = uint64 {18}> ()
  part_mask = Constant <value = uint64 {262143}> ()
  low_bits = Constant <value = uint64 {36}> ()

  wide = Cast <to = 7> (acc)
  negative = Less (wide, zero_wide)
  magnitude_wide = Abs (wide)
  magnitude = Cast <to = 13> (magnitude_wide)
  factor = Cast <to = 13> (mantissa)
  factor_low = BitwiseAnd (factor, part_mask)
  factor_rest = BitShift <direction = "RIGHT"> (factor, part_bits)
  factor_middle = BitwiseAnd (factor_rest, part_mask)
  factor_high = BitShift <direction = "RIGHT"> (factor_rest, part_bits)

  product_low = Mul (magnitude, factor_low)
  kept_low = BitwiseAnd (product_low, part_mask)
  carry_low = BitShift <direction = "RIGHT"> (product_low, part_bits)
  product_middle_alone = Mul (magnitude, factor_middle)
  product_middle = Add (product_middle_alone, carry_low)
  kept_middle = BitwiseAnd (product_middle, part_mask)
  carry_middle = BitShift <direction = "RIGHT"> (product_middle, part_bits)
  product_high_alone = Mul (magnitude, factor_high)
  high = Add (product_high_alone, carry_middle)
  kept_middle_up = BitShift <direction = "LEFT"> (kept_middle, part_bits)
  low = Add (kept_middle_up, kept_low)

  shift_wide = Cast <to = 13> (shift)
  places = Sub (shift_wide, low_bits)
  steps = BitShift <direction = "RIGHT"> (high, places)
  steps_up = BitShift <direction = "LEFT"> (steps, places)
  fraction = Sub (high, steps_up)

  powers = Constant <value = int64[18] {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096,
    8192, 16384, 32768, 65536, 131072}> ()
  steps_wide = Cast <to = 7> (steps)
  shape = Shape (steps_wide)
  rank = Shape (shape)
  steps_apart = Unsqueeze (steps_wide, rank)
  reaches = GreaterOrEqual (steps_apart, powers)
  reaches_wide = Cast <to = 7> (reaches)
  step_bits = ReduceSum <keepdims = 0> (reaches_wide, rank)
  minus_one = Constant <value = int64 {-1}> ()
  no_steps = Equal (step_bits, zero_wide)
  tie_bits = Where (no_steps, minus_one, step_bits)
  mantissa_bits = Constant <value = int64 {54}> ()
  shift_signed = Cast <to = 7> (shift)
  tie_place = Add (shift_signed, tie_bits)
  last_place = Sub (tie_place, mantissa_bits)
  is_exact = Less (last_place, zero_wide)
  last_place_or_zero = Where (is_exact, zero_wide, last_place)
  last_places = Cast <to = 13> (last_place_or_zero)
  half_last_bits = BitShift <direction = "LEFT"> (one, last_places)
  half_last = Cast <to = 7> (half_last_bits)
  reach = Where (is_exact, zero_wide, half_last)
  reach_up = Cast <to = 13> (reach)

  low_reached = Add (low, reach_up)
  carry = BitShift <direction = "RIGHT"> (low_reached, low_bits)
  fraction_reached = Add (fraction, carry)
  half_places = Sub (places, one)
  half = BitShift <direction = "LEFT"> (one, half_places)
  fraction_signed = Cast <to = 7> (fraction_reached)
  half_signed = Cast <to = 7> (half)
  goes_up = GreaterOrEqual (fraction_signed, half_signed)
  up = Cast <to = 13> (goes_up)
  rounded = Add (steps, up)

  most = Constant <value = uint64 {1048576}> ()
  capped = Min (rounded, most)
  level = Cast <to = 6> (capped)
  minus_level = Neg (level)
  signed = Where (negative, minus_level, level)
  positioned = Add (signed, zero_point)
  clamped = Clip (positioned, minimum, maximum)
  result = Cast <to: int = @to> (clamped)
"""

_BODIES = {
    "Double": _OPERANDS + _HALF + _TWO_ROUNDINGS + _SHIFT_CLAMP_NARROW,
    "Single": _OPERANDS + _HALF + _ONE_ROUNDING + _SHIFT_CLAMP_NARROW,
    "Wide": _REDUCED_OPERANDS + _HALF + _ONE_ROUNDING + _SHIFT_CLAMP_NARROW,
}

_FORMULAS = {
    "Double": "(acc*m + 2^(s-1) + (s > 31 ? (acc >= 0 ? 2^30 : -2^30) : 0)) >> s",
    "Single": "(acc*m + 2^(s-1)) >> s",
    "Wide": "(acc*m16 + 2^(s-17)) >> (s - 16)",
}

_WHERE = {"Wide": "; m16 = min((m + 2^15) >> 16, 0x7FFF)"}

_SOURCES = {
    "Double": "TensorFlow Lite MultiplyByQuantizedMultiplier (int32), TOSA RESCALE DOUBLE_ROUND",
    "Single": "TensorFlow Lite MultiplyByQuantizedMultiplier with TFLITE_SINGLE_ROUNDING, TOSA "
    "RESCALE SINGLE_ROUND",
    "Wide": "TensorFlow Lite MultiplyByQuantizedMultiplier (int64), TOSA RESCALE with scale16",
}

_DESCRIPTIONS = {
    "Double": "two roundings, as gemmlowp: ties of the first go up, of the second away from zero",
    "Single": "one rounding, ties upward",
    "Wide": "a multiplier reduced to 15 bits and one rounding, ties upward; shifts 24..62",
}

_ACCUMULATORS = {
    "Double": Tensor("acc", "int32 or int64", "any", "values in the range of int32"),
    "Single": Tensor("acc", "int32 or int64", "any", "values in the range of int32"),
    "Wide": Tensor("acc", "int64", "any", "values in [-2^47, 2^47)"),
}


def _rescale(rounding: str) -> FunctionSpecification:
    return FunctionSpecification(
        name=f"Rescale{rounding}",
        description=f"Requantizes accumulators with {_DESCRIPTIONS[rounding]}.",
        formula=f"clip(({_FORMULAS[rounding]}) + zero_point, minimum, maximum)"
        + _WHERE.get(rounding, ""),
        source=_SOURCES[rounding],
        inputs=(_ACCUMULATORS[rounding], MULTIPLIER, SHIFT, *OUTPUT_STAGE),
        attributes=(TO,),
        output=Tensor("result", "as attribute to", "as acc", "requantized values"),
        body=_BODIES[rounding],
    )


_REAL_RESCALE = FunctionSpecification(
    name="RescaleReal",
    description="Requantizes accumulators as float64 arithmetic does: the product with a real "
    "scale is rounded to 53 bits, then to an integer, ties away from zero.",
    formula="clip(round(float64(acc) * (mantissa * 2^-shift)) + zero_point, minimum, maximum)",
    source="LiteRT reference_integer_ops::FullyConnected with float scales",
    inputs=(
        Tensor("acc", "int32 or int64", "any", "values in (-2^44, 2^44)"),
        Tensor(
            "mantissa",
            "int64",
            "broadcastable to the accumulator",
            "all 53 bits of the scale, 0 or 2^52 to 2^53 - 1",
        ),
        Tensor("shift", "int8", "as mantissa", "its right shift, 46..97"),
        *OUTPUT_STAGE,
    ),
    attributes=(Attribute("to", "ONNX data type of the result: INT8 (3) or INT16 (5)"),),
    output=Tensor("result", "as attribute to", "as acc", "requantized values"),
    body=_REAL,
)

SPECIFICATIONS = (
    *(_rescale(rounding) for rounding in ("Double", "Single", "Wide")),
    _REAL_RESCALE,
)
