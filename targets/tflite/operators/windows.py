"""Windows that slide over height and width: padding, strides, dilations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from intaglio.targets.tflite.schema import schema
from intaglio.targets.tflite.scope import Operator, Scope

_SAME, _VALID = schema.Padding.SAME, schema.Padding.VALID

_LARGEST = 2**31 - 1


def window_attributes(
    scope: Scope,
    operator: Operator,
    sizes: Sequence[int | str | None],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int] = (1, 1),
) -> dict[str, Any]:
    """Attributes of an ONNX convolution or pooling.

    Padding SAME gives ``ceil(size / stride)`` outputs; where the padding is odd, the end gets one
    more (``ComputePaddingWithOffset`` in TensorFlow Lite's ``kernels/padding.h``).

    Args:
        scope: For errors.
        operator: A Conv2D or pooling operator, whose options have ``padding``.
        sizes: Height and width of the input.
        kernel: Height and width of the window.
        strides: Its steps.
        dilations: Its gaps.

    Returns:
        ``strides``, ``dilations`` where they are not 1, and ``pads``; ``auto_pad`` in their place
        where a size is open.

    Raises:
        InputError: A number that makes no sense.
    """
    check_positive(scope, "kernel", kernel)
    check_positive(scope, "stride", strides)
    check_positive(scope, "dilation", dilations)
    attributes: dict[str, Any] = {"strides": list(strides)}
    if any(d != 1 for d in dilations):
        attributes["dilations"] = list(dilations)
    padding = operator.options.padding
    if padding == _VALID:
        return attributes
    if padding != _SAME:
        raise scope.damaged(f"has the unknown padding {padding}")
    begins, ends = [], []
    for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        if not isinstance(size, int):
            return {**attributes, "auto_pad": "SAME_UPPER"}
        begin, end = same_padding(size, k, stride, dilation)
        begins.append(begin)
        ends.append(end)
    if any(begins) or any(ends):
        attributes["pads"] = [*begins, *ends]
    return attributes


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Padding SAME before and after one dimension."""
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def check_positive(scope: Scope, what: str, numbers: Sequence[int]) -> None:
    """Checks that kernel sizes, strides or dilations are sound.

    Raises:
        InputError: One is not in 1 to 2^31 - 1.
    """
    if any(not 1 <= number <= _LARGEST for number in numbers):
        raise scope.damaged(f"has the {what} {'x'.join(map(str, numbers))}")
