"""Windows: the arithmetic of padding is checked against onnxruntime on every case."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from intaglio.passes.canonicalize.normalize_operators import NormalizeOperators
from tests.helpers import (
    assert_same_outputs,
    build,
    operators,
    random_inputs,
    reasons,
    run_float,
    run_pass,
)

RNG = np.random.default_rng(3)
CASES = list(itertools.product(["SAME_UPPER", "SAME_LOWER", "VALID"], [1, 2, 3], [2, 3, 5]))


def normalized(model):
    outcome = run_pass(model, "normalize_operators")
    for node in model.graph:
        assert "auto_pad" not in node.attributes
        if node.op_type in ("Conv", "ConvTranspose", "MaxPool", "AveragePool"):
            assert {"pads", "strides", "kernel_shape"} <= set(node.attributes)
    return outcome


@pytest.mark.parametrize(("mode", "stride", "kernel"), CASES)
def test_conv(mode, stride, kernel):
    model = build(
        f'(float[1,2,11,14] x) => (float y) {{ y = Conv<auto_pad = "{mode}",'
        f" strides = [{stride},{stride}]>(x, w) }}",
        w=RNG.standard_normal((3, 2, kernel, kernel)),
    )
    normalized(model)


@pytest.mark.parametrize(("mode", "stride", "kernel"), CASES)
@pytest.mark.parametrize("pool", ["MaxPool", "AveragePool"])
def test_pools(pool, mode, stride, kernel):
    model = build(
        f'(float[1,2,11,14] x) => (float y) {{ y = {pool}<auto_pad = "{mode}",'
        f" strides = [{stride},{stride}], kernel_shape = [{kernel},{kernel}]>(x) }}"
    )
    normalized(model)


# A kernel smaller than the stride gets another output size in onnxruntime than specified.
@pytest.mark.parametrize(
    ("mode", "stride", "kernel"), [c for c in CASES if c[0] == "VALID" or c[2] >= c[1]]
)
def test_conv_transpose(mode, stride, kernel):
    model = build(
        f'(float[1,2,5,6] x) => (float y) {{ y = ConvTranspose<auto_pad = "{mode}",'
        f" strides = [{stride},{stride}]>(x, w) }}",
        w=RNG.standard_normal((2, 3, kernel, kernel)),
    )
    normalized(model)


@pytest.mark.parametrize("mode", ["NOTSET", "SAME_UPPER"])
@pytest.mark.parametrize("size", [9, 10])
def test_conv_transpose_of_a_given_size(mode, size):
    model = build(
        f'(float[1,2,5,5] x) => (float y) {{ y = ConvTranspose<auto_pad = "{mode}",'
        f" strides = [2,2], output_shape = [{size},{size}]>(x, w) }}",
        w=RNG.standard_normal((2, 3, 4, 4)),
    )
    normalized(model)
    assert "output_shape" not in model.graph.node(0).attributes


def test_stride_1_needs_no_size():
    model = build(
        '(float[1,2,H,W] x) => (float y) { y = Conv<auto_pad = "SAME_UPPER">(x, w) }',
        w=RNG.standard_normal((3, 2, 4, 3)),
    )
    normalized(model)
    assert list(model.graph.node(0).attributes["pads"].as_ints()) == [1, 1, 2, 1]


def test_stride_2_of_unknown_size_is_left_with_a_reason():
    model = build(
        "(float[1,2,H,W] x) => (float y)"
        ' { y = Conv<auto_pad = "SAME_UPPER", strides = [2,2]>(x, w) }',
        w=RNG.standard_normal((3, 2, 3, 3)),
    )
    outcome = run_pass(model, "normalize_operators")
    assert "--shape" in reasons(outcome)
    assert "auto_pad" in model.graph.node(0).attributes


@pytest.mark.parametrize("pool", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [(7, 2, 2), (8, 3, 2), (9, 3, 3), (10, 4, 3)]
)
def test_rounding_up_is_padding_at_the_end(pool, size, kernel, stride):
    model = build(
        f"(float[1,2,{size},{size}] x) => (float y) {{ y = {pool}<ceil_mode = 1,"
        f" kernel_shape = [{kernel},{kernel}], strides = [{stride},{stride}]>(x) }}"
    )
    normalized(model)
    assert "ceil_mode" not in model.graph.node(0).attributes


def test_padding_that_counts_becomes_a_pad():
    model = build(
        "(float[1,2,6,6] x) => (float y) { y = AveragePool<kernel_shape = [3,3],"
        " pads = [1,1,0,1], count_include_pad = 1>(x) }"
    )
    normalized(model)
    assert operators(model) == ["Pad", "AveragePool"]
    assert "count_include_pad" not in model.graph.node(1).attributes


def test_average_over_everything_is_global():
    model = build("(float[2,3,4,5] x) => (float y) { y = AveragePool<kernel_shape = [4,5]>(x) }")
    normalized(model)
    assert operators(model) == ["GlobalAveragePool"]


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ("2,3,4,5", "kernel_shape = [4,4]"),
        ("2,3,4,5", "kernel_shape = [4,5], pads = [0,0,0,1]"),
        ("2,3,H,5", "kernel_shape = [4,5]"),
    ],
)
def test_other_averages_are_not(shape, attributes):
    model = build(f"(float[{shape}] x) => (float y) {{ y = AveragePool<{attributes}>(x) }}")
    normalized(model)
    assert operators(model) == ["AveragePool"]


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("stride", [1, 2])
def test_dilated_conv_equals_one_with_zeros_between(mode, stride):
    """onnxruntime takes no dilation with SAME, so the kernel is spread by hand."""
    w = RNG.standard_normal((3, 2, 3, 3)).astype(np.float32)
    spread = np.zeros((3, 2, 5, 5), np.float32)
    spread[:, :, ::2, ::2] = w
    text = (
        f'(float[1,2,11,14] x) => (float y) {{ y = Conv<auto_pad = "{mode}",'
        f" strides = [{stride},{stride}], dilations = [DILATION]>(x, w) }}"
    )
    dilated = build(text.replace("DILATION", "2,2"), w=w)
    plain = build(text.replace("DILATION", "1,1"), w=spread)
    NormalizeOperators()(dilated)
    inputs = random_inputs(plain)
    assert_same_outputs(run_float(dilated, inputs), run_float(plain, inputs))
