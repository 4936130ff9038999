"""PAD, PADV2 and MIRROR_PAD: read, they compute what LiteRT computes, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intaglio.errors import InputError, UnsupportedError
from intaglio.targets.tflite.schema import schema
from tests.targets.tflite.one_operator import Judge, T, check, constant, one, options, read

QUICK = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
QUANTIZED = {"int8": (0.05, -7), "uint8": (0.05, 100), "int16": (0.01, 0)}
kinds = st.sampled_from(["float32", "int8"])


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    found = Judge(tmp_path_factory.mktemp("judge"))
    yield found
    found.close()


def tensor(shape, kind):
    scale, zero = QUANTIZED.get(kind, (None, 0))
    return T(shape, kind, scale=scale, zero_point=zero)


def draw_pads(data, shape, largest):
    return [
        [data.draw(st.integers(0, largest(d))), data.draw(st.integers(0, largest(d)))]
        for d in shape
    ]


def grown(shape, pads):
    return [d + sum(p) for d, p in zip(shape, pads, strict=True)]


@QUICK
@given(st.data(), st.lists(st.integers(1, 3), min_size=1, max_size=5), kinds)
def test_a_padded_tensor(judge, data, shape, kind):
    pads = draw_pads(data, shape, lambda d: 2)
    inputs = [tensor(shape, kind), constant(pads)]
    file = one("PAD", inputs, [tensor(grown(shape, pads), kind)], options("Pad"))
    check(judge, file, integer=kind != "float32")


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16"])
def test_zeros_of_a_quantized_tensor_are_its_zero_point(judge, kind):
    pads = [[0, 0], [1, 2]]
    inputs = [tensor((2, 3), kind), constant(pads)]
    file = one("PAD", inputs, [tensor((2, 6), kind)], options("Pad"), 3 if kind == "int16" else 1)
    check(judge, file, integer=True)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_paddings_may_be_int64(judge, dtype):
    file = one("PAD", [T((2, 3)), constant([[1, 0], [0, 2]], dtype)], [T((3, 5))], options("Pad"))
    check(judge, file)


@pytest.mark.parametrize("kind", ["float32", "int8", "int32"])
def test_a_tensor_padded_with_a_number(judge, kind):
    number = {"float32": 1.5, "int8": 90, "int32": -4}[kind]
    scale, zero = QUANTIZED.get(kind, (None, 0))
    fill = T((1,), kind, np.array([number], kind), scale, zero)
    inputs = [tensor((2, 3), kind), constant([[0, 1], [2, 0]]), fill]
    file = one("PADV2", inputs, [tensor((3, 5), kind)], options("PadV2"), 2)
    check(judge, file, integer=kind == "int8")


@QUICK
@given(st.data(), st.lists(st.integers(1, 4), min_size=1, max_size=4), kinds, st.booleans())
def test_a_mirrored_tensor(judge, data, shape, kind, reflect):
    pads = draw_pads(data, shape, lambda d: d - 1 if reflect else d)
    mode = schema.MirrorPadMode.REFLECT if reflect else schema.MirrorPadMode.SYMMETRIC
    inputs = [tensor(shape, kind), constant(pads)]
    outputs = [tensor(grown(shape, pads), kind)]
    file = one("MIRROR_PAD", inputs, outputs, options("MirrorPad", mode=mode))
    check(judge, file, integer=kind != "float32")


@pytest.mark.parametrize(
    ("name", "pads"),
    [("PAD", [[0, 0]]), ("PAD", [[0, -1], [0, 0]]), ("MIRROR_PAD", [[2, 0], [0, 0]])],
)
def test_paddings_that_do_not_fit_are_an_error_of_the_file(name, pads):
    chosen = options("MirrorPad" if name == "MIRROR_PAD" else "Pad")
    with pytest.raises(InputError, match=name):
        read(one(name, [T((2, 3)), constant(pads)], [T((1, 1))], chosen))


def test_a_mirror_of_an_open_dimension_is_refused():
    data = T((1, 3), signature=[-1, 3])
    chosen = options("MirrorPad", mode=schema.MirrorPadMode.SYMMETRIC)
    file = one("MIRROR_PAD", [data, constant([[1, 0], [0, 0]])], [T((2, 3))], chosen)
    with pytest.raises(UnsupportedError, match="needs static dimensions") as error:
        read(file)
    assert "--shape" in error.value.refusals[0].remedy
