"""Computes a network layer by layer in numpy: what its C code must give.

Each layer follows the formula of its class in ``targets/c/network.py``, so whatever is wrong with
a result lies in the layers, not in C.
"""

from __future__ import annotations

import numpy as np

from intaglio.targets.c import network as layers
from intaglio.transforms import fixed_point
from intaglio.transforms.fixed_point import Rounding
from intaglio.transforms.interpolation import interpolate
from intaglio.transforms.logistic import SigmoidScale, logistic_int16, tanh_int16
from intaglio.transforms.softmax import (
    reciprocal,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)


def evaluate(network, feeds):
    """Every tensor of ``network`` by object, given its inputs by name."""
    found = {}
    for tensor in network.inputs:
        array = np.asarray(feeds[tensor.name])
        assert array.size == tensor.size
        found[tensor] = array.reshape(tensor.shape).astype(tensor.dtype)
    for layer in network.layers:
        arrays = [found[t] if t.data is None else t.data for t in layer.inputs]
        for tensor, array in zip(layer.inputs, arrays, strict=True):
            assert (array.shape, array.dtype.name) == (tensor.shape, tensor.dtype), layer.name
        assert layer.output not in found, f"{layer.name} is made twice"
        result = np.asarray(_KINDS[type(layer)](layer, *arrays))
        assert result.size == layer.output.size, layer.name
        found[layer.output] = result.reshape(layer.output.shape).astype(layer.output.dtype)
    return found


def values(network, found):
    """Results of :func:`evaluate` by the names of graph values."""
    named = {tensor.name: array for tensor, array in found.items()}
    return {**{name: found[tensor] for name, tensor in network.aliases.items()}, **named}


def rescaled(rescale, acc):
    """The output stage; constants per channel lie along the last axis."""
    acc = np.asarray(acc, np.int64)
    if rescale.rounding is Rounding.REAL:
        scale = np.ldexp(rescale.multiplier.astype(np.float64), -rescale.shift.astype(np.int32))
        result = fixed_point.rescale_real(acc, scale)
    else:
        function = getattr(fixed_point, f"rescale_{rescale.rounding.value}")
        result = function(acc, rescale.multiplier, rescale.shift)
    return np.clip(result + rescale.zero_point, rescale.minimum, rescale.maximum)


def _windows(window, image, fill):
    """``[rows, columns, kernel rows, kernel columns, channels]``, padded with ``fill``."""
    rows, columns = (
        np.arange(window.result[a])[:, None] * window.strides[a]
        + np.arange(window.kernel[a])[None] * window.dilations[a]
        - window.pads[a]
        for a in (0, 1)
    )
    inside = ((rows >= 0) & (rows < window.image[0]))[:, None, :, None] & (
        (columns >= 0) & (columns < window.image[1])
    )[None, :, None, :]
    taken = image[
        np.clip(rows, 0, window.image[0] - 1)[:, None, :, None],
        np.clip(columns, 0, window.image[1] - 1)[None, :, None, :],
    ]
    return np.where(inside[..., None], taken, fill), inside


def _convolution(layer, x):
    window = layer.window
    image = x.reshape(window.image).astype(np.int64) - layer.inputs[0].zero_point
    taps, _ = _windows(window, image, 0)
    weights = layer.weights.astype(np.int64) - layer.weight_zero_point
    size = len(weights) // layer.groups
    depth = window.image[2] // layer.groups
    assert weights.shape == (window.result[2], *window.kernel, depth)
    parts = [
        np.einsum(
            "abijc,oijc->abo",
            taps[..., g * depth : (g + 1) * depth].astype(np.float64),
            weights[g * size : (g + 1) * size].astype(np.float64),
            optimize=True,
        )
        for g in range(layer.groups)
    ]
    acc = np.concatenate(parts, axis=-1).astype(np.int64) + layer.bias
    _check_width(layer, acc)
    return rescaled(layer.rescale, acc)


def _check_width(layer, acc):
    if not layer.wide:
        assert np.abs(acc).max(initial=0) < 2**31, layer.name


