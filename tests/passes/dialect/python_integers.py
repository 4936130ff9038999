"""Independent judges of the dialect: every function in plain Python integers, element by element.

Written from the definitions of the TensorFlow Lite and gemmlowp kernels (and of ONNX where those
have no such operator), with C's truncating division spelled out and no width limits, so that an
overflow in a function body shows as a difference. Arrays are only containers here.
"""

from __future__ import annotations

import itertools
import math

import numpy as np


def c_divide(a, b):
    """C's integer division: the quotient is truncated toward zero."""
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def clamp(value, minimum, maximum):
    return min(max(value, minimum), maximum)


# -- rescaling ---------------------------------------------------------------------------------


def doubling_high_mul(a, b):
    """gemmlowp SaturatingRoundingDoublingHighMul without its saturation (a = b = -2^31)."""
    product = a * b
    nudge = 1 << 30 if product >= 0 else 1 - (1 << 30)
    return c_divide(product + nudge, 1 << 31)


def divide_by_pot(x, exponent):
    """gemmlowp RoundingDivideByPOT."""
    mask = (1 << exponent) - 1
    remainder = x & mask
    threshold = (mask >> 1) + (1 if x < 0 else 0)
    return (x >> exponent) + (1 if remainder > threshold else 0)


def scale_double(acc, multiplier, shift):
    """MultiplyByQuantizedMultiplier, two roundings: left shift, high multiplication, division."""
    exponent = 31 - shift
    left, right = max(exponent, 0), max(-exponent, 0)
    return divide_by_pot(doubling_high_mul(acc << left, multiplier), right)


def scale_single(acc, multiplier, shift):
    """The nearest integer of the exact quotient, ties toward plus infinity."""
    return (2 * acc * multiplier + (1 << shift)) // (1 << (shift + 1))


def scale_wide(acc, multiplier, shift):
    """MultiplyByQuantizedMultiplier for int64: ``shift`` of that function is ``31 - shift``."""
    reduced = (multiplier + (1 << 15)) >> 16 if multiplier < 0x7FFF0000 else 0x7FFF
    total_shift = 15 - (31 - shift)
    return (acc * reduced + (1 << (total_shift - 1))) >> total_shift


SCALES = {"Double": scale_double, "Single": scale_single, "Wide": scale_wide}


def rescale(rounding, acc, multiplier, shift, zero_point, minimum, maximum):
    scale = SCALES[rounding]
    values, factors, shifts = np.broadcast_arrays(acc, multiplier, shift)
    results = [
        clamp(scale(a, m, s) + zero_point, minimum, maximum)
        for a, m, s in zip(
            values.ravel().tolist(), factors.ravel().tolist(), shifts.ravel().tolist(), strict=True
        )
    ]
    return np.array(results, dtype=np.int64).reshape(values.shape)


# -- element-wise ------------------------------------------------------------------------------


def _elementwise(function, *arrays):
    broadcast = np.broadcast_arrays(*arrays)
    columns = (array.ravel().tolist() for array in broadcast)
    results = [function(*values) for values in zip(*columns, strict=True)]
    return np.array(results, dtype=np.int64).reshape(broadcast[0].shape)


def add(rounding, sign, a, b, p):
    """``sign`` is 1 for ADD and -1 for SUB; ``p`` holds the scalars by name."""
    scale = SCALES[rounding]

    def element(x, y):
        shifted_x = (x - p["a_zero_point"]) << p["left_shift"]
        shifted_y = (y - p["b_zero_point"]) << p["left_shift"]
        scaled_x = scale(shifted_x, p["a_multiplier"], p["a_shift"])
        scaled_y = scale(shifted_y, p["b_multiplier"], p["b_shift"])
        raw = scale(scaled_x + sign * scaled_y, p["multiplier"], p["shift"])
        return clamp(raw + p["zero_point"], p["minimum"], p["maximum"])

    return _elementwise(element, a, b)


def mul(rounding, a, b, p):
    scale = SCALES[rounding]

    def element(x, y):
        product = (x - p["a_zero_point"]) * (y - p["b_zero_point"])
        raw = scale(product, p["multiplier"], p["shift"])
        return clamp(raw + p["zero_point"], p["minimum"], p["maximum"])

    return _elementwise(element, a, b)


def prelu(rounding, x, slope, p):
    scale = SCALES[rounding]

    def element(value, alpha):
        value -= p["x_zero_point"]
        if value >= 0:
            raw = scale(value, p["positive_multiplier"], p["positive_shift"])
        else:
            raw = scale(value * alpha, p["negative_multiplier"], p["negative_shift"])
        return clamp(raw + p["zero_point"], p["minimum"], p["maximum"])

    return _elementwise(element, x, slope)


