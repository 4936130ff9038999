"""Functions of a training step: perturbations from a counter hash, and the update by signs.

The formulas are those of :mod:`intaglio.transforms.forward_gradient`. The hash runs on uint32,
whose products and sums are modulo 2^32. Everything that depends on the index alone is folded by a
runtime when it loads the model. Numbers of int16 are moved in int32, those of int32 in int64.
"""

from __future__ import annotations

from intaglio.passes.dialect.specification import FunctionSpecification, Tensor
from intaglio.transforms.forward_gradient.randomness import (
    COUNTER_FACTOR,
    FIRST_FACTOR,
    SECOND_FACTOR,
    UNIT,
    UNIT_BITS,
    Law,
)
from intaglio.transforms.forward_gradient.specification import LARGEST_SHIFT, StepRounding

_PACKAGE = "intaglio.transforms.forward_gradient"

_INDEX = Tensor("index", "int64", "any", "counters: row-major indices, 0 to 2^32 - 1")
_SEED = Tensor("seed", "int64", "broadcastable with index", "its lowest 32 bits count")

_HASH = FunctionSpecification(
    name="CounterHash",
    description="A random number for every counter: no state, the same on every runtime.",
    formula="x = index * 0x9E3779B9 + seed; x ^= x >> 16; x *= 0x7feb352d; x ^= x >> 15; "
    "x *= 0x846ca68b; x ^= x >> 16; all modulo 2^32",
    source="lowbias32 of C. Wellons' hash prospector, on a golden-ratio counter",
    inputs=(_INDEX, _SEED),
    output=Tensor("hash", "uint32", "broadcast shape", "hashes"),
    body=f"""
  counter_factor = Constant <value = uint32 {{{COUNTER_FACTOR}}}> ()
  first_factor = Constant <value = uint32 {{{FIRST_FACTOR}}}> ()
  second_factor = Constant <value = uint32 {{{SECOND_FACTOR}}}> ()
  half_word = Constant <value = uint32 {{16}}> ()
  near_half_word = Constant <value = uint32 {{15}}> ()
  counter = Cast <to = 12> (index)
  offset = Cast <to = 12> (seed)
  spread = Mul (counter, counter_factor)
  start = Add (spread, offset)
  start_high = BitShift <direction = "RIGHT"> (start, half_word)
  start_folded = BitwiseXor (start, start_high)
  first = Mul (start_folded, first_factor)
  first_high = BitShift <direction = "RIGHT"> (first, near_half_word)
  first_folded = BitwiseXor (first, first_high)
  second = Mul (first_folded, second_factor)
  second_high = BitShift <direction = "RIGHT"> (second, half_word)
  hash = BitwiseXor (second, second_high)
""",
)

_RADEMACHER = f"""
  lowest_bit = Constant <value = uint32 {{1}}> ()
  unit = Constant <value = int32 {{{UNIT}}}> ()
  swing = Constant <value = int32 {{{-2 * UNIT}}}> ()
  bit_unsigned = BitwiseAnd (hash, lowest_bit)
  bit = Cast <to = 6> (bit_unsigned)
  down = Mul (bit, swing)
  z = Add (down, unit)
"""

# Ones are counted in pairs, fours, eights and sixteens side by side.
_BINOMIAL = """
  word = Constant <value = uint32 {65535}> ()
  one = Constant <value = uint32 {1}> ()
  two = Constant <value = uint32 {2}> ()
  four = Constant <value = uint32 {4}> ()
  eight = Constant <value = uint32 {8}> ()
  odd_bits = Constant <value = uint32 {21845}> ()
  odd_pairs = Constant <value = uint32 {13107}> ()
  odd_fours = Constant <value = uint32 {3855}> ()
  odd_eights = Constant <value = uint32 {255}> ()
  unit = Constant <value = int32 {16}> ()
  mean = Constant <value = int32 {-128}> ()
  bits = BitwiseAnd (hash, word)
  bits_up = BitShift <direction = "RIGHT"> (bits, one)
  bits_high = BitwiseAnd (bits_up, odd_bits)
  pairs = Sub (bits, bits_high)
  pairs_low = BitwiseAnd (pairs, odd_pairs)
  pairs_up = BitShift <direction = "RIGHT"> (pairs, two)
  pairs_high = BitwiseAnd (pairs_up, odd_pairs)
  fours = Add (pairs_low, pairs_high)
  fours_up = BitShift <direction = "RIGHT"> (fours, four)
  fours_both = Add (fours, fours_up)
  eights = BitwiseAnd (fours_both, odd_fours)
  eights_up = BitShift <direction = "RIGHT"> (eights, eight)
  eights_both = Add (eights, eights_up)
  ones = BitwiseAnd (eights_both, odd_eights)
  ones_signed = Cast <to = 6> (ones)
  ones_scaled = Mul (ones_signed, unit)
  z = Add (ones_scaled, mean)
"""


