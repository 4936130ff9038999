"""Kernels of transposed convolutions, weights with zero points, and stacks of matrices."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import intaglio
from intaglio.targets.tosa.emitters.transposed import whole_kernel
from tests.property.lowering_checks import Options, canonical
from tests.targets.tosa.emission import assert_same_bits, emit_float


def transposed(x, weight, strides, dilations, group):
    """What a transposed convolution without padding is, tap by tap: [C, H, W] of integers."""
    taken, made, *taps = weight.shape
    sides = [
        (size - 1) * stride + (tap - 1) * step + 1
        for size, stride, tap, step in zip(x.shape[1:], strides, taps, dilations, strict=True)
    ]
    result = np.zeros((made * group, *sides), np.int64)
    for channel, row, column in np.ndindex(x.shape):
        first = channel // (taken // group) * made
        for out, down, across in np.ndindex(weight.shape[1:]):
            place = (
                row * strides[0] + down * dilations[0],
                column * strides[1] + across * dilations[1],
            )
            result[(first + out, *place)] += (
                x[channel, row, column] * weight[channel, out, down, across]
            )
    return result


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 2), st.integers(1, 2),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 2), st.integers(1, 3)),
    st.tuples(st.integers(1, 3), st.integers(1, 2)),
    st.integers(-3, 3), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_a_whole_kernel_has_the_sums_of_groups_and_dilations(
    group, depth, made, taps, dilations, strides, zero, seed
):
    rng = np.random.default_rng(seed)
    weight = rng.integers(-20, 20, (group * depth, made, *taps))
    x = rng.integers(-9, 9, (group * depth, 2, 3))
    kernel = whole_kernel(weight, group, list(dilations), zero).astype(np.int64) - zero
    wanted = transposed(x, weight - zero, strides, dilations, group)
    np.testing.assert_array_equal(transposed(x, kernel, strides, (1, 1), 1), wanted)


def model_of(node, inputs, output, constants=()) -> onnx.ModelProto:
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(np.asarray(a, np.float32), n) for n, a in dict(constants).items()],
    )
    opset = [helper.make_opsetid("", 21)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10)


def emission_of(proto, profile="tflm"):
    rng = np.random.default_rng(0)
    feeds = {
        value.name: rng.normal(size=[d.dim_value for d in value.type.tensor_type.shape.dim]).astype(
            np.float32
        )
        for value in proto.graph.input
    }
    return emit_float(canonical(proto), feeds, Options(activations="int8", profile=profile))


@pytest.mark.parametrize("pads", [[2, 1, 0, 1], [2, 2, 2, 2], [0, 3, 1, 0]])
def test_padding_beyond_the_kernel_is_cut_off(environment, pads):
    rng = np.random.default_rng(5)
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], pads=pads, strides=[2, 2])
    weight = rng.normal(size=(3, 4, 2, 2))
    output = [1, 4, 10 - pads[0] - pads[2], 12 - pads[1] - pads[3]]
    proto = model_of(node, {"x": [1, 3, 5, 6]}, output, {"w": weight})
    emission = emission_of(proto)
    assert emission.emitted.refusals == ()
    assert ("SLICE" in emission.emitted.operators) == (max(pads) >= 2)
    assert assert_same_bits(emission, range(2)) > 0


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([2, 3, 4], [2, 4, 5]),
        ([3, 4], [2, 4, 5]),
        ([2, 1, 3, 4], [3, 4, 5]),
        ([1, 3, 4], [2, 3, 4, 5]),
    ],
)
@pytest.mark.parametrize("constant", [False, True])
def test_stacks_of_matrices_are_repeated(environment, first, second, constant):
    output = [*np.broadcast_shapes(tuple(first[:-2]), tuple(second[:-2])), first[-2], second[-1]]
    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    rng = np.random.default_rng(1)
    shapes = {"b": second} if constant else {"a": first, "b": second}
    proto = model_of(
        node, shapes, [int(d) for d in output], {"a": rng.normal(size=first)} if constant else {}
    )
    emission = emission_of(proto)
    assert emission.emitted.refusals == ()
    assert "MATMUL" in emission.emitted.operators
    assert assert_same_bits(emission, range(2)) > 0


def test_weights_with_a_zero_point(environment, zoo, tmp_path):
    file = zoo / "coral_mobilenet_v1_0.25_128_quant.tflite"
    if not file.exists():
        pytest.skip("the uint8 MobileNet is not there")
    bundle = intaglio.convert(file, targets=["onnx-integer", "tosa"], out=tmp_path / "bundle")
    twin, own = bundle.artifact("onnx-integer"), bundle.artifact("tosa")
    rng = np.random.default_rng(0)
    limits = np.iinfo(twin.inputs[0].dtype)
    shape = [d if isinstance(d, int) else 1 for d in twin.inputs[0].shape]
    golden = bundle.session("onnx-integer")
    with bundle.opener(own).open(own, bundle.folder) as session:
        for _ in range(3):
            sample = rng.integers(limits.min, limits.max, shape, endpoint=True)
            sample = sample.astype(twin.inputs[0].dtype)
            turned = sample
            if own.inputs[0].layout != twin.inputs[0].layout:
                turned = np.ascontiguousarray(sample.transpose(0, 2, 3, 1))
            [wanted] = golden.run_inner({twin.inputs[0].name: sample}, []).outputs.values()
            [found] = session.run({own.inputs[0].name: turned}).outputs.values()
            assert len(np.unique(wanted)) > 1
            np.testing.assert_array_equal(found, wanted)
