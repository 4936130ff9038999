"""The judge of convolutions, products, pools, reductions, moves and borders.

Every layer is computed from the formula of its class in ``targets/c/network.py``, tap by tap, with
``transforms/fixed_point.py`` for the rescales; nothing is folded or reordered. Sums are exact in
int64 (float32 only at a float border).
"""

from __future__ import annotations

import numpy as np

from intaglio.targets.c import network as layers
from intaglio.transforms import fixed_point
from intaglio.transforms.fixed_point import Rounding


def reference(layer, arrays):
    """Output of ``layer``.

    Args:
        layer: A layer of one of ``KINDS``.
        arrays: One for each of its inputs, constants included.
    """
    if getattr(layer, "rescale", None) is not None:
        result = rescaled(layer.rescale, accumulators(layer, arrays))
    else:
        result = np.asarray(_OTHERS[type(layer)](layer, *arrays))
    limits = np.iinfo(layer.output.dtype) if layer.output.dtype != "float32" else None
    if limits is not None and result.size:
        assert limits.min <= result.min() <= result.max() <= limits.max
    return result.astype(layer.output.dtype).reshape(layer.output.shape)


def rescaled(rescale, acc):
    """``clip(round(acc * multiplier * 2^-shift) + zero_point, ...)``, channels on the last axis."""
    acc = np.asarray(acc, np.int64)
    if rescale.rounding is Rounding.REAL:
        exponent = -rescale.shift.astype(np.int32)
        scaled = fixed_point.rescale_real(acc, np.ldexp(rescale.multiplier.astype(float), exponent))
    else:
        function = {
            Rounding.DOUBLE: fixed_point.rescale_double,
            Rounding.SINGLE: fixed_point.rescale_single,
            Rounding.WIDE: fixed_point.rescale_wide,
        }[rescale.rounding]
        scaled = function(acc, rescale.multiplier, rescale.shift)
    return np.clip(scaled + rescale.zero_point, rescale.minimum, rescale.maximum)


def accumulators(layer, arrays):
    """Exact sums of a layer that has an output stage, in int64, before it."""
    return SUMS[type(layer)](layer, *arrays)


def _convolution(layer, x):
    window = layer.window
    image = x.reshape(window.image).astype(np.int64) - layer.inputs[0].zero_point
    weights = layer.weights.astype(np.int64) - layer.weight_zero_point
    acc = np.zeros(window.result, np.int64) + layer.bias
    for tap in np.ndindex(window.kernel):
        at, inside = _elements(window, tap)
        taken = np.where(inside[..., None], image[at], 0)
        acc += _by_groups(taken, weights[:, tap[0], tap[1]], layer.groups)
    return acc


def _elements(window, tap):
    """Indices of one tap's element for each result, and whether they lie in the image."""
    places, inside = [], []
    for axis in range(2):
        place = np.arange(window.result[axis]) * window.strides[axis] - window.pads[axis]
        place += tap[axis] * window.dilations[axis]
        inside.append((place >= 0) & (place < window.image[axis]))
        places.append(np.clip(place, 0, window.image[axis] - 1))
    return np.ix_(*places), inside[0][:, None] & inside[1]


def _by_groups(taken, weights, groups):
    """``[..., channels]`` times ``[filters, channels / groups]`` for each group of channels."""
    depth, size = weights.shape[1], weights.shape[0] // groups
    parts = [
        taken[..., g * depth : (g + 1) * depth] @ weights[g * size : (g + 1) * size].T
        for g in range(groups)
    ]
    return np.concatenate(parts, -1)


def _added_tables(layer, x):
    """Row by row, tap by tap; taps outside read the border's value."""
    window = layer.window
    image = x.reshape(window.image).astype(np.int64)
    acc = np.zeros(window.result, np.int64) + layer.bias
    depth, size = window.image[2] // layer.groups, window.result[2] // layer.groups
    for tap, place in enumerate(np.ndindex(window.kernel)):
        at, inside = _elements(window, place)
        taken = np.where(inside[..., None], image[at], layer.pad_value)
        for branch in layer.branches:
            rows = ((taken >> branch.shift) & branch.mask) - branch.low
            rows = np.clip(rows, 0, branch.tables.shape[1] - 1)
            for channel in range(window.image[2]):
                group, inner = divmod(channel, depth)
                some = slice(group * size, (group + 1) * size)
                entries = branch.tables[tap * depth + inner].astype(np.int64)[:, some]
                acc[..., some] += entries[rows[..., channel]]
    return acc


