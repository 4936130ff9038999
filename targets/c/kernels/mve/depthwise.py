"""Depthwise 3x3 convolutions: one dot product a result, of one vector of 4 x 4 pixels.

With four rows side by side (:mod:`~.planes`) one load has 4 columns of 4 rows of a channel. The
window of a result is 9 of those 16 bytes, so one ``VMLADAV`` with the weights at the right places
is a result; stride 1 gets 2 x 2 results of the same vector, with the weights moved by a column
(``VSHLC`` by a word), by a row (``VSHL`` by a byte), and by both. The results of a channel share
bias, multiplier and shift, which are scalars.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Array, Implementation
from intaglio.targets.c.kernels.mve import planes
from intaglio.targets.c.kernels.mve.channels import channels_block, form_of
from intaglio.targets.c.kernels.mve.dense import folded_bias
from intaglio.targets.c.kernels.mve.driver import DRIVER
from intaglio.targets.c.kernels.mve.scaling import Scaling, scaling
from intaglio.targets.c.kernels.mve.view import View
from intaglio.targets.c.network import Convolution

#: Scratch memory beside planes: zero points, and what a store behind the last column touches.
_EDGES = 16 + 64


def implement(layer: Convolution, variant: str, budget: int) -> Implementation | None:
    """Code of a depthwise 3x3 convolution; None for any other."""
    del variant
    window = layer.window
    if not _is_depthwise_int8(layer):
        return None
    scale = scaling(layer.rescale, window.result[2])
    if scale is None:
        return None
    views = [view for swapped in (False, True) if (view := View.of(window, swapped)).fits]
    if not views:
        return None
    return _over_planes(layer, scale, min(views, key=lambda view: view.work), budget)


def _over_planes(layer: Convolution, scale: Scaling, view: View, budget: int) -> Implementation:
    rows, columns = view.result
    channels = view.channels
    # Four results are computed at once even where there are less.
    plane_columns = (max(columns, view.four) - 1) * view.stride + 4
    lanes = planes.LANES
    while lanes > 4 and _EDGES + plane_columns * 4 * min(channels, lanes) > budget > 0:
        lanes //= 2
    lanes = min(channels, lanes)
    form = form_of(view.stride, columns, 4 * lanes)
    function = channels_block(form, scale)
    room = plane_columns - view.pads[1]
    taken = min(view.image[1], room)
    fast, vectors = None, 0
    if lanes == planes.LANES and planes.has_words(channels, view.x[1]):
        fast, vectors = planes.fast(view.x[1]), taken
    elif lanes == channels and view.has_whole_vectors and taken == view.image[1]:
        fast, vectors = planes.fast(planes.LANES), view.x[0] // planes.LANES
    plane_bytes = plane_columns * form.pitch
    wanted = view.planes + view.is_odd
    everything = _EDGES + wanted * plane_bytes
    # With no more planes than the result has bytes, and the result in the input's place, no more
    # memory is needed than with little scratch memory and both tensors.
    alike = view.stride == 1 and view.result == view.image
    whole = everything <= budget or (budget == 0 and alike and everything <= layer.output.bytes)
    count = wanted if whole else max(1, min(wanted, (budget - _EDGES) // plane_bytes))
    groups = columns // (2 * view.four) if form.groups else 0
    shape = [
        *view.image,
        *(channels, *view.x, view.y[0], vectors, lanes),
        *(view.stride, *view.pads),
        *(view.planes, view.row_step, rows - view.rows_each if view.is_odd else -1),
        *(plane_columns, form.pitch, count, 3 + scale.words, layer.inputs[0].zero_point),
    ]
    loaded, stored = form.moved(groups)
    moves = [
        plane_bytes - loaded * form.pitch,
        view.row_step * view.y[0] - stored * view.y[1],
    ]
    lines = [
        f"static const struct mve_depthwise shape = {{{', '.join(map(str, shape))}}};",
        f"struct mve_channels_job job = {{y, @stream@, {groups}, {2 * view.four * view.y[1]}, 1,",
        f"                               {moves[0]}, {moves[1]}, @stream@, {scale.zero_point}, x0,",
        "                               @places@};",
        f"mve_convolve_channels(&shape, {function.name}, &job,",
        f"                      {fast.name if fast else 'mve_interleave'}, x0, y,",
        "                      (int8_t *)scratch);",
    ]
    return Implementation(
        "\n".join(lines),
        (*([fast] if fast else []), DRIVER, function),
        (
            Array("stream", _stream(layer, scale, view.swapped)),
            Array("places", _places(view)),
        ),
        scratch=_EDGES + count * plane_bytes,
        in_place=(0,) if whole and alike else (),
    )


def _is_depthwise_int8(layer: Convolution) -> bool:
    window = layer.window
    return (
        layer.is_depthwise
        and layer.groups == window.image[2] == window.result[2]
        and window.kernel == (3, 3)
        and window.dilations == (1, 1)
        and window.strides in ((1, 1), (2, 2))
        and not layer.wide
        and layer.weight_zero_point == 0
        and layer.inputs[0].dtype == "int8"
        and layer.output.dtype == "int8"
    )


def _stream(layer: Convolution, scale: Scaling, swapped: bool) -> NDArray[np.int32]:
    """For each channel bias and columns of the rescale, then three weights a column and a zero."""
    channels = layer.weights.shape[0]
    columns = np.zeros((channels, 3, 4), np.int8)
    window = layer.weights[:, :, :, 0]
    columns[:, :, :3] = window if swapped else window.transpose(0, 2, 1)
    words = np.ascontiguousarray(columns).reshape(channels, 12).view("<i4")
    bias = folded_bias(layer).astype(np.int32)[:, None]
    return np.concatenate([bias, scale.columns, words], axis=1).astype(np.int32).reshape(-1)


def _places(view: View) -> NDArray[np.int32]:
    """Where four results go, as words, and eight, as halfwords: evens are the first four."""
    row, column = view.y
    if view.stride == 1:
        four = np.array([0, column, row, row + column])
    else:
        four = np.arange(4) * column
    eight = np.stack([four, four + view.four * column], axis=1).reshape(-1).astype("<u2")
    return np.concatenate([four.astype("<i4"), eight.view("<i4")]).astype(np.int32)
