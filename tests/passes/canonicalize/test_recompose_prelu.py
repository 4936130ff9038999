from __future__ import annotations

import numpy as np
import pytest

from intaglio.targets.onnx.read import read_onnx
from tests.helpers import build, operators, reasons, run_pass, weight

RNG = np.random.default_rng(9)
SLOPE = RNG.uniform(0.1, 0.9, (3, 1, 1)).astype(np.float32)
X = "(float[2,3,4,5] x) => (float y) "

FORMS = {
    "abs": ("r = Relu(x) b = Abs(x) s = Sub(x, b) m = Mul(s, a) y = Add(r, m)", 2.0, {}),
    "abs_swapped": ("b = Abs(x) s = Sub(x, b) m = Mul(a, s) r = Relu(x) y = Add(m, r)", 2.0, {}),
    "abs_half_last": (
        "r = Relu(x) b = Abs(x) s = Sub(x, b) m = Mul(a, s) h = Mul(m, half) y = Add(r, h)",
        1.0,
        {"half": 0.5},
    ),
    "abs_half_first": (
        "r = Relu(x) b = Abs(x) s = Sub(x, b) m = Mul(half, s) h = Mul(m, a) y = Add(r, h)",
        1.0,
        {"half": 0.5},
    ),
    "negated": ("r = Relu(x) n = Neg(x) p = Relu(n) m = Mul(p, a) y = Add(m, r)", -1.0, {}),
    "negated_by_product": (
        "r = Relu(x) n = Mul(x, minus) p = Relu(n) m = Mul(p, a) y = Add(m, r)",
        -1.0,
        {"minus": -1.0},
    ),
    "subtracted": ("r = Relu(x) n = Neg(x) p = Relu(n) m = Mul(a, p) y = Sub(r, m)", 1.0, {}),
    "min": ("r = Relu(x) n = Min(x, zero) m = Mul(a, n) y = Add(r, m)", 1.0, {"zero": 0.0}),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 3, 1, 1)])
def test_prelu_is_put_together(form, shape):
    nodes, factor, weights = FORMS[form]
    model = build(f"{X}{{ {nodes} }}", a=SLOPE.reshape(shape), **weights)
    run_pass(model, "recompose_prelu", 1e-6)
    assert operators(model) == ["PRelu"]
    slope = weight(model, model.graph.node(0), 1)
    assert slope.shape == (3, 1, 1)
    np.testing.assert_allclose(slope, factor * SLOPE, rtol=1e-6)
    assert model.graph.outputs[0].name == "y"


@pytest.mark.parametrize("form", FORMS)
def test_one_slope_for_all_is_leaky(form):
    nodes, factor, weights = FORMS[form]
    model = build(f"{X}{{ {nodes} }}", a=0.3, **weights)
    run_pass(model, "recompose_prelu", 1e-6)
    assert operators(model) == ["LeakyRelu"]
    alpha = model.graph.node(0).attributes["alpha"].as_float()
    assert alpha == pytest.approx(0.3 * factor)


def test_slopes_of_the_last_axis_stay_there():
    nodes, _, _ = FORMS["abs"]
    model = build(f"{X}{{ {nodes} }}", a=RNG.random((1, 1, 5)).astype(np.float32))
    run_pass(model, "recompose_prelu", 1e-6)
    assert operators(model) == ["PRelu"]
    assert weight(model, model.graph.node(0), 1).shape == (5,)


def test_parts_that_others_read_stay_for_them():
    nodes, _, _ = FORMS["abs"]
    model = build(f"(float[2,3,4,5] x) => (float y, float r) {{ {nodes} }}", a=SLOPE)
    run_pass(model, "recompose_prelu", 1e-6)
    assert sorted(operators(model)) == ["PRelu", "Relu"]


ALIKE = {
    "another_x": (
        "(float[2,3,4,5] x, float[2,3,4,5] z) => (float y) "
        "{ r = Relu(z) b = Abs(x) s = Sub(x, b) m = Mul(s, a) y = Add(r, m) }"
    ),
    "sum_instead_of_difference": (
        f"{X}{{ r = Relu(x) b = Abs(x) s = Add(x, b) m = Mul(s, a) y = Add(r, m) }}"
    ),
    "difference_turned_around": (
        f"{X}{{ r = Relu(x) b = Abs(x) s = Sub(b, x) m = Mul(s, a) y = Add(r, m) }}"
    ),
    "computed_slope": (
        "(float[2,3,4,5] x, float[3,1,1] z) => (float y) "
        "{ r = Relu(x) b = Abs(x) s = Sub(x, b) m = Mul(s, z) y = Add(r, m) }"
    ),
    "relu_twice": f"{X}{{ r = Relu(x) p = Relu(x) m = Mul(p, a) y = Add(r, m) }}",
}


@pytest.mark.parametrize("case", ALIKE)
def test_what_only_looks_alike_stays(case):
    weights = {} if case == "computed_slope" else {"a": SLOPE}
    model = build(ALIKE[case], **weights)
    before = operators(model)
    run_pass(model, "recompose_prelu")
    assert operators(model) == before


def test_a_slope_that_enlarges_the_input_is_left_with_a_reason():
    nodes, _, _ = FORMS["abs"]
    model = build(
        f"(float[1,3,4,5] x) => (float y) {{ {nodes} }}", a=np.ones((7, 3, 1, 1), np.float32)
    )
    outcome = run_pass(model, "recompose_prelu")
    assert "PRelu" not in operators(model)
    assert "larger shape" in reasons(outcome)


@pytest.mark.parametrize(
    ("shape", "wanted", "after"),
    [
        ((1, 3, 1, 1), "PRelu", (3, 1, 1)),
        ((3, 1, 1), "PRelu", (3, 1, 1)),
        ((1,), "LeakyRelu", None),
    ],
)
def test_slopes_of_existing_prelu_take_one_shape(shape, wanted, after):
    slope = np.full(shape, 0.25, np.float32)
    model = build(f"{X}{{ y = PRelu(x, a) }}", a=slope)
    run_pass(model, "recompose_prelu")
    assert operators(model) == [wanted]
    if after is not None:
        assert weight(model, model.graph.node(0), 1).shape == after


@pytest.mark.parametrize(("name", "count"), [("FSRCNN_x4", 7), ("FSRCNN-small_x2", 4)])
def test_models_of_an_exporter(zoo, name, count):
    model = read_onnx(zoo / f"{name}.onnx")
    run_pass(model, "recompose_prelu")
    found = [node for node in model.graph if node.op_type == "PRelu"]
    assert len(found) == count
    for node in found:
        slope = weight(model, node, 1)
        assert slope.ndim == 3
        assert slope.shape[1:] == (1, 1)
    assert not {"Abs", "Sub", "Mul", "Relu"} & set(operators(model))
