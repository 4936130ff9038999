"""Files that are quantized already, written as other tools write them."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.errors import UnsupportedError
from intaglio.passes.annotations import get_quantization
from intaglio.passes.lower.to_integer import ToInteger
from tests.helpers import build
from tests.property.lowering_checks import run

HEAD = """
  xq = QuantizeLinear (x, xs, xz)
  xd = DequantizeLinear (xq, xs, xz)
"""
TAIL = """
  vq = QuantizeLinear (v, ys, yz)
  y = DequantizeLinear (vq, ys, yz)
"""
SCALES = {
    "xs": np.float32(0.02),
    "xz": np.int8(3),
    "ys": np.float32(0.05),
    "yz": np.int8(-4),
}


def quantized(body, shape="4,5", result="float y", **weights):
    """A model ``x -> QuantizeLinear, DequantizeLinear -> body (xd to v) -> ... -> y``."""
    text = f"(float[{shape}] x) => ({result}) {{ {HEAD} {body} {TAIL} }}"
    return build(text, **{**SCALES, **weights})


def check(model, shape=(4, 5), lsb=1):
    """The integer form computes what the file states, to the LSB."""
    x = np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)
    expected = run(model, {"x": x}, ["vq"])["vq"].astype(int)
    integer = ToInteger()(model).model
    codes = get_quantization(integer.graph.inputs[0]).quantize(x)
    actual = run(integer, {"x": codes})["y"]
    assert np.abs(actual - expected).max() <= lsb
    assert actual.min() != actual.max()
    return integer


def gemm(bias, **attributes):
    weight = np.random.default_rng(0).integers(-127, 128, (4, 5)).astype(np.int8)
    stated = ", ".join(f"{k} = {v}" for k, v in {"transB": 1, **attributes}.items())
    return quantized(
        f"""
        wd = DequantizeLinear (w, ws)
        bd = DequantizeLinear (b, bs)
        v = Gemm <{stated}> (xd, wd, bd)
        """,
        w=weight,
        ws=np.float32(0.01),
        b=bias,
        bs=np.float32(0.02 * 0.01),
    )


@pytest.mark.parametrize("shape", [(4,), (1, 4), (1,), ()])
def test_bias_may_be_written_in_several_ways(shape):
    check(gemm(np.arange(100, 100 + int(np.prod(shape)), dtype=np.int32).reshape(shape)))


def test_bias_that_is_a_column_is_refused_not_taken_for_a_row():
    with pytest.raises(UnsupportedError, match="no vector"):
        ToInteger()(gemm(np.arange(4, dtype=np.int32).reshape(4, 1)))


@pytest.mark.parametrize("axis", [0, -2])
def test_axis_of_weight_scales_may_count_from_the_end(axis):
    rng = np.random.default_rng(0)
    body = f"wd = DequantizeLinear <axis = {axis}> (w, ws) v = Gemm <transB = 1> (xd, wd)"
    scales = rng.uniform(0.002, 0.02, 4).astype(np.float32)
    weight = rng.integers(-127, 128, (4, 5)).astype(np.int8)
    check(quantized(body, w=weight, ws=scales))


def test_weight_scales_along_the_inputs_are_refused():
    body = "wd = DequantizeLinear <axis = 1> (w, ws) v = Gemm <transB = 1> (xd, wd)"
    weight = np.ones((4, 5), np.int8)
    model = quantized(body, w=weight, ws=np.linspace(0.01, 0.02, 5, dtype=np.float32))
    with pytest.raises(UnsupportedError, match="not on the output channels"):
        ToInteger()(model)


@pytest.mark.parametrize(
    ("codes", "scale", "axis"),
    [
        (np.array([100, -3000, 70, 9, 5], np.int32), np.float32(0.001), ""),
        (np.array([[100], [-30], [70], [9]], np.int8), [0.01, 0.02, 0.1, 0.03], "<axis = 0>"),
        (np.array([1, -3, 7, 9, 5], np.int16), np.float32(0.3), ""),
    ],
    ids=["int32", "per-channel", "int16"],
)
@pytest.mark.parametrize("operator", ["Add", "Mul", "Sub"])
def test_constant_operand_in_any_integers(operator, codes, scale, axis):
    """Read with one scale and as if it were int8, these would be silently wrong."""
    body = f"cd = DequantizeLinear {axis} (c, cs) v = {operator} (xd, cd)"
    # What is written anew in 8 bits is half a step off: a step of x is a step of y, or less.
    check(quantized(body, c=codes, cs=np.asarray(scale, np.float32)), lsb=3)


def test_constant_operands_left_in_float_are_written_in_integers():
    rng = np.random.default_rng(0)
    vector = rng.normal(0, 1, 5).astype(np.float32)
    check(quantized("v = Add (xd, c)", c=vector), lsb=2)
    check(quantized("v = PRelu (xd, c)", c=vector), lsb=2)


def test_padding_value_may_be_dequantized():
    body = "pd = DequantizeLinear (p, xs, xz) v = Pad (xd, pads, pd)"
    check(quantized(body, p=np.int8(40), pads=np.array([1, 0, 0, 2])))


def test_bounds_of_clip_may_be_dequantized():
    body = (
        "ld = DequantizeLinear (l, xs, xz) hd = DequantizeLinear (h, xs, xz) v = Clip (xd, ld, hd)"
    )
    check(quantized(body, l=np.int8(-20), h=np.int8(30)))


def test_scale_of_the_dequantization_is_the_one_that_counts():
    model = build(
        """(float[4,5] x) => (float y) {
          xq = QuantizeLinear (x, xs, xz)
          xd = DequantizeLinear (xq, other, xz)
          v = Relu (xd)
          vq = QuantizeLinear (v, ys, yz)
          y = DequantizeLinear (vq, ys, yz)
        }""",
        **SCALES,
        other=np.float32(0.06),
    )
    check(model)


def test_output_with_another_scale_than_its_integers_is_refused():
    model = build(
        """(float[4,5] x) => (float y) {
          xq = QuantizeLinear (x, xs, xz)
          xd = DequantizeLinear (xq, xs, xz)
          v = Relu (xd)
          vq = QuantizeLinear (v, ys, yz)
          y = DequantizeLinear (vq, other, yz)
        }""",
        **SCALES,
        other=np.float32(0.06),
    )
    with pytest.raises(UnsupportedError, match="is not that of the QuantizeLinear"):
        ToInteger()(model)


def test_integers_as_inputs_must_have_kernels():
    text = "(TYPE[4,5] x) => (float y) { xd = DequantizeLinear (x, xs) v = Relu (xd) TAIL }"
    text = text.replace("TAIL", TAIL)
    model = build(text.replace("TYPE", "int8"), **SCALES)
    integer = ToInteger()(model).model
    assert [v.name for v in integer.graph.inputs] == ["x"]
    with pytest.raises(UnsupportedError, match="int32 have no integer kernels"):
        ToInteger()(build(text.replace("TYPE", "int32"), **SCALES))


def test_asymmetric_int16_is_refused():
    model = build(
        """(float[4,5] x) => (float y) {
          xq = QuantizeLinear (x, xs, xz)
          xd = DequantizeLinear (xq, xs, xz)
          v = Mul (xd, xd)
          vq = QuantizeLinear (v, ys, yz)
          y = DequantizeLinear (vq, ys, yz)
        }""",
        **{**SCALES, "xz": np.int16(9)},
    )
    with pytest.raises(UnsupportedError, match="symmetric int16"):
        ToInteger()(model)


def test_value_quantized_twice_alike_is_computed_once():
    model = build(
        """(float[4,5] x) => (float y, float y2) {
          xq = QuantizeLinear (x, xs, xz)
          xd = DequantizeLinear (xq, xs, xz)
          v = Sigmoid (xd)
          vq = QuantizeLinear (v, ys, yz)
          y = DequantizeLinear (vq, ys, yz)
          wq = QuantizeLinear (v, ys, yz)
          y2 = DequantizeLinear (wq, ys, yz)
        }""",
        **SCALES,
    )
    integer = ToInteger()(model).model
    assert [n.op_type for n in integer.graph].count("Table") == 1
    assert [v.name for v in integer.graph.outputs] == ["y", "y2"]


def test_refusal_names_the_layer_not_its_activation():
    body = "c = Conv (xd, w) v = Relu (c)"
    model = quantized(body, shape="1,2,4,4", w=np.ones((1, 2, 1, 1), np.float32))
    with pytest.raises(UnsupportedError, match="its weight is not quantized") as caught:
        ToInteger()(model)
    assert [r.operator for r in caught.value.refusals] == ["Conv"]
