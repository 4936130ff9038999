"""Blocks to depth or batch and back, and the dilated convolutions that are written so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intaglio.errors import InputError
from intaglio.targets.tflite.schema import schema
from tests.targets.tflite.one_operator import (
    Judge,
    Step,
    T,
    check,
    constant,
    file_of,
    one,
    options,
    read,
)

QUICK = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
INT8 = {"dtype": "int8", "scale": 0.05, "zero_point": -7}
kinds = st.sampled_from(["float32", "int8"])
small = st.integers(1, 3)


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    found = Judge(tmp_path_factory.mktemp("judge"))
    yield found
    found.close()


def tensor(shape, kind):
    return T(shape, **INT8) if kind == "int8" else T(shape, kind)


@QUICK
@given(small, small, small, small, small, kinds, st.booleans())
def test_depth_and_space(judge, batch, height, width, channels, block, kind, to_space):
    deep = (batch, height, width, channels * block * block)
    wide = (batch, height * block, width * block, channels)
    name, before, after = (
        ("DEPTH_TO_SPACE", deep, wide) if to_space else ("SPACE_TO_DEPTH", wide, deep)
    )
    chosen = options("DepthToSpace" if to_space else "SpaceToDepth", blockSize=block)
    file = one(name, [tensor(before, kind)], [tensor(after, kind)], chosen)
    check(judge, file, integer=kind == "int8")


@QUICK
@given(st.data(), st.integers(1, 2), kinds)
def test_space_to_batch(judge, data, count, kind):
    batch, channels = data.draw(small), data.draw(small)
    blocks = [data.draw(small) for _ in range(count)]
    cells = [data.draw(small) for _ in range(count)]
    pads = [
        [data.draw(st.integers(0, min(1, b * c - 1))), 0]
        for b, c in zip(blocks, cells, strict=True)
    ]
    spatial = [b * c - p[0] for b, c, p in zip(blocks, cells, pads, strict=True)]
    after = (batch * int(np.prod(blocks)), *cells, channels)
    inputs = [tensor((batch, *spatial, channels), kind), constant(blocks), constant(pads)]
    file = one("SPACE_TO_BATCH_ND", inputs, [tensor(after, kind)], None, 2)
    check(judge, file, integer=kind == "int8")


@QUICK
@given(st.data(), st.integers(1, 2), kinds)
def test_batch_to_space(judge, data, count, kind):
    batch, channels = data.draw(small), data.draw(small)
    blocks = [data.draw(small) for _ in range(count)]
    cells = [data.draw(small) for _ in range(count)]
    crops = [
        [data.draw(st.integers(0, min(1, b * c - 1))), 0]
        for b, c in zip(blocks, cells, strict=True)
    ]
    spatial = [b * c - p[0] for b, c, p in zip(blocks, cells, crops, strict=True)]
    before = (batch * int(np.prod(blocks)), *cells, channels)
    inputs = [tensor(before, kind), constant(blocks), constant(crops)]
    file = one("BATCH_TO_SPACE_ND", inputs, [tensor((batch, *spatial, channels), kind)], None, 2)
    check(judge, file, integer=kind == "int8")


@pytest.mark.parametrize("amounts", [[[0, 0], [0, 0], [0, 0]], [[0, 1], [0, 0]]])
def test_blocks_that_do_not_fit_are_an_error_of_the_file(amounts):
    inputs = [T((1, 4, 4, 1)), constant([2, 2]), constant(amounts)]
    with pytest.raises(InputError, match="SPACE_TO_BATCH_ND"):
        read(one("SPACE_TO_BATCH_ND", inputs, [T((4, 2, 2, 1))]))


def dilated(kind, block, size, pads, crops, *, depthwise, same, kernel=(3, 3), stride=1):
    """SPACE_TO_BATCH_ND, convolution, BATCH_TO_SPACE_ND; inner shapes are stated wrong."""
    rng = np.random.default_rng(0)
    channels = 3
    shape = (1, *kernel, channels) if depthwise else (channels, *kernel, channels)
    if kind == "int8":
        scales = rng.uniform(0.002, 0.01, channels)
        weight = T(shape, "int8", rng.integers(-127, 128, shape).astype(np.int8), 0.004)
        bias = T((channels,), "int32", rng.integers(-500, 500, channels), 0.05 * 0.004)
        result = {"dtype": "int8", "scale": 0.2, "zero_point": 5}
        del scales
    else:
        weight = T(shape, data=rng.normal(size=shape))
        bias = T((channels,), data=rng.normal(size=channels))
        result = {}
    tensors = [
        tensor((1, *size, channels), kind),
        constant(block),
        constant(pads),
        tensor((1, 1, 1, channels), kind),
        weight,
        bias,
        T((1, 1, 1, channels), **result),
        constant(crops),
        T((1, 1, 1, channels), **result),
    ]
    chosen = options(
        "DepthwiseConv2D" if depthwise else "Conv2D",
        padding=schema.Padding.SAME if same else schema.Padding.VALID,
        strideH=stride,
        strideW=stride,
        fusedActivationFunction=schema.ActivationFunctionType.RELU,
        dilationHFactor=1,
        dilationWFactor=1,
        **({"depthMultiplier": 1} if depthwise else {}),
    )
    name = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    steps = [
        Step("SPACE_TO_BATCH_ND", [0, 1, 2], [3], None, 2),
        Step(name, [3, 4, 5], [6], chosen, 3),
        Step("BATCH_TO_SPACE_ND", [6, 1, 7], [8], None, 2),
    ]
    return file_of(tensors, steps, [8])


CASES = {
    "padded": ((2, 2), (8, 8), [[0, 0], [0, 0]], [[0, 0], [0, 0]], False),
    "by three": ((3, 2), (11, 9), [[1, 0], [2, 1]], [[0, 0], [0, 0]], False),
    "cropped": ((2, 3), (7, 8), [[2, 3], [3, 4]], [[0, 1], [1, 0]], False),
    "same": ((2, 2), (5, 6), [[0, 1], [0, 0]], [[0, 1], [0, 0]], True),
}


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("kind", ["float32", "int8"])
@pytest.mark.parametrize("case", CASES)
def test_a_dilated_convolution_is_put_together_again(judge, case, kind, depthwise):
    block, size, pads, crops, same = CASES[case]
    file = dilated(kind, block, size, pads, crops, depthwise=depthwise, same=same)
    model = check(judge, file, integer=kind == "int8", tolerance=1e-4)
    [node] = [n for n in model.graph if n.op_type == "Conv"]
    assert list(node.attributes["dilations"].value) == list(block)
    assert "Reshape" not in {n.op_type for n in model.graph}


@pytest.mark.parametrize(
    "change", [{"stride": 2}, {"kernel": (2, 2), "same": True}], ids=["strided", "even kernel"]
)
def test_what_is_no_dilated_convolution_is_read_as_it_is(judge, change):
    fields = {"depthwise": False, "same": False, **change}
    file = dilated("float32", (2, 2), (10, 10), [[0, 0]] * 2, [[0, 0]] * 2, **fields)
    model = check(judge, file, tolerance=1e-4)
    assert "Reshape" in {n.op_type for n in model.graph}
