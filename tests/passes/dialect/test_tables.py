"""AdditiveLut of the dialect against its definition in numpy, and that one against plain loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intaglio.transforms.additive_tables import Index, additive_lookup, split_index
from tests.passes.dialect.one_node import run

PROPERTY = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
seeds = st.integers(0, 2**32 - 1)


def integers(generator, dtype, shape):
    limits = np.iinfo(dtype)
    return generator.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)


def attributes(index, kernel, strides, pads, dilations, group, pad_value):
    return {
        "kernel_shape": list(kernel),
        "strides": list(strides),
        "pads": list(pads),
        "dilations": list(dilations),
        "group": group,
        "shift": index.shift,
        "mask": index.mask,
        "low": index.low,
        "pad_value": pad_value,
    }


def in_plain_loops(x, tables, index, kernel, strides, pads, dilations, group, pad_value):
    """The formula as it stands in the documentation, one Python integer at a time."""
    batch, channels, height, width = x.shape
    outputs, rows = tables.shape[2], tables.shape[1]
    inputs = channels // group
    tall, wide = height + pads[0] + pads[2], width + pads[1] + pads[3]
    high = (tall - (kernel[0] - 1) * dilations[0] - 1) // strides[0] + 1
    broad = (wide - (kernel[1] - 1) * dilations[1] - 1) // strides[1] + 1
    result = np.zeros((batch, outputs, high, broad), np.int64)
    for n, o, i, j in np.ndindex(*result.shape):
        for tap, (dy, dx) in enumerate(itertools.product(range(kernel[0]), range(kernel[1]))):
            y = i * strides[0] + dy * dilations[0] - pads[0]
            z = j * strides[1] + dx * dilations[1] - pads[1]
            for c in range(inputs):
                inside = 0 <= y < height and 0 <= z < width
                channel = o // (outputs // group) * inputs + c
                value = int(x[n, channel, y, z]) if inside else pad_value
                row = ((value >> index.shift) & index.mask) - index.low
                row = min(max(row, 0), rows - 1)
                result[n, o, i, j] += int(tables[tap * inputs + c, row, o])
    return result


@st.composite
def layers(draw):
    generator = np.random.default_rng(draw(seeds))
    signed = draw(st.booleans())
    dtype = np.int8 if signed else np.uint8
    upper, lower = split_index(draw(st.sampled_from((2, 4))), signed)
    full = Index(low=-128 if signed else 0)
    index, rows = draw(
        st.sampled_from(
            (
                (full, 256),
                (upper, 1 << (8 - upper.shift)),
                (lower, lower.mask + 1),
                (Index(low=-3), 9),
            )
        )
    )
    group = draw(st.sampled_from((1, 2, 3)))
    channels, outputs = group * draw(st.integers(1, 2)), group * draw(st.integers(1, 2))
    kernel = [draw(st.integers(1, 3)) for _ in range(2)]
    strides = [draw(st.integers(1, 2)) for _ in range(2)]
    dilations = [draw(st.integers(1, 2)) for _ in range(2)]
    pads = [draw(st.integers(0, 2)) for _ in range(4)]
    sizes = [(k - 1) * d + draw(st.integers(1, 4)) for k, d in zip(kernel, dilations, strict=True)]
    x = integers(generator, dtype, (draw(st.integers(0, 2)), channels, *sizes))
    entry = draw(st.sampled_from((np.int8, np.int16)))
    taps = kernel[0] * kernel[1] * channels // group
    tables = integers(generator, entry, (taps, rows, outputs))
    pad_value = int(integers(generator, dtype, ()))
    return x, tables, (index, kernel, strides, pads, dilations, group, pad_value)


@PROPERTY
@given(layer=layers())
def test_the_numpy_definition_equals_plain_loops(layer):
    x, tables, (index, kernel, strides, pads, dilations, group, pad_value) = layer
    got = additive_lookup(
        x,
        tables,
        index,
        kernel=kernel,
        strides=strides,
        pads=pads,
        dilations=dilations,
        group=group,
        pad_value=pad_value,
    )
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, in_plain_loops(x, tables, *layer[2]))


@PROPERTY
@given(layer=layers())
def test_the_function_equals_the_numpy_definition(layer):
    x, tables, (index, kernel, strides, pads, dilations, group, pad_value) = layer
    got = run(
        "AdditiveLut",
        {"x": x, "tables": tables},
        np.int32,
        **attributes(index, kernel, strides, pads, dilations, group, pad_value),
    )
    want = additive_lookup(
        x,
        tables,
        index,
        kernel=kernel,
        strides=strides,
        pads=pads,
        dilations=dilations,
        group=group,
        pad_value=pad_value,
    )
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_all_256_values_with_the_tables_as_constants(dtype):
    generator = np.random.default_rng(3)
    low = int(np.iinfo(dtype).min)
    x = np.arange(256).astype(np.uint8).view(dtype).reshape(1, 1, 16, 16)
    tables = integers(generator, np.int8, (1, 256, 5))
    got = run("AdditiveLut", {"x": x, "tables": tables}, np.int32, constants=["tables"], low=low)
    np.testing.assert_array_equal(got[0], tables[0][x[0, 0].astype(int) - low].transpose(2, 0, 1))


def test_split_indices_give_an_exact_product():
    x = np.arange(-128, 128).astype(np.int8).reshape(1, 1, 16, 16)
    weight = -77
    for bits in (2, 4):
        total = 0
        for index, factor in zip(split_index(bits), (1 << bits, 1), strict=True):
            count = (1 << (8 - bits)) if index.shift else 1 << bits
            levels = np.arange(index.low, index.low + count)
            tables = (levels * factor * weight).astype(np.int16).reshape(1, -1, 1)
            total = total + run(
                "AdditiveLut",
                {"x": x, "tables": tables},
                np.int32,
                shift=index.shift,
                mask=index.mask,
                low=index.low,
            )
        np.testing.assert_array_equal(total, x.astype(int) * weight)


def test_signals_have_one_image_axis():
    generator = np.random.default_rng(4)
    x = integers(generator, np.int8, (2, 3, 11))
    tables = integers(generator, np.int16, (9, 256, 4))
    got = run(
        "AdditiveLut",
        {"x": x, "tables": tables},
        np.int32,
        kernel_shape=[3],
        strides=[2],
        pads=[1, 1],
        dilations=[1],
    )
    want = additive_lookup(x, tables, kernel=[3], strides=[2], pads=[1, 1])
    np.testing.assert_array_equal(got, want)


def test_sizes_that_do_not_fit_are_refused():
    x = np.zeros((1, 4, 3, 3), np.int8)
    with pytest.raises(ValueError, match="3 groups"):
        additive_lookup(x, np.zeros((1, 4, 6), np.int8), group=3)
    with pytest.raises(ValueError, match="window"):
        additive_lookup(x, np.zeros((5, 4, 6), np.int8))
