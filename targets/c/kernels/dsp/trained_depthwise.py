"""Depthwise 3x3 convolutions with trained weights: the rows of :mod:`.depthwise`.

A channel's weights become pairs when it is computed, from wherever training keeps them; that is
done for int8 weights, too. The zero point of the input, which stands in the planes, is taken out of
the bias there: ``-zero_point * sum of weights``.
"""

from __future__ import annotations

import re

import numpy as np

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.dsp.depthwise import DEPTHWISE, band_rows
from intaglio.targets.c.kernels.dsp.depthwise_rows import depthwise_rows
from intaglio.targets.c.kernels.dsp.finish import ACCUMULATOR_LIMIT, finish
from intaglio.targets.c.kernels.portable.constants import largest_magnitude
from intaglio.targets.c.kernels.portable.trained import is_wide
from intaglio.targets.c.network import TrainedConvolution
from intaglio.transforms.fixed_point import Rounding, rescale_double, rescale_single

_ROUNDINGS = {Rounding.DOUBLE: rescale_double, Rounding.SINGLE: rescale_single}
#: C names of the text that have another meaning here.
_NAMES = re.compile(r"\bdsp_(put_|depthwise|rows\b)")
_SUM = """\
    to[6] = l->bias[channel];
    to[7] = l->bias[channel];
"""
_SUM_OF_TRAINED = """\
    to[6] = l->bias[channel];
    if (l->trained != NULL) {
        /* Beyond the reach results are at their ends, and sums would be too large. */
        const int32_t total = to[6] + l->trained[channel];
        to[6] = total < -l->reach ? -l->reach : total > l->reach ? l->reach : total;
    }
    for (i = -9; i < 0; i++) {
        to[6] -= l->fill * weights[i];
    }
    to[7] = to[6];
"""
_BIAS = "    const int32_t *bias, *multiplier;\n"
_BIASES = "    const int32_t *bias, *trained, *multiplier;\n    int32_t reach;\n"


def _text() -> Function:
    text = _NAMES.sub(r"dsp_trained_\1", DEPTHWISE.text)
    text = text.replace("const int8_t *weights", "const int16_t *weights")
    text = text.replace(_BIAS, _BIASES).replace(_SUM, _SUM_OF_TRAINED)
    return Function("dsp_trained_depthwise", text, DEPTHWISE.needs)


def reach_of(layer: TrainedConvolution) -> int | None:
    """What a trained bias may be clamped to, so that sums stay below 2^30; None where it may not.

    Sums of such a bias must have results at the ends of their range, whatever the products.
    """
    spread = 9 * layer.limit * largest_magnitude(layer.inputs[0])
    reach, rescale = ACCUMULATOR_LIMIT - 1 - spread, layer.rescale
    if reach - spread <= 0 or rescale.rounding not in _ROUNDINGS:
        return None
    sums = np.array([spread - reach, reach - spread])[:, None]
    scaled = _ROUNDINGS[rescale.rounding](
        sums, np.reshape(rescale.multiplier, -1), np.reshape(rescale.shift, -1)
    )
    results = scaled + rescale.zero_point
    at_ends = (results[0] <= rescale.minimum).all() and (results[1] >= rescale.maximum).all()
    return reach if at_ends else None


def depthwise(layer: TrainedConvolution, budget: int) -> Implementation | None:
    """Code of a depthwise 3x3 convolution of stride 1 or 2; None for others."""
    window, channels = layer.window, layer.window.image[2]
    if (
        layer.groups != channels
        or layer.weights_shape[0] != channels
        or channels % 4
        or window.kernel != (3, 3)
        or window.strides not in ((1, 1), (2, 2))
        or window.dilations != (1, 1)
        or window.pads[1] > 1
        or is_wide(layer)
        or layer.output.dtype != "int8"
    ):
        return None
    zero_point, trained = layer.inputs[0].zero_point, len(layer.inputs) > 2
    reach = reach_of(layer) if trained else 0
    if reach is None:
        return None
    bias = reach or int(np.abs(layer.bias).max(initial=0))
    spread = 9 * layer.limit * largest_magnitude(layer.inputs[0])
    end = finish(layer.rescale, channels, spread + bias)
    if end is None:
        return None
    stride = window.strides[0]
    rows, columns, _ = window.result
    pitch = -(-columns // 2) * stride + 1
    band = band_rows(rows, stride, 16 * pitch, budget)
    left = window.pads[1]
    pairs = min((window.image[1] - left) // 2, pitch - left)
    single = int(pitch > left + pairs and (window.image[1] - left) % 2)
    multiply = depthwise_rows(end, stride)
    numbers = (
        *window.image, rows, columns, stride, *window.pads, zero_point, band, pitch,
        pairs, single, pitch - left - pairs - single, end.zero_point, end.low, end.high,
    )  # fmt: skip
    call = f"""\
const dsp_trained_depthwise_layer layer = {{
    {", ".join(map(str, numbers))},
    x1, @bias@, {"x2" if trained else "NULL"}, @multiplier@, {reach}, @shift@
}};
dsp_trained_depthwise(x0, y, scratch, &layer, {multiply.name});"""
    in_place = stride == 1 and window.pads == (1, 1) and window.image == window.result
    return Implementation(
        call=call,
        functions=(multiply, _text()),
        arrays=(
            Array("bias", layer.bias.astype(np.int32)),
            Array("multiplier", end.multiplier),
            Array("shift", end.shift),
        ),
        scratch=((band - 1) * stride + 3) * 16 * pitch,
        in_place=(0,) if in_place else (),
    )
