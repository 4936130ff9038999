"""What a person who debugs on the device wants to know of a layer."""

from __future__ import annotations

from intaglio.targets.c.naming import comment_text
from intaglio.targets.c.network import (
    AdditiveTables,
    Convolution,
    Layer,
    Pool,
    Tensor,
    TrainedConvolution,
    TransposedConvolution,
)

_WINDOWS = (AdditiveTables, Convolution, TrainedConvolution, TransposedConvolution, Pool)


def describe(layer: Layer) -> list[str]:
    """Lines of the comment above a layer's function."""
    lines = [f"{comment_text(layer.name)}: {_title(layer)}"]
    for place, tensor in enumerate(layer.inputs):
        word = "constant" if tensor.data is not None else "input"
        lines.append(f"x{place}, {word} {_described(tensor)}")
    lines.append(f"y, output {_described(layer.output)}")
    if layer.sources:
        lines.append(f"from {', '.join(comment_text(source) for source in layer.sources)}")
    return lines


def _title(layer: Layer) -> str:
    words = type(layer).__name__
    if isinstance(layer, _WINDOWS):
        window = layer.window
        words += f" {window.kernel[0]}x{window.kernel[1]}"
        if window.strides != (1, 1):
            words += f", stride {window.strides[0]}x{window.strides[1]}"
        if window.dilations != (1, 1):
            words += f", dilation {window.dilations[0]}x{window.dilations[1]}"
    if isinstance(layer, (Convolution, TrainedConvolution)):
        kind = "depthwise, " if layer.is_depthwise else ""
        words += f" ({kind}{layer.macs} multiplications)"
    if isinstance(layer, AdditiveTables):
        words += f" ({layer.lookups} look-ups)"
    return words


def _described(tensor: Tensor) -> str:
    shape = "x".join(map(str, tensor.shape)) or "scalar"
    text = f"'{comment_text(tensor.name)}' {tensor.dtype} {shape}"
    if tensor.scale:
        text += f", scale {tensor.scale:g}, zero point {tensor.zero_point}"
    return text
