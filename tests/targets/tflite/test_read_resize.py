"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intaglio.errors import InputError
from intaglio.targets.tflite.operators.resize import nearest_places, onnx_agrees
from tests.helpers import build_proto, open_session
from tests.targets.tflite.one_operator import Judge, T, check, constant, one, options, read

QUICK = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
INT8 = {"dtype": "int8", "scale": 0.05, "zero_point": -7}
MODES = {
    "asymmetric": {},
    "half_pixel": {"halfPixelCenters": True},
    "align_corners": {"alignCorners": True},
}


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    found = Judge(tmp_path_factory.mktemp("judge"))
    yield found
    found.close()


def resize(name, before, after, mode, kind="float32", channels=2):
    chosen = options(
        "ResizeBilinear" if "BILINEAR" in name else "ResizeNearestNeighbor", **MODES[mode]
    )
    quantized = INT8 if kind == "int8" else {}
    data, result = (T((1, *size, channels), **quantized) for size in (before, after))
    return one(name, [data, constant(after)], [result], chosen, 3)


sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


@QUICK
@given(sizes, sizes, st.sampled_from(sorted(MODES)), st.sampled_from(["float32", "int8"]))
def test_the_nearest_elements(judge, before, after, mode, kind):
    check(
        judge, resize("RESIZE_NEAREST_NEIGHBOR", before, after, mode, kind), integer=kind == "int8"
    )


@QUICK
@given(sizes, sizes, st.sampled_from(sorted(MODES)))
def test_interpolated_real_numbers(judge, before, after, mode):
    check(judge, resize("RESIZE_BILINEAR", before, after, mode), tolerance=1e-5)


@QUICK
@given(sizes, sizes, st.sampled_from(sorted(MODES)))
def test_interpolated_integers(judge, before, after, mode):
    file = resize("RESIZE_BILINEAR", before, after, mode, "int8")
    check(judge, file, integer=True, codes_off=1)


@pytest.mark.parametrize("mode", sorted(MODES))
def test_every_place_of_the_nearest_elements(judge, mode):
    """All pairs of sizes up to 40, where positions fall on borders of elements now and then."""
    for new in range(1, 41):
        before, after = (40, 1), (new, 1)
        file = resize("RESIZE_NEAREST_NEIGHBOR", before, after, mode, channels=1)
        x = np.arange(40, dtype=np.float32).reshape(1, 40, 1, 1)
        expected = judge.run(file, [x])[0].reshape(-1)
        np.testing.assert_array_equal(nearest_places(40, new, mode), expected)
    for size in range(1, 41):
        file = resize("RESIZE_NEAREST_NEIGHBOR", (size, 1), (40, 1), mode, channels=1)
        x = np.arange(size, dtype=np.float32).reshape(1, size, 1, 1)
        expected = judge.run(file, [x])[0].reshape(-1)
        np.testing.assert_array_equal(nearest_places(size, 40, mode), expected)


@pytest.mark.parametrize("mode", sorted(MODES))
def test_onnxruntime_finds_the_same_places_where_it_is_said_to(mode):
    rounding = "floor" if mode == "asymmetric" else "round_prefer_ceil"
    model = build_proto(
        f"""(float[1,1,N,1] x, int64[4] sizes) => (float[1,1,M,1] y) {{
            y = Resize <mode = "nearest", nearest_mode = "{rounding}",
                        coordinate_transformation_mode = "{mode}"> (x, , , sizes)
        }}"""
    )
    session = open_session(model)
    agreed = 0
    for size in range(1, 65):
        x = np.arange(size, dtype=np.float32).reshape(1, 1, size, 1)
        for new in range(1, 65):
            if onnx_agrees(size, new, mode):
                agreed += 1
                [found] = session.run(None, {"x": x, "sizes": np.array([1, 1, new, 1])})
                np.testing.assert_array_equal(nearest_places(size, new, mode), found.reshape(-1))
    assert agreed > 1500


def test_every_doubling_and_halving_is_a_resize():
    for mode in MODES:
        assert all(onnx_agrees(size, 2 * size, mode) for size in range(1, 200))
    assert all(
        onnx_agrees(2 * size, size, mode)
        for size in range(1, 200)
        for mode in ("asymmetric", "half_pixel")
    )


def test_places_on_which_runtimes_may_differ_are_gathered(judge):
    assert not onnx_agrees(6, 4, "asymmetric")
    model = check(judge, resize("RESIZE_NEAREST_NEIGHBOR", (6, 2), (4, 2), "asymmetric"))
    assert [n.op_type for n in model.graph] == ["Gather", "Gather"]


def test_an_open_batch_stays_open(judge):
    data = T((1, 3, 4, 2), signature=[-1, 3, 4, 2])
    file = one(
        "RESIZE_BILINEAR", [data, constant([6, 8])], [T((1, 6, 8, 2))], options("ResizeBilinear")
    )
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 2)).astype(np.float32)
    model = check(judge, file, inputs=[x], tolerance=1e-6)
    assert isinstance(model.graph.outputs[0].shape[0], ir.SymbolicDim)


def test_two_ways_to_map_coordinates_are_an_error_of_the_file():
    chosen = options("ResizeBilinear", alignCorners=True, halfPixelCenters=True)
    file = one("RESIZE_BILINEAR", [T((1, 2, 2, 1)), constant([4, 4])], [T((1, 4, 4, 1))], chosen)
    with pytest.raises(InputError, match="both align_corners and half_pixel_centers"):
        read(file)