def _transposed(layer, x):
    window = layer.window
    image = x.reshape(window.image).astype(np.int64) - layer.inputs[0].zero_point
    rows, columns, channels = window.image
    acc = np.zeros(window.result, np.int64) + layer.bias
    size, depth = len(layer.weights) // layer.groups, channels // layer.groups
    for i, j in np.ndindex(rows, columns):
        for k, m in np.ndindex(window.kernel):
            row = i * window.strides[0] + k * window.dilations[0] - window.pads[0]
            column = j * window.strides[1] + m * window.dilations[1] - window.pads[1]
            if not (0 <= row < window.result[0] and 0 <= column < window.result[1]):
                continue
            for g in range(layer.groups):
                weights = layer.weights[g * size : (g + 1) * size, k, m].astype(np.int64)
                taken = image[i, j, g * depth : (g + 1) * depth]
                acc[row, column, g * size : (g + 1) * size] += weights @ taken
    _check_width(layer, acc)
    return rescaled(layer.rescale, acc)


def _product(layer, a, b):
    rows, depth, columns = layer.sizes
    first = a.reshape(-1, rows, depth).astype(np.int64) - layer.inputs[0].zero_point
    second = b.reshape(-1, depth, columns).astype(np.int64) - layer.inputs[1].zero_point
    acc = np.stack([first[i] @ second[j] for i, j in layer.batches])
    _check_width(layer, acc)
    return rescaled(layer.rescale, acc)


def _centered(layer, place, array):
    return array.astype(np.int64) - layer.inputs[place].zero_point


def _sum(layer, a, b):
    one = rescaled(layer.first, _centered(layer, 0, a) << layer.left_shift)
    two = rescaled(layer.second, _centered(layer, 1, b) << layer.left_shift)
    return rescaled(layer.rescale, one + layer.sign * two)


def _multiplication(layer, a, b):
    return rescaled(layer.rescale, _centered(layer, 0, a) * _centered(layer, 1, b))


def _extreme(layer, *arrays):
    result = arrays[0]
    for other in arrays[1:]:
        assert other.dtype == result.dtype
        result = (np.maximum if layer.largest else np.minimum)(result, other)
    return result


def _requantization(layer, x):
    value = _centered(layer, 0, x)
    return rescaled(layer.rescale, np.abs(value) if layer.magnitude else value)


def _prelu(layer, x, slope):
    assert layer.inputs[1].zero_point == 0
    value = _centered(layer, 0, x)
    sloped = value * slope.astype(np.int64)
    below = rescaled(layer.negative, np.where(value < 0, sloped, 0))
    above = rescaled(layer.positive, np.where(value < 0, 0, value))
    return np.where(value < 0, below, above)


def _table(layer, x):
    index = x.astype(np.int64) + 128
    if layer.table.ndim == 1:
        return layer.table[index]
    return layer.table[np.arange(x.shape[-1]), index]


def _sigmoid(layer, x):
    scale = SigmoidScale(layer.multiplier, layer.shift)
    return (tanh_int16 if layer.tanh else logistic_int16)(x, scale)


