"""Convolutions with trained weights for Cortex-M with DSP: SMLAD on pairs of int16.

The windows of two pixels are fetched into scratch memory as int16 less the zero point; then two
filters at a time are multiplied with both, see :mod:`.trained_dots`. With less scratch memory, or
for a single pixel, it is one pixel and four filters. Sums that need 64 bits are taken in parts that
fit 32.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from intaglio.targets.c.kernels.base import Array, Implementation
from intaglio.targets.c.kernels.dsp.finish import ACCUMULATOR_LIMIT, finish
from intaglio.targets.c.kernels.dsp.trained_depthwise import depthwise
from intaglio.targets.c.kernels.dsp.trained_gather import WIDEN, window_function
from intaglio.targets.c.kernels.dsp.trained_sums import sums_of_one, sums_of_two
from intaglio.targets.c.kernels.dsp.trained_text import Ending, Inner, dense_function
from intaglio.targets.c.kernels.portable.constants import largest_magnitude
from intaglio.targets.c.kernels.portable.rescaling import rescaling
from intaglio.targets.c.kernels.portable.trained import is_wide, trained_bias
from intaglio.targets.c.literals import c_type, number
from intaglio.targets.c.network import TrainedConvolution, Window

_INNER = Inner("dsp", window_function("dsp_trained_window", WIDEN), sums_of_one, sums_of_two)


def implement(layer: TrainedConvolution, variant: str, budget: int) -> Implementation | None:
    """Code of a layer with trained weights; None for groups of several channels."""
    del variant
    return depthwise(layer, budget) if layer.groups > 1 else dense(layer, budget, _INNER)


def dense(layer: TrainedConvolution, budget: int, inner: Inner) -> Implementation | None:
    """Code of a layer whose filters read all channels; None where there is nothing to compute.

    Args:
        layer: The layer.
        budget: Bytes of scratch memory that cost nothing.
        inner: Inner loops.
    """
    if not all(tensor.size for tensor in (*layer.inputs, layer.output)):
        return None
    window, taps = _flat(layer.window), math.prod(layer.weights_shape[1:])
    bytes_ = -(-taps // 4) * 8
    both = window.result[1] > 1 and 2 * bytes_ <= budget
    end, bias = _ending(layer), trained_bias(layer)
    most = ((1 << 31) - 1) // (layer.limit * largest_magnitude(layer.inputs[0])) // 4 * 4
    y, b = c_type(layer.output.dtype), c_type(bias.data.dtype.name)
    trained = len(layer.inputs) > 2
    function = dense_function(
        inner, end, b, y, wide=is_wide(layer), both=both, trained=trained, most=most
    )
    geometry = (
        *window.image, window.result[1], *window.kernel, *window.strides, *window.dilations,
        *window.pads, layer.inputs[0].zero_point, taps,
    )  # fmt: skip
    call = f"""\
static const dsp_window window = {{
    {", ".join(map(str, geometry))}
}};
{function.name}(x0, y, scratch, &window, {window.result[0]},
    {layer.weights_shape[0]}, x1, @bias@, {"x2" if trained else "NULL"},
    @multiplier@, @shift@, {", ".join(map(number, end.limits))});"""
    return Implementation(
        call, (function,), (bias, end.multiplier, end.shift), bytes_ * (2 if both else 1)
    )


def _flat(window: Window) -> Window:
    # An image whose pixels are windows, as one row, so that pixels make pairs.
    rows, columns, channels = window.image
    same = window.result[:2] == (rows, columns) and window.strides == (1, 1)
    if window.kernel != (1, 1) or any(window.pads) or not same:
        return window
    result = (1, rows * columns, window.result[2])
    return dataclasses.replace(window, image=(1, rows * columns, channels), result=result)


def _ending(layer: TrainedConvolution) -> Ending:
    rescale = layer.rescale
    taps = math.prod(layer.weights_shape[1:])
    most = taps * layer.limit * largest_magnitude(layer.inputs[0])
    most += int(np.abs(layer.bias).max(initial=0))
    if len(layer.inputs) > 2 or is_wide(layer):
        most = max(most, ACCUMULATOR_LIMIT)
    size = np.size(rescale.multiplier)
    short = finish(rescale, size, most) if layer.output.dtype == "int8" else None
    if short is not None:
        return Ending(
            short.name,
            (short.function(),),
            short.call("acc", "factor", "half", "places"),
            True,
            Array("multiplier", short.multiplier),
            Array("shift", short.shift),
            (short.low, short.high, short.zero_point),
        )
    code = rescaling(rescale)
    cast = "(int32_t)" if is_wide(layer) and code.accumulator == "int32_t" else ""
    text = f"{code.function.name}({cast}acc, factor, places)"
    if code.clamps:
        text = f"clamp({text}, low, high)"
    name = code.function.name.removeprefix("rescale_")
    return Ending(
        f"{name}{'_clamped' if code.clamps else ''}_portable",
        code.functions,
        f"({c_type(layer.output.dtype)})({text} + zero_point)",
        False,
        Array("multiplier", code.multiplier),
        Array("shift", code.shift),
        (code.low, code.high, code.zero_point),
    )
