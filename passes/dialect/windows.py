"""Parts of the bodies of pools: where windows lie, on sizes that only the run knows.

A body that uses them has ``kernel``, ``stride``, ``zero``, ``one`` and ``second`` (the vector of 1)
and sets ``image_end`` and ``slack`` (how far the last window may begin) before :data:`COUNT`.
"""

#: Pads, with what ``ceil_mode`` adds at the end, and the size of the image.
PADS = """
  pad_list = Constant <value_ints: ints = @pads> ()
  ceil = Constant <value_int: int = @ceil_mode> ()
  pad_begin, pad_end = Split <axis = 0, num_outputs = 2> (pad_list)
  stride_less_one = Sub (stride, one)
  partial = Mul (stride_less_one, ceil)
  pad_end_partial = Add (pad_end, partial)
  all_pads = Concat <axis = 0> (pad_begin, pad_end_partial)
  image_axes = Constant <value = int64[2] {2, 3}> ()
  image = Shape <start = 2> (x)
"""

#: How many windows there are (one that would begin in the padding behind is none), and the sizes
#: of both axes.
COUNT = """
  image_last = Sub (image_end, one)
  fits = Div (slack, stride)
  starts_inside = Div (image_last, stride)
  last_window = Min (fits, starts_inside)
  windows = Add (last_window, one)
  window_end = Mul (windows, stride)

  window_end_h = Gather <axis = 0> (window_end, zero)
  window_end_w = Gather <axis = 0> (window_end, one)
  stride_h = Gather <axis = 0> (stride, zero)
  stride_w = Gather <axis = 0> (stride, one)
  kernel_h = Gather <axis = 0> (kernel, zero)
  kernel_w = Gather <axis = 0> (kernel, one)
"""

#: Where the windows of either axis begin, as columns.
STARTS = """
  start_h_list = Range (zero, window_end_h, stride_h)
  start_w_list = Range (zero, window_end_w, stride_w)
  start_h = Unsqueeze (start_h_list, second)
  start_w = Unsqueeze (start_w_list, second)
"""
