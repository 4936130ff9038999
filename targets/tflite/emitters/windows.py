"""Windows of convolutions and pools: ONNX's explicit pads as SAME, VALID, or a PAD in front."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from intaglio.targets.tflite.emitters.attributes import integers, pair
from intaglio.targets.tflite.emitters.padding import pad
from intaglio.targets.tflite.emitters.scope import Scope
from intaglio.targets.tflite.schema import schema
from intaglio.transforms.scales import TensorQuantization

SAME = schema.Padding.SAME
VALID = schema.Padding.VALID


@dataclasses.dataclass(frozen=True)
class Window:
    """A sliding window over H and W.

    Attributes:
        size: Input height and width.
        output: Output height and width.
        kernel: Height and width of the window.
        strides: Steps.
        dilations: Distances of its elements.
        before: Padding above and left.
    """

    size: tuple[int, int]
    output: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    before: tuple[int, int]

    def padding(self) -> int | None:
        """SAME or VALID where TFLite's rule gives these windows, else None."""
        if all(self._is_valid(axis) for axis in (0, 1)):
            return int(VALID)
        return int(SAME) if all(self._is_same(axis) for axis in (0, 1)) else None

    def span(self, axis: int) -> int:
        """Elements from the first to the last one of a window."""
        return (self.kernel[axis] - 1) * self.dilations[axis] + 1

    def after(self, axis: int) -> int:
        """Padding behind the data that the last window reads."""
        reach = (self.output[axis] - 1) * self.strides[axis] + self.span(axis)
        return max(0, reach - self.size[axis] - self.before[axis])

    def _is_valid(self, axis: int) -> bool:
        whole = (self.size[axis] - self.span(axis)) // self.strides[axis] + 1
        return self.before[axis] == 0 and self.output[axis] == whole

    def _is_same(self, axis: int) -> bool:
        stride = self.strides[axis]
        if self.output[axis] != -(-self.size[axis] // stride):
            return False
        total = (self.output[axis] - 1) * stride + self.span(axis) - self.size[axis]
        return self.before[axis] == max(total, 0) // 2


def read_window(
    node: ir.Node, size: Sequence[int], output: Sequence[int], kernel: Sequence[int]
) -> Window:
    """The window of a Conv, MaxPool or AveragePool node.

    Args:
        node: The node.
        size: Height and width of its input.
        output: Height and width of its result.
        kernel: Height and width of the window.
    """
    strides = pair(node, "strides")
    dilations = pair(node, "dilations")
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    if auto in ("NOTSET", "VALID"):
        pads = integers(node, "pads", [0, 0, 0, 0]) if auto == "NOTSET" else [0, 0]
        before = (pads[0], pads[1])
    else:
        totals = [
            max(0, (output[a] - 1) * strides[a] + (kernel[a] - 1) * dilations[a] + 1 - size[a])
            for a in (0, 1)
        ]
        upper = auto == "SAME_UPPER"
        halves = [total // 2 if upper else total - total // 2 for total in totals]
        before = (halves[0], halves[1])
    return Window(
        (size[0], size[1]),
        (output[0], output[1]),
        (kernel[0], kernel[1]),
        strides,
        dilations,
        before,
    )


def padded(
    scope: Scope, source: int, meaning: TensorQuantization, shape: Sequence[int], window: Window
) -> int:
    """Appends a PAD of H and W in front of a VALID window.

    Args:
        scope: The file.
        source: Tensor to pad, [N, H, W, C].
        meaning: Its quantization; padding is the real zero.
        shape: Its shape.
        window: Which says how much.

    Returns:
        The padded tensor.
    """
    amounts = np.zeros((4, 2), np.int32)
    for axis in (0, 1):
        amounts[axis + 1] = window.before[axis], window.after(axis)
    grown = [int(d + a.sum()) for d, a in zip(shape, amounts, strict=True)]
    target = scope.intermediate("padded", grown, meaning, meaning.dtype)
    pad(scope, source, amounts, target, meaning.dtype)
    return target