def mean(rounding, x, axes, keepdims, p):
    axes = {axis % x.ndim for axis in axes}
    sums = {}
    for index in itertools.product(*(range(size) for size in x.shape)):
        key = tuple(0 if axis in axes else i for axis, i in enumerate(index))
        sums[key] = sums.get(key, 0) + int(x[index])
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    result = np.zeros(kept, dtype=np.int64)
    for key in itertools.product(*(range(size) for size in kept)):
        total = sums.get(key, 0) + p["offset"]
        raw = SCALES[rounding](total, p["multiplier"], p["shift"])
        result[key] = clamp(raw + p["zero_point"], p["minimum"], p["maximum"])
    if keepdims:
        return result
    return result.reshape([size for axis, size in enumerate(x.shape) if axis not in axes])


# -- tables ------------------------------------------------------------------------------------


def table(x, entries):
    listed = entries.tolist()
    return _elementwise(lambda value: listed[value - -128], x)


def table_channelwise(x, entries):
    result = np.zeros(x.shape, dtype=np.int64)
    for index in itertools.product(*(range(size) for size in x.shape)):
        result[index] = int(entries[index[1], int(x[index]) + 128])
    return result


def table_interpolated(x, entries):
    """LUTLookup; valid where neighbors are at most 32767 apart, as its slope is int16."""
    listed = entries.tolist()

    def element(value):
        index = 256 + (value >> 7)
        offset = value & 0x7F
        base = listed[index]
        slope = listed[index + 1] - base
        return base + ((slope * offset + 64) >> 7)

    return _elementwise(element, x)


# -- convolutions ------------------------------------------------------------------------------


def conv(x, w, strides, pads, dilations, group):
    """Direct convolution of [N, C, H, W]."""
    batch, _, height, width = x.shape
    out_channels, group_in, kernel_h, kernel_w = w.shape
    reach = [(k - 1) * d + 1 for k, d in zip((kernel_h, kernel_w), dilations, strict=True)]
    out_h = (height + pads[0] + pads[2] - reach[0]) // strides[0] + 1
    out_w = (width + pads[1] + pads[3] - reach[1]) // strides[1] + 1
    result = np.zeros((batch, out_channels, out_h, out_w), dtype=object)
    for n, o, y, z in itertools.product(
        range(batch), range(out_channels), range(out_h), range(out_w)
    ):
        first = o // (out_channels // group) * group_in
        total = 0
        for c, i, j in itertools.product(range(group_in), range(kernel_h), range(kernel_w)):
            row = y * strides[0] - pads[0] + i * dilations[0]
            column = z * strides[1] - pads[1] + j * dilations[1]
            if 0 <= row < height and 0 <= column < width:
                total += int(x[n, first + c, row, column]) * int(w[o, c, i, j])
        result[n, o, y, z] = total
    return result


def matmul(a, b):
    """Product of [M, K] and [K, N]."""
    rows, inner, columns = a.shape[0], a.shape[1], b.shape[1]
    result = np.zeros((rows, columns), dtype=object)
    for i, j in itertools.product(range(rows), range(columns)):
        result[i, j] = sum(int(a[i, k]) * int(b[k, j]) for k in range(inner))
    return result


def conv_transpose(x, w, x_zero_point, strides, pads, output_padding, dilations, group):
    """Scatter form: every input element adds its kernel to the output."""
    batch, channels, height, width = x.shape
    _, group_out, kernel_h, kernel_w = w.shape
    out_h = (
        strides[0] * (height - 1)
        + output_padding[0]
        + (kernel_h - 1) * dilations[0]
        + 1
        - pads[0]
        - pads[2]
    )
    out_w = (
        strides[1] * (width - 1)
        + output_padding[1]
        + (kernel_w - 1) * dilations[1]
        + 1
        - pads[1]
        - pads[3]
    )
    result = np.zeros((batch, group_out * group, out_h, out_w), dtype=object)
    for n, c, i, j in itertools.product(range(batch), range(channels), range(height), range(width)):
        value = int(x[n, c, i, j]) - x_zero_point
        first = c // (channels // group) * group_out
        for o, u, v in itertools.product(range(group_out), range(kernel_h), range(kernel_w)):
            row = i * strides[0] + u * dilations[0] - pads[0]
            column = j * strides[1] + v * dilations[1] - pads[1]
            if 0 <= row < out_h and 0 <= column < out_w:
                result[n, first + o, row, column] += value * int(w[c, o, u, v])
    return result


# -- pooling, softmax, resizing ----------------------------------------------------------------


def _pool_size(size, kernel, stride, begin, end, ceil_mode):
    free = size + begin + end - kernel
    if not ceil_mode:
        return free // stride + 1
    outputs = math.ceil(free / stride) + 1
    # ONNX: a window that would start behind the image and its left padding is dropped.
    return outputs - 1 if (outputs - 1) * stride >= size + begin else outputs


