"""What the range analysis knows of float tensors, and that nothing ever leaves its range."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intaglio.passes.tables.integer_ranges import integer_ranges
from tests.helpers import build, build_proto, run_float

INF = float("inf")
SIGNATURE = "(int8[2,3,5,4] x) => (float y) {"


def range_of(text, name="y", **weights):
    model = build(text, **weights)
    return next(found for value, found in integer_ranges(model.graph).items() if value.name == name)


def real(body, **weights):
    """The range of ``y`` behind the cast of an int8 image."""
    return range_of(f"{SIGNATURE} f = Cast<to = 1>(x) {body} }}", **weights)


@pytest.mark.parametrize(
    ("body", "low", "high", "integer"),
    [
        ("y = Identity(f)", -128, 127, True),
        ("y = Relu(f)", 0, 127, True),
        ("y = Neg(f)", -127, 128, True),
        ("y = Abs(f)", 0, 128, True),
        ("y = Clip(f, minus_nine, seven)", -9, 7, True),
        ("y = Clip(f, minus_half, seven)", -0.5, 7, False),
        ("y = Mul(f, half)", -64, 63.5, False),
        ("h = Mul(f, half) y = Floor(h)", -64, 63, True),
        ("h = Mul(f, half) y = Ceil(h)", -64, 64, True),
        ("h = Mul(f, half) y = Round(h)", -64, 64, True),
        ("h = Mul(f, half) y = Add(h, half)", -63.5, 64, False),
        ("y = Mul(f, seven)", -896, 889, True),
        ("y = Sub(seven, f)", -120, 135, True),
        ("y = Div(f, seven)", np.float32(-128) / np.float32(7), np.float32(127 / 7), False),
        ("y = Max(f, seven)", 7, 127, True),
        ("y = Min(f, seven)", -128, 7, True),
        # Not what intervals say, which is -255..255.
        ("z = Neg(f) y = Add(f, z)", 0, 0, True),
        ("q = Div(f, four) d = Floor(q) m = Mul(d, four) y = Sub(f, m)", 0, 3, True),
        ("y = Mul(f, f)", 0, 16384, True),
        ("y = Sigmoid(f)", 0, 1, False),
        ("y = Transpose<perm = [0, 1, 3, 2]>(f)", -128, 127, True),
        ("c = Clip(f, minus_nine, seven) y = Reshape(c, flat)", -9, 7, True),
        ("c = Clip(f, four, seven) y = Pad(c, pads)", 0, 7, True),
        ('c = Clip(f, four, seven) y = Pad<mode = "reflect">(c, pads)', 4, 7, True),
        ("c = Clip(f, four, seven) y = MaxPool<kernel_shape = [2, 2]>(c)", 4, 7, True),
        ("c = Clip(f, four, seven) y = Concat<axis = 2>(c, f)", -128, 127, True),
        ("y = ReduceSum<keepdims = 0>(f, axis)", -384, 381, True),
        ("y = ReduceMean<keepdims = 0>(f, axis)", -INF, INF, False),
        ("y = Conv(f, picker)", -128, 127, True),
        ("y = Conv<pads = [1, 1, 1, 1]>(f, averager, bias)", -2 - 768, -2 + 762, True),
    ],
)
def test_ranges_of_operators(body, low, high, integer):
    averager = np.full((2, 3, 1, 2), 1.0)
    found = real(
        body,
        minus_nine=-9.0,
        seven=7.0,
        four=4.0,
        half=0.5,
        minus_half=-0.5,
        flat=np.array([-1, 2]),
        pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        axis=np.array([1]),
        picker=np.eye(3).reshape(3, 3, 1, 1),
        averager=averager,
        bias=np.full(2, -2.0),
    )
    assert (found.lowest, found.highest, found.integer) == (low, high, integer)


def test_channels_have_ranges_of_their_own():
    scale = np.array([0.5, -1.0, 0.25]).reshape(1, 3, 1, 1)
    found = real("c = Clip(f, low, high) s = Mul(c, scale) y = Round(s)", low=-8.0, high=7.0,
                 scale=scale)  # fmt: skip
    np.testing.assert_array_equal(found.low, [-4, -7, -2])
    np.testing.assert_array_equal(found.high, [4, 8, 2])
    np.testing.assert_array_equal(found.levels(), [9, 16, 5])
    assert found.grid().shape == (16, 3)
    assert found.grid()[:, 2].tolist() == [-2] * 6 + [-1, 0, 1] + [2] * 7


def test_channels_stay_apart_in_a_concat_and_not_in_a_transpose_of_channels():
    body = "c = Clip(f, low, high) j = Concat<axis = 1>(c, f) "
    found = real(body + "y = Slice(j, zero, two, three)", low=0.0, high=1.0, zero=np.array([0]),
                 two=np.array([2]), three=np.array([3]))  # fmt: skip
    np.testing.assert_array_equal(found.high, [1, 1, 1, 127, 127, 127])
    found = real(body + "y = Transpose<perm = [0, 2, 1, 3]>(j)", low=0.0, high=1.0)
    np.testing.assert_array_equal(found.high, [127])


def test_operands_of_fewer_axes_are_not_taken_channel_by_channel():
    """Axis 1 of a [3, 5, 4] tensor is the height of a [2, 3, 5, 4] one."""
    text = (
        "(int8[2,3,5,4] x, int8[3,5,4] z) => (float y) {"
        "f = Cast<to = 1>(x) g = Cast<to = 1>(z) s = Mul(g, scale) y = Add(f, s) }"
    )
    scale = np.arange(5.0).reshape(1, 5, 1)
    found = range_of(text, scale=scale)
    assert found.low.size == 1
    assert (found.lowest, found.highest) == (-128 - 512, 127 + 508)


def test_a_constant_is_seen_with_the_axes_of_each_reader():
    text = (
        "(int8[3,3,3] x, int8[1,3,3,3] z) => (float[3,3,3] u, float[1,3,3,3] y) {"
        "f = Cast<to = 1>(x) g = Cast<to = 1>(z) u = Mul(f, scale) y = Mul(g, scale) }"
    )
    scale = np.array([1.0, 0.0, 0.0]).reshape(1, 3, 1)
    np.testing.assert_array_equal(range_of(text, "u", scale=scale).high, [127, 0, 0])
    # Here its axis is the height: every channel has the largest values somewhere.
    assert range_of(text, "y", scale=scale).high.tolist() == [127]


def test_integers_that_wrap_have_the_range_of_their_type():
    found = range_of("(int8[1,2,3,3] x, int8[1,2,3,3] z) => (int8 y) { y = Add(x, z) }")
    assert (found.lowest, found.highest, found.integer) == (-128, 127, True)


def test_unbounded_inputs_are_bounded_by_clips():
    text = "(float[1,2,3,3] x) => (float y) { r = Round(x) y = Clip(r, low, high) }"
    found = range_of(text, low=-3.0, high=9.0)
    assert (found.lowest, found.highest, found.integer) == (-3, 9, True)
    found = range_of(text, "r", low=-3.0, high=9.0)
    assert (found.lowest, found.highest, found.integer) == (-INF, INF, True)


def test_nothing_is_said_of_sums_beyond_exact_integers():
    text = (
        "(int8[1,2,3,3] x, int8[1,2,3,3] z) => (float y) { f = Cast<to = 1>(x) g = Cast<to = 1>(z)"
        " a = Mul(f, large) b = Mul(g, large) y = Add(a, b) }"
    )
    assert range_of(text, large=1000.0).integer
    assert not range_of(text, large=100_003.0).finite


def test_nothing_is_said_of_float64():
    """Its values are not those of bounds that are rounded to float32."""
    text = "(int8[1,2,3,3] x) => (double[1,2,3,3] y) { y = Cast<to = 11>(x) }"
    model = ir.from_proto(build_proto(text))
    assert not integer_ranges(model.graph)[model.graph.outputs[0]].finite


UNARY = ("Relu", "Neg", "Abs", "Floor", "Ceil", "Round", "Identity")
MOVES = ("Transpose<perm = [0, 1, 3, 2]>", "Transpose<perm = [0, 3, 2, 1]>",
         "MaxPool<kernel_shape = [1, 1]>")  # fmt: skip


@st.composite
def chains(draw):
    """Bodies of operators on one or several earlier results."""
    names, lines, weights = ["f"], [], {}
    for step in range(draw(st.integers(1, 7))):
        name = f"v{step}"
        source = draw(st.sampled_from(names))
        kind = draw(st.sampled_from(("unary", "constant", "binary", "clip", "conv")))
        if kind == "unary":
            lines.append(f"{name} = {draw(st.sampled_from(UNARY))}({source})")
        elif kind == "constant":
            operator = draw(st.sampled_from(("Add", "Sub", "Mul", "Div", "Max", "Min")))
            values = st.sampled_from((-3.0, -0.5, 0.3, 1.0, 2.0, 7.5))
            shape = draw(st.sampled_from(((), (1, 3, 1, 1), (1, 1, 1, 3))))
            count = int(np.prod(shape))
            weights[f"w{step}"] = np.reshape([draw(values) for _ in range(count)], shape)
            lines.append(f"{name} = {operator}({source}, w{step})")
        elif kind == "binary":
            operator = draw(st.sampled_from(("Add", "Sub", "Mul", "Max", "Min")))
            lines.append(f"{name} = {operator}({source}, {draw(st.sampled_from(names))})")
        elif kind == "clip":
            weights[f"l{step}"], weights[f"h{step}"] = -float(draw(st.integers(0, 9))), 6.5
            lines.append(f"{name} = Clip({source}, l{step}, h{step})")
        else:
            generator = np.random.default_rng(draw(st.integers(0, 1000)))
            scale = draw(st.sampled_from((1.0, 0.25)))
            weights[f"w{step}"] = generator.integers(-2, 3, (3, 3, 1, 1)) * scale
            lines.append(f"{name} = Conv({source}, w{step})")
        names.append(name)
    return " ".join(lines), names, weights


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(chain=chains(), seed=st.integers(0, 1000))
def test_no_value_leaves_its_range(chain, seed):
    body, names, weights = chain
    outputs = ", ".join(f"float[2,3,3,3] {name}" for name in names)
    model = build(f"(int8[2,3,3,3] x) => ({outputs}) {{ f = Cast<to = 1>(x) {body} }}", **weights)
    found = {value.name: known for value, known in integer_ranges(model.graph).items()}
    generator = np.random.default_rng(seed)
    x = generator.choice([-128, -5, -1, 0, 1, 2, 3, 100, 127], (2, 3, 3, 3)).astype(np.int8)
    for name, value in run_float(model, {"x": x}).items():
        known = found[name]
        by_channel = np.moveaxis(value.astype(np.float64), 1, -1)
        assert (by_channel >= known.low).all(), name
        assert (by_channel <= known.high).all(), name
        if known.integer:
            assert (value == np.round(value)).all(), name
