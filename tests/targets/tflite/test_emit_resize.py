"""Nearest resizing as read and written again: the places are the kernel's own."""

import numpy as np
import pytest

import intaglio
from intaglio.targets.tflite.schema import schema
from intaglio.targets.tflite.writer import FileBuilder


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
