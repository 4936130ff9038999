"""Arithmetic of two quantized tensors, and PRelu: each with double or single rounding."""

from __future__ import annotations

from intaglio.passes.dialect.rescale import OUTPUT_STAGE, ROUNDINGS, TO
from intaglio.passes.dialect.specification import FunctionSpecification, Tensor

_RESULT = Tensor("result", "as attribute to", "broadcast shape of the operands", "requantized")

_OPERANDS = (
    Tensor("a", "int8 or int16", "any", "first operand"),
    Tensor("b", "int8 or int16", "broadcastable with a", "second operand"),
    Tensor("a_zero_point", "int32", "scalar", "zero point of a"),
    Tensor("b_zero_point", "int32", "scalar", "zero point of b"),
)

_SCALARS = (
    Tensor("multiplier", "int32", "scalar", "scale of the sum in Q31"),
    Tensor("shift", "int8", "scalar", "its total right shift, 2..62"),
)

_CENTERED = """
  a_integer = Cast <to = 6> (a)
  b_integer = Cast <to = 6> (b)
  a_centered = Sub (a_integer, a_zero_point)
  b_centered = Sub (b_integer, b_zero_point)
"""


def _sum(operator: str, rounding: str) -> FunctionSpecification:
    sign = {"Add": "+", "Sub": "-"}[operator]
    body = f"""{_CENTERED}
  one = Constant <value = uint32 {{1}}> ()
  left_places = Cast <to = 12> (left_shift)
  left_factor_bits = BitShift <direction = "LEFT"> (one, left_places)
  left_factor = Cast <to = 6> (left_factor_bits)
  a_shifted = Mul (a_centered, left_factor)
  b_shifted = Mul (b_centered, left_factor)
  no_zero_point = Constant <value = int32 {{0}}> ()
  lowest = Constant <value = int32 {{-2147483648}}> ()
  highest = Constant <value = int32 {{2147483647}}> ()
  a_scaled = intaglio.Rescale{rounding} <to = 6>
    (a_shifted, a_multiplier, a_shift, no_zero_point, lowest, highest)
  b_scaled = intaglio.Rescale{rounding} <to = 6>
    (b_shifted, b_multiplier, b_shift, no_zero_point, lowest, highest)
  total = {operator} (a_scaled, b_scaled)
  result = intaglio.Rescale{rounding} <to: int = @to>
    (total, multiplier, shift, zero_point, minimum, maximum)
"""
    return FunctionSpecification(
        name=f"{operator}{rounding}",
        description="Brings both operands to one fine scale, "
        + ("adds them" if operator == "Add" else "subtracts the second from the first")
        + f" and rescales the result; all three with {rounding.lower()} rounding.",
        formula="f(a) = rescale((a - a_zero_point) << left_shift, a_multiplier, a_shift), f(b) "
        f"likewise; clip(rescale(f(a) {sign} f(b)) + zero_point, minimum, maximum)",
        source=f"TensorFlow Lite reference_integer_ops::{operator}",
        inputs=(
            *_OPERANDS,
            Tensor("left_shift", "int32", "scalar", "20; 15 where an operand is int16"),
            Tensor("a_multiplier", "int32", "scalar", "s_a / (2 max(s_a, s_b)) in Q31"),
            Tensor("a_shift", "int8", "scalar", "its total right shift, 2..62"),
            Tensor("b_multiplier", "int32", "scalar", "s_b / (2 max(s_a, s_b)) in Q31"),
            Tensor("b_shift", "int8", "scalar", "its total right shift, 2..62"),
            *_SCALARS,
            *OUTPUT_STAGE,
        ),
        attributes=(TO,),
        output=_RESULT,
        body=body,
    )


def _product(rounding: str) -> FunctionSpecification:
    return FunctionSpecification(
        name=f"Mul{rounding}",
        description=f"Multiplies two tensors and rescales the product ({rounding.lower()} "
        "rounding). The product must fit int32: int16 operands have zero point 0.",
        formula="clip(rescale((a - a_zero_point) * (b - b_zero_point)) + zero_point, minimum, "
        "maximum)",
        source="TensorFlow Lite reference_integer_ops::Mul",
        inputs=(*_OPERANDS, *_SCALARS, *OUTPUT_STAGE),
        attributes=(TO,),
        output=_RESULT,
        body=f"""{_CENTERED}
  product = Mul (a_centered, b_centered)
  result = intaglio.Rescale{rounding} <to: int = @to>
    (product, multiplier, shift, zero_point, minimum, maximum)
""",
    )


