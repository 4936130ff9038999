"""int16 forms of MaxPool, DepthToSpace and SpaceToDepth, which onnxruntime has for int8 only.

A move of int16 is that of its two halves: ``x = 256*high + (low + 128)``, both int8.
"""

from __future__ import annotations

from intaglio.passes.dialect.specification import Attribute, FunctionSpecification, Tensor
from intaglio.passes.dialect.windows import COUNT, PADS, STARTS

# Rows first, then columns: the windows of an axis are gathered as [outputs, kernel].
_MAX_POOL = FunctionSpecification(
    name="MaxPoolInteger16",
    description="Largest int16 of each window. Scale and zero point stay.",
    formula="max over the elements of the window inside the image",
    source="TensorFlow Lite reference_integer_ops::MaxPool (int16)",
    inputs=(Tensor("x", "int16", "[N, C, H, W]", "input"),),
    attributes=(
        Attribute("kernel_shape", "rows and columns of the window"),
        Attribute("strides", "rows and columns from one window to the next", (1, 1)),
        Attribute("dilations", "distance of the window's elements", (1, 1)),
        Attribute("pads", "top, left, bottom, right", (0, 0, 0, 0)),
        Attribute("ceil_mode", "1: a last, partial window is kept", 0),
    ),
    output=Tensor("result", "int16", "[N, C, OH, OW]", "maxima"),
    body="""
  zero = Constant <value = int64 {0}> ()
  one = Constant <value = int64 {1}> ()
  second = Constant <value = int64[1] {1}> ()
  kernel = Constant <value_ints: ints = @kernel_shape> ()
  stride = Constant <value_ints: ints = @strides> ()
  dilation = Constant <value_ints: ints = @dilations> ()
"""
    + PADS
    + """

  kernel_less_one = Sub (kernel, one)
  reach = Mul (kernel_less_one, dilation)
  image_end = Add (image, pad_begin)
  padded_end = Add (image_end, pad_end_partial)
  padded_last = Sub (padded_end, one)
  slack = Sub (padded_last, reach)
"""
    + COUNT
    + """
  dilation_h = Gather <axis = 0> (dilation, zero)
  dilation_w = Gather <axis = 0> (dilation, one)

"""
    + STARTS
    + """
  tap_h = Range (zero, kernel_h, one)
  tap_w = Range (zero, kernel_w, one)
  place_h = Mul (tap_h, dilation_h)
  place_w = Mul (tap_w, dilation_w)
  index_h = Add (start_h, place_h)
  index_w = Add (start_w, place_w)

  x_integer = Cast <to = 6> (x)
  lowest = Constant <value = int32 {-32768}> ()
  padded = Pad (x_integer, all_pads, lowest, image_axes)
  rows = Gather <axis = 2> (padded, index_h)
  row_axis = Constant <value = int64[1] {3}> ()
  row_maxima = ReduceMax <keepdims = 0> (rows, row_axis)
  columns = Gather <axis = 3> (row_maxima, index_w)
  column_axis = Constant <value = int64[1] {4}> ()
  maxima = ReduceMax <keepdims = 0> (columns, column_axis)
  result = Cast <to = 5> (maxima)
""",
)

_HALVES = """
  low_bits = Constant <value = int32 {255}> ()
  middle = Constant <value = int32 {128}> ()
  byte = Constant <value = int32 {256}> ()
  x_integer = Cast <to = 6> (x)
  low_byte = BitwiseAnd (x_integer, low_bits)
  low_signed = Sub (low_byte, middle)
  low = Cast <to = 3> (low_signed)
  high_part = Sub (x_integer, low_byte)
  high_byte = Div (high_part, byte)
  high = Cast <to = 3> (high_byte)
"""

_JOINED = """
  low_integer = Cast <to = 6> (low_moved)
  high_integer = Cast <to = 6> (high_moved)
  high_up = Mul (high_integer, byte)
  low_up = Add (low_integer, middle)
  whole = Add (high_up, low_up)
  result = Cast <to = 5> (whole)
"""


def _block_move(operator: str, attributes: str, *described: Attribute) -> FunctionSpecification:
    return FunctionSpecification(
        name=f"{operator}Integer16",
        description=f"{operator} of int16. Scale and zero point stay.",
        formula=f"256 * {operator}(x >> 8) + {operator}(x & 255)",
        source=f"{operator} of ONNX",
        inputs=(Tensor("x", "int16", "[N, C, H, W]", "input"),),
        attributes=described,
        output=Tensor("result", "int16", f"as of {operator}", "moved values"),
        body=f"""{_HALVES}
  low_moved = {operator} <{attributes}> (low)
  high_moved = {operator} <{attributes}> (high)
{_JOINED}""",
    )


_BLOCK = Attribute("blocksize", "rows and columns of a block")

SPECIFICATIONS = (
    _MAX_POOL,
    _block_move(
        "DepthToSpace",
        "blocksize: int = @blocksize, mode: string = @mode",
        _BLOCK,
        Attribute("mode", "DCR or CRD, as of DepthToSpace"),
    ),
    _block_move("SpaceToDepth", "blocksize: int = @blocksize", _BLOCK),
)
