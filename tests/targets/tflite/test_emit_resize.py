"""Nearest resizing as read and written again: the places are the kernel's own."""

import numpy as np
import pytest

import intaglio
from intaglio.targets.tflite.schema import schema
from intaglio.targets.tflite.writer import FileBuilder
from tests.helpers import build_proto
from tests.property.lowering_checks import Options, canonical
from tests.targets.tflite.emission import assert_same_bits, emit_float


def _file(path, size, new):
    options = schema.ResizeNearestNeighborOptionsT()
    options.alignCorners = True
    builder = FileBuilder("test")
    meaning = {"scale": 0.5, "zero_point": 1}
    x = builder.tensor("x", (1, size, size, 2), "int8", **meaning)
    to = builder.tensor("size", (2,), "int32", data=np.array([new, new], np.int32))
    y = builder.tensor("y", (1, new, new, 2), "int8", **meaning)
    builder.operator("RESIZE_NEAREST_NEIGHBOR", [x, to], [y], options, 3)
    builder.inputs([x])
    builder.outputs([y])
    path.write_bytes(builder.to_bytes())
    return path


# Positions of 2 to 83 and 2 to 95 fall on one half, as far as float32 can tell.
@pytest.mark.parametrize(("size", "new"), [(2, 83), (2, 95), (3, 7), (5, 4)])
def test_corners_aligned_give_the_bits_of_the_file(tmp_path, size, new):
    path = _file(tmp_path / "m.tflite", size, new)
    bundle = intaglio.convert(path, targets=["onnx-integer", "tflite"], out=tmp_path / "bundle")
    report = intaglio.verify(bundle, layers=False)
    assert report.ok, report.failures
    compared = {p.artifact for p in report.pairs if p.reference == "onnx-integer"}
    assert {"tflite@litert-reference", "original@litert-reference"} <= compared
    for pair in report.pairs:
        if pair.reference == "onnx-integer" and "litert-reference" in pair.artifact:
            assert pair.max_error_lsb == 0


@pytest.mark.parametrize("coordinates", ["asymmetric", "half_pixel", "align_corners"])
@pytest.mark.parametrize("rounding", ["round_prefer_ceil", "round_prefer_floor", "floor", "ceil"])
def test_a_graph_that_rounds_otherwise_gives_its_own_bits(coordinates, rounding):
    """Positions between two elements hang on how onnxruntime writes the formula down."""
    text = (
        f'(float[1,2,7,5] x) => (float y) {{ y = Resize <mode: string = "nearest", '
        f'coordinate_transformation_mode: string = "{coordinates}", nearest_mode: string = '
        f'"{rounding}"> (x, empty, empty, sizes) }}'
    ).replace("empty, empty", ",")
    proto = canonical(build_proto(text, sizes=np.array([1, 2, 2, 3], np.int64)))
    feeds = {"x": np.random.default_rng(0).standard_normal((1, 2, 7, 5)).astype(np.float32)}
    emission = emit_float(proto, feeds, Options())
    assert emission.emitted.refusals == ()
    assert_same_bits(emission, range(2))
