"""Reductions: ``Mean``, ``Sum``, ``ReduceMax`` over axes, ``AveragePoolInteger`` over windows."""

from __future__ import annotations

from intaglio.passes.dialect.rescale import OUTPUT_STAGE, ROUNDINGS, TO
from intaglio.passes.dialect.specification import Attribute, FunctionSpecification, Tensor
from intaglio.passes.dialect.windows import COUNT, PADS, STARTS

_AXES = Tensor("axes", "int64", "[number of axes]", "axes to reduce")
_KEEPDIMS = Attribute("keepdims", "1 keeps reduced axes with size 1", 1)


# Axes counted from the first one: onnxruntime's ReduceSum ignores negative axes of empty tensors.
def _mean_or_sum(operator: str, rounding: str) -> FunctionSpecification:
    mean = operator == "Mean"
    division = "; the division by the number of elements is part of the scale" if mean else ""
    return FunctionSpecification(
        name=f"{operator}{rounding}",
        description=f"Sums over axes and rescales the sum{division} "
        f"({rounding.lower()} rounding). The sum must fit int32.",
        formula="clip(rescale(sum(x) + offset) + zero_point, minimum, maximum)",
        source="TensorFlow Lite reference_ops::QuantizedMeanOrSum",
        inputs=(
            Tensor("x", "int8 or int16", "any", "input"),
            _AXES,
            Tensor("offset", "int32", "scalar", "-n * zero point of x, for n elements a sum"),
            Tensor(
                "multiplier",
                "int32",
                "scalar",
                f"{'s_x / (n * s_y)' if mean else 's_x / s_y'} in Q31, 0 to 2^31 - 1",
            ),
            Tensor("shift", "int8", "scalar", "its total right shift, 2..62"),
            *OUTPUT_STAGE,
        ),
        attributes=(TO, _KEEPDIMS),
        output=Tensor("result", "as attribute to", "as of ReduceSum", "requantized"),
        body=f"""
  shape = Shape (x)
  rank = Shape (shape)
  axes_from_first = Mod (axes, rank)
  x_integer = Cast <to = 6> (x)
  raw_sum = ReduceSum <keepdims: int = @keepdims> (x_integer, axes_from_first)
  total = Add (raw_sum, offset)
  result = intaglio.Rescale{rounding} <to: int = @to>
    (total, multiplier, shift, zero_point, minimum, maximum)
""",
    )


def _reduce(operator: str) -> FunctionSpecification:
    word = {"Max": "largest", "Min": "smallest"}[operator]
    return FunctionSpecification(
        name=f"Reduce{operator}Integer",
        description=f"The {word} integer over some axes. Scale and zero point stay.",
        formula=f"{operator.lower()}(x) over axes",
        source=f"TensorFlow Lite REDUCE_{operator.upper()}",
        inputs=(Tensor("x", "int8 or int16", "any", "input"), _AXES),
        attributes=(_KEEPDIMS,),
        output=Tensor("result", "as x", f"as of Reduce{operator}", f"the {word} ones"),
        body=f"""
  x_integer = Cast <to = 6> (x)
  found = Reduce{operator} <keepdims: int = @keepdims> (x_integer, axes)
  result = CastLike (found, x)
""",
    )


# Rows first, then columns: the windows of an axis are gathered as [outputs, kernel] and summed.
_AVERAGE_POOL = FunctionSpecification(
    name="AveragePoolInteger",
    description="Average of the raw integers of each window, over its elements inside the image "
    "(padding is not counted), rounded half away from zero. Scale and zero point stay. Pads are "
    "smaller than the kernel.",
    formula="s = sum of the window, n = its valid elements; trunc((s + sign(s) * (n / 2)) / n)",
    source="TensorFlow Lite reference_integer_ops::AveragePool",
    inputs=(Tensor("x", "int8 or int16", "[N, C, H, W]", "input"),),
    attributes=(
        Attribute("kernel_shape", "rows and columns of the window"),
        Attribute("strides", "rows and columns from one window to the next", (1, 1)),
        Attribute("pads", "top, left, bottom, right", (0, 0, 0, 0)),
        Attribute("ceil_mode", "1: a last, partial window is kept", 0),
    ),
    output=Tensor("result", "as x", "[N, C, OH, OW]", "averages"),
    body="""
  zero = Constant <value = int64 {0}> ()
  one = Constant <value = int64 {1}> ()
  first = Constant <value = int64[1] {0}> ()
  second = Constant <value = int64[1] {1}> ()
  kernel = Constant <value_ints: ints = @kernel_shape> ()
  stride = Constant <value_ints: ints = @strides> ()
"""
    + PADS
    + """

  image_end = Add (image, pad_begin)
  padded_end = Add (image_end, pad_end_partial)
  slack = Sub (padded_end, kernel)
"""
    + COUNT
    + """
  begin_h = Gather <axis = 0> (pad_begin, zero)
  begin_w = Gather <axis = 0> (pad_begin, one)
  end_h = Gather <axis = 0> (image_end, zero)
  end_w = Gather <axis = 0> (image_end, one)

"""
    + STARTS
    + """
  place_h = Range (zero, kernel_h, one)
  place_w = Range (zero, kernel_w, one)
  index_h = Add (start_h, place_h)
  index_w = Add (start_w, place_w)

  x_integer = Cast <to = 6> (x)
  padding = Constant <value = int32 {0}> ()
  padded = Pad (x_integer, all_pads, padding, image_axes)
  rows = Gather <axis = 2> (padded, index_h)
  row_axis = Constant <value = int64[1] {3}> ()
  row_sums = ReduceSum <keepdims = 0> (rows, row_axis)
  columns = Gather <axis = 3> (row_sums, index_w)
  column_axis = Constant <value = int64[1] {4}> ()
  sums = ReduceSum <keepdims = 0> (columns, column_axis)

  stop_h = Add (start_h, kernel_h)
  stop_w = Add (start_w_list, kernel_w)
  valid_stop_h = Min (stop_h, end_h)
  valid_stop_w = Min (stop_w, end_w)
  valid_start_h = Max (start_h, begin_h)
  valid_start_w = Max (start_w_list, begin_w)
  valid_h = Sub (valid_stop_h, valid_start_h)
  valid_w = Sub (valid_stop_w, valid_start_w)
  count_wide = Mul (valid_h, valid_w)
  count = Cast <to = 6> (count_wide)

  two = Constant <value = int32 {2}> ()
  half = Div (count, two)
  minus_half = Neg (half)
  negative = Less (sums, padding)
  nudge = Where (negative, minus_half, half)
  nudged = Add (sums, nudge)
  average = Div (nudged, count)
  result = CastLike (average, x)
""",
)

SPECIFICATIONS = (
    *(_mean_or_sum(operator, r) for operator in ("Mean", "Sum") for r in ROUNDINGS),
    _reduce("Max"),
    _reduce("Min"),
    _AVERAGE_POOL,
)