def _pool(layer, x):
    image = x.reshape(layer.window.image).astype(np.int64)
    if not layer.average:
        lowest = np.iinfo(x.dtype).min
        return _windows(layer.window, image, lowest)[0].max(axis=(2, 3))
    taps, inside = _windows(layer.window, image, 0)
    total, count = taps.sum(axis=(2, 3)), inside.sum(axis=(2, 3))[..., None]
    return np.sign(total) * ((np.abs(total) + count // 2) // count)


def _reduction(layer, x):
    if layer.kind != "sum":
        return (np.max if layer.kind == "max" else np.min)(x, axis=layer.axes)
    return rescaled(layer.rescale, x.astype(np.int64).sum(axis=layer.axes) + layer.offset)


def _softmax(layer, x):
    [table] = layer.constants.values()
    wide = x.astype(np.int64)
    exponentials = table.astype(np.int64)[wide.max(axis=-1, keepdims=True) - wide]
    terms = rounding_divide_by_pot(exponentials, 12)
    scale, bits = reciprocal(terms.sum(axis=-1, keepdims=True))
    product = saturating_rounding_doubling_high_mul(scale, exponentials)
    return np.clip(rounding_divide_by_pot(product, bits + 23) - 128, -128, 127)


def _softmax16(layer, x):
    constants = layer.constants
    wide = x.astype(np.int64)
    difference = wide - wide.max(axis=-1, keepdims=True)
    factors = (int(constants[name].reshape(-1)[0]) for name in ("multiplier", "shift"))
    scaled = fixed_point.rescale_double(difference, *factors) + 32767
    exponential = interpolate(np.clip(scaled, -32768, 32767), constants["exp_table"])
    total = exponential.sum(axis=-1, keepdims=True)
    bits = np.frexp(total.astype(np.float64))[1].astype(np.int64) - 1
    centered = (((total << (30 - bits)) + (1 << 13)) >> 14) - 98304
    inverse = interpolate(np.clip(centered, -32768, 32767), constants["reciprocal_table"])
    product = (np.maximum(exponential * inverse, 0) + (np.int64(1) << (bits - 1))) >> bits
    return np.minimum(product, 32767)


def _resize(layer, x):
    c = {name: array.astype(np.int64) for name, array in layer.constants.items()}
    [image] = x.astype(np.int64)
    wx, wy = c["wx"][:, None], c["wy"][:, None, None]
    columns = image[:, c["x0"]] * (1024 - wx) + image[:, c["x1"]] * wx
    total = columns[c["y0"]] * (1024 - wy) + columns[c["y1"]] * wy
    nudged = total + np.where(total > 0, 1 << 19, -(1 << 19))
    return np.sign(nudged) * (np.abs(nudged) >> 20)


def _move(layer, *arrays):
    result = np.full(layer.output.size, -77 if layer.fill is None else layer.fill, np.int64)
    written = np.zeros(layer.output.size, np.int64)
    for block in layer.blocks:
        places = [np.arange(n) for n in block.sizes]
        grids = np.meshgrid(*places, indexing="ij") if places else []
        read = block.start + sum(g * s for g, s in zip(grids, block.strides, strict=True))
        to = block.to + sum(g * s for g, s in zip(grids, block.to_strides, strict=True))
        read, to = np.asarray(read).reshape(-1), np.asarray(to).reshape(-1)
        assert read.min() >= 0
        result[to] = arrays[block.operand].reshape(-1)[read]
        np.add.at(written, to, 1)
    assert written.max(initial=0) <= 1
    assert layer.fill is not None or written.min(initial=1) == 1
    return result


def _take(layer, x):
    assert layer.indices.dtype == np.int32
    return x.reshape(layer.outer, layer.length, layer.inner)[:, layer.indices]


def _border(layer, x):
    if x.dtype == np.float32:
        meaning, limits = layer.output, np.iinfo(layer.output.dtype)
        levels = np.rint(x / np.float32(meaning.scale)) + meaning.zero_point
        return np.clip(levels, limits.min, limits.max)
    meaning = layer.inputs[0]
    return (x.astype(np.float32) - np.float32(meaning.zero_point)) * np.float32(meaning.scale)


_KINDS = {
    layers.Border: _border,
    layers.Convolution: _convolution,
    layers.Extreme: _extreme,
    layers.InterpolatedTable: lambda layer, x: interpolate(x, layer.table),
    layers.Move: _move,
    layers.Multiplication: _multiplication,
    layers.PRelu: _prelu,
    layers.Pool: _pool,
    layers.Product: _product,
    layers.Reduction: _reduction,
    layers.Requantization: _requantization,
    layers.ResizeLinear: _resize,
    layers.Sigmoid16: _sigmoid,
    layers.Softmax: _softmax,
    layers.Softmax16: _softmax16,
    layers.Sum: _sum,
    layers.Table: _table,
    layers.Take: _take,
    layers.TransposedConvolution: _transposed,
}