def _trained(layer, x, weights, trained_bias=0):
    """``sum (x - z) * w + bias``, tap by tap, in int64."""
    window, z = layer.window, layer.inputs[0].zero_point
    rows, columns, channels = window.image
    image = x.reshape(window.image).astype(np.int64) - z
    filters, _, _, depth = weights.shape
    # A border of zeros that holds every tap.
    far = [
        (window.result[i] - 1) * window.strides[i]
        + (window.kernel[i] - 1) * window.dilations[i]
        + 1
        for i in (0, 1)
    ]
    room = np.zeros(
        (max(far[0], rows + window.pads[0]), max(far[1], columns + window.pads[1]), channels),
        np.int64,
    )
    top, left = window.pads
    room[top : top + rows, left : left + columns] = image
    acc = np.zeros(window.result, np.int64) + layer.bias + trained_bias
    per_group = filters // layer.groups
    for i, j in np.ndindex(window.kernel):
        a, b = i * window.dilations[0], j * window.dilations[1]
        seen = room[a : a + far[0], b : b + far[1]]
        seen = seen[:: window.strides[0], :: window.strides[1]]
        seen = seen[: window.result[0], : window.result[1]]
        for g in range(layer.groups):
            some = slice(g * per_group, (g + 1) * per_group)
            values = seen[..., g * depth : (g + 1) * depth]
            acc[..., some] += values @ weights[some, i, j].astype(np.int64).T
    return acc


def _transposed(layer, x):
    window = layer.window
    image = x.reshape(window.image).astype(np.int64) - layer.inputs[0].zero_point
    acc = np.zeros(window.result, np.int64) + layer.bias
    for row, column, i, j in np.ndindex(*window.image[:2], *window.kernel):
        y = row * window.strides[0] + i * window.dilations[0] - window.pads[0]
        z = column * window.strides[1] + j * window.dilations[1] - window.pads[1]
        if 0 <= y < window.result[0] and 0 <= z < window.result[1]:
            weights = layer.weights[:, i, j].astype(np.int64)
            acc[y, z] += _by_groups(image[row, column], weights, layer.groups)
    return acc


def _product(layer, a, b):
    m, k, n = layer.sizes
    first = a.reshape(-1, m, k).astype(np.int64) - layer.inputs[0].zero_point
    second = b.reshape(-1, k, n).astype(np.int64) - layer.inputs[1].zero_point
    acc = [first[i] @ second[j] for i, j in layer.batches]
    return np.array(acc, np.int64).reshape(-1, m, n)


def _pool(layer, x):
    window = layer.window
    image = x.reshape(window.image).astype(np.int64)
    largest = np.full(window.result, np.iinfo(x.dtype).min, np.int64)
    total, count = np.zeros(window.result, np.int64), np.zeros((*window.result[:2], 1), np.int64)
    for tap in np.ndindex(window.kernel):
        at, inside = _elements(window, tap)
        largest = np.where(inside[..., None], np.maximum(largest, image[at]), largest)
        total += np.where(inside[..., None], image[at], 0)
        count += inside[..., None]
    if not layer.average:
        return largest
    return np.sign(total) * ((np.abs(total) + count // 2) // count)


def _reduction(layer, x):
    if layer.kind == "sum":
        return x.astype(np.int64).sum(axis=layer.axes) + layer.offset
    return {"max": np.max, "min": np.min}[layer.kind](x, axis=layer.axes)


def _move(layer, *arrays):
    flat = [array.reshape(-1) for array in arrays]
    result = np.zeros(layer.output.size, np.int64) + (layer.fill or 0)
    for block in layer.blocks:
        for index in np.ndindex(block.sizes):
            source = block.start + int(np.dot(index, block.strides) if index else 0)
            target = block.to + int(np.dot(index, block.to_strides) if index else 0)
            result[target] = flat[block.operand][source]
    return result


def _take(layer, x):
    return x.reshape(layer.outer, layer.length, layer.inner)[:, layer.indices]


def _border(layer, x):
    if x.dtype == np.float32:
        scale, zero_point = np.float32(layer.output.scale), layer.output.zero_point
        limits = np.iinfo(layer.output.dtype)
        with np.errstate(over="ignore"):
            levels = np.rint(np.clip(x / scale, -1e6, 1e6)).astype(np.int64) + zero_point
        return np.clip(levels, limits.min, limits.max)
    scale, zero_point = np.float32(layer.inputs[0].scale), layer.inputs[0].zero_point
    return (x.astype(np.int64) - zero_point).astype(np.float32) * scale


#: Sums of layers that scale them.
SUMS = {
    layers.AdditiveTables: _added_tables,
    layers.Convolution: _convolution,
    layers.Product: _product,
    layers.Reduction: _reduction,
    layers.TrainedConvolution: _trained,
    layers.TransposedConvolution: _transposed,
}

_OTHERS = {
    layers.Border: _border,
    layers.Move: _move,
    layers.Pool: _pool,
    layers.Reduction: _reduction,
    layers.Take: _take,
}

#: The layers that :func:`reference` knows.
KINDS = frozenset({*SUMS, *_OTHERS})