def _perturb(law: Law, formula: str, body: str) -> FunctionSpecification:
    return FunctionSpecification(
        name=f"Perturb{law.value.title()}",
        description=f"Perturbation of weights with the {law.value} law, standard deviation 1.",
        formula=formula,
        source=f"{_PACKAGE}.randomness",
        inputs=(_INDEX, _SEED),
        output=Tensor("z", "int32", "broadcast shape", "in units of 1/32"),
        body=f"""
  hash = intaglio.CounterHash (index, seed)
{body}""",
    )


# Types of the arithmetic that moves numbers of int16 and of int32: signed, unsigned.
_NARROW, _WIDE = ("int32", 6, "uint32", 12), ("int64", 7, "uint64", 13)
_NUMBERS = {"": ("int16", 5, _NARROW), "Wide": ("int32", 6, _WIDE)}

# ``amount`` with the sign of ``product``. Sign of int64 in onnxruntime (1.31, x86) takes 2^31 for
# negative; that of int32 is right, and faster than a choice.
_SIGNED = """
  direction = Sign (product)
  RESULT = Mul (amount, direction)
"""
_SIGNED_WIDE = """
  zero = Constant <value = int64 {0}> ()
  negative = Less (product, zero)
  opposite = Neg (amount)
  RESULT = Where (negative, opposite, amount)
"""


def _displace(suffix: str) -> FunctionSpecification:
    numbers, _, (signed, signed_type, unsigned, unsigned_type) = _NUMBERS[suffix]
    return FunctionSpecification(
        name=f"Displace{suffix}",
        description=f"How far a probe moves {numbers} numbers, in their own steps. Symmetric: the "
        "opposite distance gives the opposite.",
        formula=f"sgn(d*z) * ((|d*z| + {UNIT // 2}) >> {UNIT_BITS}), d the distance",
        source=f"{_PACKAGE}.step",
        inputs=(
            Tensor("z", "int32", "any", "perturbation in units of 1/32"),
            Tensor("distance", "int64", "scalar", "steps along z = 1, of either sign"),
        ),
        output=Tensor("delta", signed, "as z", "displacement"),
        body=f"""
  half = Constant <value = {unsigned} {{{UNIT // 2}}}> ()
  places = Constant <value = {unsigned} {{{UNIT_BITS}}}> ()
  factor = Cast <to = {signed_type}> (distance)
  z_cast = Cast <to = {signed_type}> (z)
  product = Mul (z_cast, factor)
  magnitude_signed = Abs (product)
  magnitude = Cast <to = {unsigned_type}> (magnitude_signed)
  nudged = Add (magnitude, half)
  shifted = BitShift <direction = "RIGHT"> (nudged, places)
  amount = Cast <to = {signed_type}> (shifted)
"""
        + (_SIGNED_WIDE if suffix else _SIGNED).replace("RESULT", "delta"),
    )


# |g * multiplier| < 2^30, so that neither half a step nor the noise overflows uint32.
_STEP_START = f"""
  one = Constant <value = uint32 {{1}}> ()
  most_places = Constant <value = int64 {{{LARGEST_SHIFT}}}> ()
  places_asked = Add (shift, step_shift)
  too_many = Greater (places_asked, most_places)
  places_wide = Where (too_many, most_places, places_asked)
  places = Cast <to = 12> (places_wide)
  unit = BitShift <direction = "LEFT"> (one, places)
  product = Mul (g, multiplier)
"""