def _prelu(rounding: str) -> FunctionSpecification:
    return FunctionSpecification(
        name=f"PRelu{rounding}",
        description="Rescales values at and above zero with one scale, and values below zero, "
        f"multiplied by their slope, with another ({rounding.lower()} rounding).",
        formula="v = x - x_zero_point; clip((v >= 0 ? rescale(v, positive) : rescale(v * slope, "
        "negative)) + zero_point, minimum, maximum)",
        source="TensorFlow Lite reference_ops PRELU (ApplyPrelu)",
        inputs=(
            Tensor("x", "int8 or int16", "any", "input"),
            Tensor("x_zero_point", "int32", "scalar", "zero point of x"),
            Tensor("slope", "int8 or int16", "broadcastable to x", "slopes, zero point 0"),
            Tensor("positive_multiplier", "int32", "scalar", "s_x / s_y in Q31"),
            Tensor("positive_shift", "int8", "scalar", "its total right shift, 2..62"),
            Tensor("negative_multiplier", "int32", "scalar", "s_x * s_slope / s_y in Q31"),
            Tensor("negative_shift", "int8", "scalar", "its total right shift, 2..62"),
            *OUTPUT_STAGE,
        ),
        attributes=(TO,),
        output=Tensor("result", "as attribute to", "as x", "requantized"),
        body=f"""
  x_integer = Cast <to = 6> (x)
  centered = Sub (x_integer, x_zero_point)
  slope_integer = Cast <to = 6> (slope)
  sloped = Mul (centered, slope_integer)
  above = intaglio.Rescale{rounding} <to = 6>
    (centered, positive_multiplier, positive_shift, zero_point, minimum, maximum)
  below = intaglio.Rescale{rounding} <to = 6>
    (sloped, negative_multiplier, negative_shift, zero_point, minimum, maximum)
  zero = Constant <value = int32 {{0}}> ()
  negative = Less (centered, zero)
  chosen = Where (negative, below, above)
  result = Cast <to: int = @to> (chosen)
""",
    )


def _abs(rounding: str) -> FunctionSpecification:
    return FunctionSpecification(
        name=f"Abs{rounding}",
        description=f"Rescales the magnitude of an int16 tensor ({rounding.lower()} rounding).",
        formula="clip(rescale(|x|) + zero_point, minimum, maximum)",
        source="LiteRT elementwise ABS (AbsEvalQuantized)",
        inputs=(Tensor("x", "int16", "any", "input, zero point 0"), *_SCALARS, *OUTPUT_STAGE),
        attributes=(TO,),
        output=Tensor("result", "as attribute to", "as x", "requantized"),
        body=f"""
  x_integer = Cast <to = 6> (x)
  size = Abs (x_integer)
  result = intaglio.Rescale{rounding} <to: int = @to>
    (size, multiplier, shift, zero_point, minimum, maximum)
""",
    )


def _extreme(operator: str) -> FunctionSpecification:
    word = {"Max": "larger", "Min": "smaller"}[operator]
    return FunctionSpecification(
        name=f"{operator}Integer",
        description=f"The {word} of two tensors of one scale and zero point.",
        formula=f"{operator.lower()}(a, b)",
        source=f"TensorFlow Lite {operator.upper()}IMUM",
        inputs=(
            Tensor("a", "int8 or int16", "any", "first operand"),
            Tensor("b", "as a", "broadcastable with a", "second operand"),
        ),
        output=Tensor("result", "as a", "broadcast shape of the operands", f"the {word} ones"),
        body=f"""
  a_integer = Cast <to = 6> (a)
  b_integer = Cast <to = 6> (b)
  chosen = {operator} (a_integer, b_integer)
  result = CastLike (chosen, a)
""",
    )


SPECIFICATIONS = (
    *(
        specification
        for rounding in ROUNDINGS
        for specification in (
            _sum("Add", rounding),
            _sum("Sub", rounding),
            _product(rounding),
            _prelu(rounding),
            _abs(rounding),
        )
    ),
    _extreme("Max"),
    _extreme("Min"),
)
