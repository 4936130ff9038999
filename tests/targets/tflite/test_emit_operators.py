"""Each operator, emitted: the file computes the integer graph's bits in its profile's runtime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from intaglio.errors import UnsupportedError
from tests.passes.lower import corner_graphs, float_graphs
from tests.property.lowering_checks import Options, canonical
from tests.targets.tflite.emission import assert_same_bits, emit_float

pytest.importorskip("tflite_micro")

GRAPHS = {
    **{name: make for name, (make, _) in float_graphs.GRAPHS.items()},
    **corner_graphs.ACCEPTED,
}

#: What has no TFLite operator, whatever the width: part of the reason.
REFUSED = {
    "average_ceil": "SAME or VALID",
    "average_pool_padded": "SAME or VALID",
    "conv_3d": "two-dimensional",
    "embedding": "indices are computed",
    "max_3d": "two-dimensional",
    "max_dilated": "no dilations",
}
#: Symbolic sizes other than the batch.
OPEN = {
    "resize_like",
    "resize_nearest_dynamic",
    "resize_symbolic",
    "resize_symbolic_to_sizes",
}


def feeds_of(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    feeds = {}
    for value in proto.graph.input:
        kind = value.type.tensor_type
        shape = [dim.dim_value or 1 for dim in kind.shape.dim]
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
        real = 2 * rng.standard_normal(shape)
        feeds[value.name] = (real if dtype.kind == "f" else rng.integers(0, 3, shape)).astype(dtype)
    return feeds


def emission_of(name: str, activations: str, profile: str):
    proto = canonical(GRAPHS[name]())
    options = Options(activations=activations, profile=profile)
    try:
        return emit_float(proto, feeds_of(proto), options)
    except UnsupportedError:
        pytest.skip("the integer form refuses it")


@pytest.mark.parametrize("profile", ["tflm", "litert"])
@pytest.mark.parametrize("name", sorted(set(GRAPHS) - set(REFUSED) - OPEN))
def test_an_int8_operator_computes_the_bits_of_the_graph(name, profile):
    emission = emission_of(name, "int8", profile)
    reasons = [refusal.reason for refusal in emission.emitted.refusals]
    if profile == "litert" and any("reference SUM" in reason for reason in reasons):
        pytest.skip("LiteRT's SUM is broken")
    assert reasons == []
    assert_same_bits(emission, range(2))


@pytest.mark.parametrize("profile", ["tflm", "litert"])
@pytest.mark.parametrize("name", sorted(set(GRAPHS) - set(REFUSED) - OPEN))
def test_an_int16_operator_computes_the_bits_of_the_graph_or_is_refused(name, profile):
    emission = emission_of(name, "int16", profile)
    for refusal in emission.emitted.refusals:
        assert refusal.node
        assert refusal.remedy
    if not emission.emitted.refusals:
        assert_same_bits(emission, range(2))


#: int16 operators that must not be refused, in either profile.
WIDE = (
    "add_relu",
    "average_pool",
    "clip",
    "concat",
    "conv",
    "conv_depthwise",
    "conv_grouped",
    "conv_relu6",
    "conv_transpose_grouped",
    "conv_transpose_strided",
    "depth_to_space",
    "depth_to_space_crd",
    "gemm",
    "leaky_relu",
    "matmul_computed",
    "max_pool_padded",
    "mul",
    "pad_value",
    "prelu",
    "reduce_mean_spatial",
    "relu",
    "resize_nearest",
    "sigmoid",
    "slice",
    "softmax",
    "space_to_depth",
    "split",
    "tanh",
)


@pytest.mark.parametrize("profile", ["tflm", "litert"])
@pytest.mark.parametrize("name", WIDE)
def test_these_int16_operators_are_emitted(name, profile):
    emission = emission_of(name, "int16", profile)
    assert emission.emitted.refusals == ()


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_operator_is_refused_by_name(name):
    [refusal, *_] = emission_of(name, "int8", "tflm").emitted.refusals
    assert REFUSED[name] in refusal.reason
    assert refusal.node
    assert refusal.operator
    assert refusal.remedy


@pytest.mark.parametrize("name", sorted(OPEN))
def test_an_open_size_is_refused_with_the_option_that_binds_it(name):
    [refusal] = emission_of(name, "int8", "tflm").emitted.refusals
    assert "states every size" in refusal.reason
    assert "--shape" in refusal.remedy


@pytest.mark.parametrize("activations", ["int8", "int16"])
def test_a_second_emission_gives_the_same_bytes(activations):
    first, second = (emission_of("conv_relu6", activations, "tflm") for _ in range(2))
    assert first.emitted.data == second.emitted.data
