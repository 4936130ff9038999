"""Which element a nearest Resize takes, read off onnxruntime.

Positions that fall between two elements hang on the last bit of a float32 quotient, and so on how
a runtime writes ONNX's formulas down. The integer graph means what onnxruntime makes of it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from intaglio.passes.lower.refused import RefusedError

_OPSET, _IR_VERSION = 21, 10


def nearest_places(node: ir.Node, before: int, after: int) -> NDArray[np.int64]:
    """Element of the input for each element of the output, along one axis.

    Args:
        node: A Resize whose mode is nearest and whose scales are the quotients of the sizes.
        before: Size of the axis in the input.
        after: Size of the axis in the output.
    """
    if before == after:
        return np.arange(before)
    return _probed(
        node.attributes.get_string("coordinate_transformation_mode", "half_pixel"),
        node.attributes.get_string("nearest_mode", "round_prefer_floor"),
        before,
        after,
    )


def require_same_ends(before: Sequence[int], after: Sequence[int]) -> None:
    """Refuses a resize of samples or channels.

    Args:
        before: Shape of an image, channels last.
        after: Shape of the result.

    Raises:
        RefusedError: It has another number of samples or channels.
    """
    if (before[0], before[-1]) != (after[0], after[-1]):
        raise RefusedError(
            "it resizes samples or channels, where targets resize rows and columns",
            "repeat them by Concat or Tile, or convert to onnx-integer",
        )


@functools.lru_cache(maxsize=256)
def _probed(coordinates: str, rounding: str, before: int, after: int) -> NDArray[np.int64]:
    """Resizes the numbers 0, 1, 2, ... in an axis of their own."""
    resize = helper.make_node(
        "Resize",
        ["x", "", "", "sizes"],
        ["y"],
        mode="nearest",
        coordinate_transformation_mode=coordinates,
        nearest_mode=rounding,
    )
    graph = helper.make_graph(
        [resize],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.INT32, [1, 1, before, 1])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [1, 1, after, 1])],
        [numpy_helper.from_array(np.array([1, 1, after, 1], np.int64), "sizes")],
    )
    model = helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    numbers = np.arange(before, dtype=np.int32).reshape(1, 1, before, 1)
    [result] = session.run(None, {"x": numbers})
    return np.asarray(result, np.int64).reshape(-1)
