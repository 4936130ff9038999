"""Channels last around weights that train: baked in, and as inputs of the forward form."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from intaglio.passes.annotations import get_layout, get_quantization
from intaglio.passes.layout.problem import is_inside
from intaglio.passes.layout.to_channels_last import ToChannelsLast
from intaglio.passes.train.build_forward import LOGITS, BuildForward
from intaglio.passes.train.parameters import read_parameters
from intaglio.passes.train.plan_step import PlanStep
from intaglio.targets.onnx.session import make_session
from tests.helpers import build
from tests.passes.lower.test_trained_weights import INPUT, lower, quantized


def run(model, feeds):
    session = make_session(ir.to_proto(model).SerializeToString(), optimize=False, threads=1)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def network(depthwise=False):
    """Two convolutions, a Flatten whose order matters, and a Gemm."""
    generator = np.random.default_rng(0)
    group = 4 if depthwise else 1
    body = f"""{{
      a = Conv<pads=[1,1,1,1]>(x, w1, b1)
      r = Relu(a)
      c = Conv<group={group}>(r, w2, b2)
      f = Flatten(c)
      y = Gemm<transB=1>(f, w3, b3)
    }}"""
    shapes = {
        "w1": (4, 3, 3, 3),
        "b1": (4,),
        "w2": (4, 4 // group, 2, 2),
        "b2": (4,),
        "w3": (5, 4 * 4 * 3),
        "b3": (5,),
    }
    constants = {n: generator.standard_normal(s) / np.sqrt(s[-1]) for n, s in shapes.items()}
    ranges = {"x": INPUT, "a": (0, 4), "r": (0, 4), "c": (-6, 6), "f": (-6, 6), "y": (-12, 9)}
    return build("(float[N,3,5,4] x) => (float y) " + body, **constants), ranges


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("biases", [False, True])
def test_both_forms_give_the_same_bits(biases, depthwise):
    model, ranges = network(depthwise)
    form = quantized(model, biases=biases, ranges=ranges)
    PlanStep()(form)
    integer = lower(form)
    forward = BuildForward()(integer.clone(deep_copy=True)).model
    x = np.random.default_rng(1).integers(-128, 128, (2, 3, 5, 4)).astype(np.int8)
    parameters = read_parameters(form)
    expected = run(forward, {"x": x, **parameters})
    np.testing.assert_array_equal(run(integer, {"x": x})["y"], expected["y"])
    assert len(np.unique(expected["y"])) > 5

    for before, extra in ((integer, {}), (forward, parameters)):
        last = ToChannelsLast()(before.clone(deep_copy=True)).model
        image = last.graph.inputs[0]
        assert get_layout(image) == "NHWC"
        found = run(last, {"x": np.ascontiguousarray(x.transpose(0, 2, 3, 1)), **extra})
        np.testing.assert_array_equal(found["y"], expected["y"])
        if extra:
            np.testing.assert_array_equal(found[LOGITS], expected[LOGITS])


def test_inputs_that_train_are_taken_as_they_are():
    model, ranges = network()
    form = quantized(model, biases=True, ranges=ranges)
    PlanStep()(form)
    forward = BuildForward()(lower(form)).model
    shapes = {v.name: list(v.shape) for v in forward.graph.inputs[1:]}
    last = ToChannelsLast()(forward).model
    assert {v.name: list(v.shape) for v in last.graph.inputs[1:]} == shapes
    assert shapes["w3"] == [48, 5]
    for value in last.graph.inputs[1:]:
        assert get_layout(value) != "NHWC"
        for use in value.uses():
            assert use.node.op_type in ("ConvInteger8By16", "MatMulInteger8By16", "Cast")
    # The rows of the matrix follow the graph's own order: the image is brought into that instead.
    moved = [n for n in last.graph if n.op_type == "Transpose" and not is_inside(n)]
    assert len(moved) == 1


def test_constant_weights_are_reordered_and_nothing_moves():
    model, ranges = network()
    last = ToChannelsLast()(lower(quantized(model, ranges=ranges))).model
    assert not [n for n in last.graph if n.op_type == "Transpose" and not is_inside(n)]
    matrix = next(n for n in last.graph if n.op_type == "MatMulInteger8By16").inputs[1]
    assert get_quantization(matrix).dtype == "int16"
