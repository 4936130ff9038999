"""Losses in integers: one int64 number for a batch.

The formulas are those of :mod:`intaglio.transforms.forward_gradient.loss`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.passes.dialect.specification import Attribute, FunctionSpecification, Tensor
from intaglio.transforms.forward_gradient.loss import (
    SQUARED_ERROR_LIMIT,
    TABLE_BITS,
    exponential_table,
    logarithm_table,
)

_PACKAGE = "intaglio.transforms.forward_gradient.loss"

#: Exponentials have this many fractional bits; the largest of a row is 2^15.
_ONE_BITS = 15
#: Sums of exponentials are below 2 to this power: 2^31 classes.
_SUM_BITS = 47


def _numbers(values: NDArray[np.int64]) -> str:
    return ", ".join(str(value) for value in values.tolist())


_POWERS = 1 << np.arange(_ONE_BITS + 1, _SUM_BITS, dtype=np.int64)

# The floor of a logarithm counts the powers of two that the sum reaches; it is at least 2^15.
_CROSS_ENTROPY = f"""
  exponentials = Constant <value = uint64[256] {{{_numbers(exponential_table())}}}> ()
  full_logarithms = Constant <value = uint64[256] {{{_numbers(logarithm_table())}}}> ()
  powers = Constant <value = int64[{len(_POWERS)}] {{{_numbers(_POWERS)}}}> ()
  one = Constant <value = uint64 {{1}}> ()
  one_signed = Constant <value = int64 {{1}}> ()
  last_axis = Constant <value = int64[1] {{1}}> ()
  table_bits = Constant <value = uint64 {{{TABLE_BITS}}}> ()
  table_mask = Constant <value = uint64 {{255}}> ()
  most_places = Constant <value = uint64 {{31}}> ()

  bit_count = Constant <value_int: int = @bits> ()
  bits_unsigned = Cast <to = 13> (bit_count)
  unit_bits = BitShift <direction = "LEFT"> (one, bits_unsigned)
  unit = Cast <to = 7> (unit_bits)
  mask = Sub (unit, one_signed)
  spare = Sub (table_bits, bits_unsigned)
  spare_bits = BitShift <direction = "LEFT"> (one, spare)
  spare_factor = Cast <to = 7> (spare_bits)
  spare_half = BitShift <direction = "RIGHT"> (spare_bits, one)
  full_nudged = Add (full_logarithms, spare_half)
  logarithms_unsigned = BitShift <direction = "RIGHT"> (full_nudged, spare)
  logarithms = Cast <to = 7> (logarithms_unsigned)

  s = Cast <to = 7> (logits)
  largest_narrow = ReduceMax <keepdims = 1> (logits, last_axis)
  largest = Cast <to = 7> (largest_narrow)
  d = Sub (s, largest)
  fraction = BitwiseAnd (d, mask)
  entry = Mul (fraction, spare_factor)
  mantissa = Gather (exponentials, entry)
  depth = Sub (largest, s)
  depth_nudged = Add (depth, mask)
  depth_unsigned = Cast <to = 13> (depth_nudged)
  places_asked = BitShift <direction = "RIGHT"> (depth_unsigned, bits_unsigned)
  places = Min (places_asked, most_places)
  term_unsigned = BitShift <direction = "RIGHT"> (mantissa, places)
  term = Cast <to = 7> (term_unsigned)
  total = ReduceSum <keepdims = 1> (term, last_axis)

  reaches = GreaterOrEqual (total, powers)
  reaches_wide = Cast <to = 7> (reaches)
  whole = ReduceSum <keepdims = 1> (reaches_wide, last_axis)
  one_bits = Constant <value = uint64 {{{_ONE_BITS}}}> ()
  whole_unsigned = Cast <to = 13> (whole)
  p = Add (whole_unsigned, one_bits)
  total_unsigned = Cast <to = 13> (total)
  total_up = BitShift <direction = "LEFT"> (total_unsigned, table_bits)
  leading = BitShift <direction = "RIGHT"> (total_up, p)
  leading_fraction = BitwiseAnd (leading, table_mask)
  leading_entry = Cast <to = 7> (leading_fraction)
  logarithm_fraction = Gather (logarithms, leading_entry)
  logarithm_whole = Mul (whole, unit)
  logarithm = Add (logarithm_whole, logarithm_fraction)

  label_column = Unsqueeze (labels, last_axis)
  at_label = GatherElements <axis = 1> (d, label_column)
  losses = Sub (logarithm, at_label)
  both_axes = Constant <value = int64[2] {{0, 1}}> ()
  loss = ReduceSum <keepdims = 0> (losses, both_axes)
"""

_SQUARED = """
  a = Cast <to = 7> (logits)
  b = Cast <to = 7> (targets)
  difference = Sub (a, b)
  square = Mul (difference, difference)
  flat = Constant <value = int64[1] {-1}> ()
  squares = Reshape (square, flat)
  axis = Constant <value = int64[1] {0}> ()
  loss = ReduceSum <keepdims = 0> (squares, axis)
"""

SPECIFICATIONS = (
    FunctionSpecification(
        name="CrossEntropyBase2",
        description="Cross-entropy of base-2 logits, summed over the batch, in units of 2^-bits "
        "bit. Two tables of 256 entries; the largest error at ten classes is 0.003 nat.",
        formula="d = s - max(s); S = sum of E[fraction of d] >> min(-(d >> bits), 31); "
        "p = floor(log2 S); ((p - 15) << bits) + G[((S << 8) >> p) & 255] - d[label]",
        source=_PACKAGE,
        inputs=(
            Tensor("logits", "int32", "[N, classes]", "base-2 logits with bits fractional bits"),
            Tensor("labels", "int64", "[N]", "0 to classes - 1"),
        ),
        attributes=(Attribute("bits", "fractional bits, 0 to 8", TABLE_BITS),),
        output=Tensor("loss", "int64", "scalar", "sum over the batch"),
        body=_CROSS_ENTROPY,
    ),
    FunctionSpecification(
        name="SquaredError",
        description="Squared difference, summed over all elements.",
        formula="sum of (s - t)^2",
        source=_PACKAGE,
        inputs=(
            Tensor("logits", "int32", "any", f"magnitudes up to {SQUARED_ERROR_LIMIT}"),
            Tensor("targets", "int32", "as logits", "likewise"),
        ),
        output=Tensor("loss", "int64", "scalar", "sum over the batch"),
        body=_SQUARED,
    ),
)