_STEP_END = """
  magnitude_signed = Abs (product)
  magnitude = Cast <to = 12> (magnitude_signed)
  nudged = Add (magnitude, nudge)
  shifted = BitShift <direction = "RIGHT"> (nudged, places)
  amount = Cast <to = 6> (shifted)
""" + _SIGNED.replace("RESULT", "step")

_STEPS = {
    StepRounding.NEAREST: """
  nudge = BitShift <direction = "RIGHT"> (unit, one)
"""
    + _STEP_END,
    StepRounding.STOCHASTIC: """
  fraction = Sub (unit, one)
  hash = intaglio.CounterHash (index, seed)
  nudge = BitwiseAnd (hash, fraction)
"""
    + _STEP_END,
    # A signed shift: 2^31 is added before it, and what is left of that taken away behind it.
    StepRounding.FLOOR: """
  bias = Constant <value = uint32 {2147483648}> ()
  product_bits = Cast <to = 12> (product)
  biased = Add (product_bits, bias)
  shifted = BitShift <direction = "RIGHT"> (biased, places)
  bias_left = BitShift <direction = "RIGHT"> (bias, places)
  step_bits = Sub (shifted, bias_left)
  step = Cast <to = 6> (step_bits)
""",
}

_STEP_FORMULAS = {
    StepRounding.NEAREST: "sgn(p) * ((|p| + 2^k/2) >> k)",
    StepRounding.STOCHASTIC: "sgn(p) * ((|p| + (hash & (2^k - 1))) >> k)",
    StepRounding.FLOOR: "p >> k",
}


def _sign_step(rounding: StepRounding, suffix: str) -> FunctionSpecification:
    numbers, number_type, (_, signed_type, _, _) = _NUMBERS[suffix]
    noise = (_INDEX, _SEED) if rounding is StepRounding.STOCHASTIC else ()
    # Not Clip, which compares int64 wrongly in onnxruntime 1.31 on x86.
    return FunctionSpecification(
        name=f"SignStep{rounding.value.title()}{suffix}",
        description=f"Moves {numbers} numbers against a sum of signed perturbations; the step is "
        f"rounded ({rounding.value}), the result kept within the limit.",
        formula=f"clip(w - step, -limit, limit), step = {_STEP_FORMULAS[rounding]}, "
        f"p = g * multiplier, k = min(shift + step_shift, {LARGEST_SHIFT})",
        source=f"{_PACKAGE}.step",
        inputs=(
            Tensor("w", numbers, "any", "numbers"),
            Tensor("g", "int32", "as w", "sum over the probes of sign * z"),
            Tensor("multiplier", "int32", "scalar", "|g * multiplier| is below 2^30"),
            Tensor("shift", "int64", "scalar", f"0..{LARGEST_SHIFT}"),
            Tensor("step_shift", "int64", "scalar", "how many times the step is halved, 0 and up"),
            Tensor("limit", "int32", "scalar", "largest magnitude of the result"),
            *noise,
        ),
        output=Tensor("updated", numbers, "as w", "new numbers"),
        body=_STEP_START
        + _STEPS[rounding]
        + f"""
  w_cast = Cast <to = {signed_type}> (w)
  step_cast = Cast <to = {signed_type}> (step)
  moved = Sub (w_cast, step_cast)
  highest = Cast <to = {signed_type}> (limit)
  lowest = Neg (highest)
  above = Greater (moved, highest)
  capped = Where (above, highest, moved)
  below = Less (capped, lowest)
  clipped = Where (below, lowest, capped)
  updated = Cast <to = {number_type}> (clipped)
""",
    )


SPECIFICATIONS = (
    _HASH,
    _perturb(Law.RADEMACHER, "32 * (1 - 2 * (hash & 1))", _RADEMACHER),
    _perturb(Law.BINOMIAL, "16 * (ones among the lowest 16 bits of the hash - 8)", _BINOMIAL),
    *(_displace(suffix) for suffix in _NUMBERS),
    *(_sign_step(rounding, suffix) for rounding in StepRounding for suffix in _NUMBERS),
)
