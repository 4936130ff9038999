"""Windows of convolutions and pools."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from intaglio.targets.c.grouping.stages import integers
from intaglio.targets.c.network import Window


def read_window(
    node: ir.Node, image: Sequence[int], result: Sequence[int], kernel: Sequence[int]
) -> Window:
    """The window of a node.

    Args:
        node: A convolution, transposed convolution or pool.
        image: Shape of its input, channels last.
        result: Shape of its result, channels last.
        kernel: Rows and columns of the window.
    """
    strides = integers(node, "strides", [1, 1])
    dilations = integers(node, "dilations", [1, 1])
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    before = integers(node, "pads", [0, 0, 0, 0])[:2] if auto == "NOTSET" else [0, 0]
    if auto.startswith("SAME"):
        for axis in (0, 1):
            reach = (result[axis + 1] - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis]
            total = max(0, reach + 1 - image[axis + 1])
            before[axis] = total // 2 if auto == "SAME_UPPER" else total - total // 2
    return Window(
        (image[1], image[2], image[3]),
        (result[1], result[2], result[3]),
        (kernel[0], kernel[1]),
        (strides[0], strides[1]),
        (dilations[0], dilations[1]),
        (before[0], before[1]),
    )
