"""DepthToSpace in CRD order: the channels are brought into TFLite's order by their convolution.

TFLite's DEPTH_TO_SPACE is ONNX's DCR. Where a convolution alone feeds it, its output channels are
written in the other order, which costs nothing; elsewhere a GATHER does it.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.layout.problem import is_inside
from intaglio.passes.operators import sole_consumer
from intaglio.targets.tflite.emitters.scope import Scope

_CRD = "CRD"


def column_row_order(node: ir.Node, channels: int) -> NDArray[np.int64] | None:
    """Which channel of CRD order each channel of DCR order is; None where both are the same.

    Args:
        node: DepthToSpace.
        channels: Channels of its input.
    """
    block = node.attributes.get_int("blocksize", 1) ** 2
    if node.attributes.get_string("mode", "DCR") != _CRD or channels == block:
        return None
    return np.asarray(np.arange(channels).reshape(channels // block, block).T.reshape(-1))


def wanted_order(scope: Scope, value: ir.Value) -> NDArray[np.int64] | None:
    """The channel order that the only reader of a convolution's result wants, if another one."""
    reader = sole_consumer(value)
    if reader is None or not is_inside(reader):
        return None
    behind = sole_consumer(reader.outputs[0])
    if behind is None or behind.op_type != "DepthToSpace":
        return None
    return column_row_order(behind, scope.shape(value)[3])