def average_pool(x, kernel, strides, pads, ceil_mode):
    batch, channels, height, width = x.shape
    out_h = _pool_size(height, kernel[0], strides[0], pads[0], pads[2], ceil_mode)
    out_w = _pool_size(width, kernel[1], strides[1], pads[1], pads[3], ceil_mode)
    result = np.zeros((batch, channels, out_h, out_w), dtype=np.int64)
    for n, c, y, z in itertools.product(range(batch), range(channels), range(out_h), range(out_w)):
        top, left = y * strides[0] - pads[0], z * strides[1] - pads[1]
        rows = range(max(0, -top), min(kernel[0], height - top))
        columns = range(max(0, -left), min(kernel[1], width - left))
        acc = sum(int(x[n, c, top + i, left + j]) for i in rows for j in columns)
        count = len(rows) * len(columns)
        nudged = acc + count // 2 if acc > 0 else acc - count // 2
        result[n, c, y, z] = c_divide(nudged, count)
    return result


def _one_over_one_plus_x(a):
    """gemmlowp one_over_one_plus_x_for_x_in_0_1; Q0.31 in and out."""

    def saturating_left_shift(value, places):
        return clamp(value << places, -(1 << 31), (1 << 31) - 1)

    total = a + (1 << 31) - 1
    half_denominator = c_divide(total + (1 if total >= 0 else -1), 2)
    x = 1515870810 + doubling_high_mul(half_denominator, -1010580540)
    for _ in range(3):
        remaining = (1 << 29) - doubling_high_mul(half_denominator, x)
        x += saturating_left_shift(doubling_high_mul(x, remaining), 2)
    return saturating_left_shift(x, 1)


def softmax_row(row, exp_table):
    """One row of TensorFlow Lite's int8 Softmax, its exponentials given."""
    peak = max(row)
    total = sum(divide_by_pot(exp_table[peak - value], 12) for value in row)
    headroom_plus_one = 32 - total.bit_length()
    over_unit = 12 - headroom_plus_one
    scale = _one_over_one_plus_x((total << headroom_plus_one) - (1 << 31))
    results = []
    for value in row:
        product = doubling_high_mul(scale, exp_table[peak - value])
        results.append(clamp(divide_by_pot(product, over_unit + 31 - 8) - 128, -128, 127))
    return results


def softmax(x, exp_table, axis):
    listed = exp_table.tolist()
    moved = np.moveaxis(x, axis, -1)
    rows = moved.reshape(-1, moved.shape[-1]).tolist()
    results = np.array([softmax_row(row, listed) for row in rows], dtype=np.int64)
    return np.moveaxis(results.reshape(moved.shape), -1, axis)


def _interpolation(output, input_size, output_size, mode):
    """ComputeInterpolationValuesInteger: scaled position, lower and upper neighbor."""
    align_corners = mode == "align_corners"
    half_pixel_centers = mode == "half_pixel"
    scale_10 = c_divide((1 << 10) * input_size + c_divide(output_size, 2), output_size)
    if align_corners and output_size > 1:
        scale_10 = c_divide(
            (1 << 10) * (input_size - 1) + c_divide(output_size - 1, 2), output_size - 1
        )
    if half_pixel_centers:
        scaled = output * scale_10 + c_divide(scale_10, 2) - (1 << 9)
    else:
        scaled = output * scale_10
    lower = max(c_divide(scaled, 1 << 10), 0)
    upper = min(c_divide(scaled + (1 << 10) - 1, 1 << 10), input_size - 1)
    return scaled, lower, upper


def resize_linear(x, out_h, out_w, mode):
    """ResizeBilinearInteger; ``mode`` is half_pixel, align_corners or asymmetric."""
    batch, channels, height, width = x.shape
    result = np.zeros((batch, channels, out_h, out_w), dtype=np.int64)
    for n, c, i, j in itertools.product(range(batch), range(channels), range(out_h), range(out_w)):
        in_y, y0, y1 = _interpolation(i, height, out_h, mode)
        in_x, x0, x1 = _interpolation(j, width, out_w, mode)
        up, down = (1 << 10) - (in_y - (1 << 10) * y0), in_y - (1 << 10) * y0
        left, right = (1 << 10) - (in_x - (1 << 10) * x0), in_x - (1 << 10) * x0
        total = (
            int(x[n, c, y0, x0]) * up * left
            + int(x[n, c, y1, x0]) * down * left
            + int(x[n, c, y0, x1]) * up * right
            + int(x[n, c, y1, x1]) * down * right
        )
        nudge = 1 << 19 if total > 0 else -(1 << 19)
        result[n, c, i, j] = c_divide(total + nudge, 1 << 20)
    return result
