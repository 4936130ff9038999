"""What a codec of features is measured against: plain quantizers of them, and pictures.

Uniform quantizers have the range of the tensor, or of each channel, of one sample: its lowest and
highest value go along, one byte each. With ``n = 2^bits - 1`` and ``r = highest - lowest``::

    code = round((q - lowest) * n / r)        q' = lowest + round(code * r / n)

rounding half up. Pictures are JPEG and WebP of the model's input, as its own 8-bit integers.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from intaglio.errors import InputError
from intaglio.targets.base import TensorSpec
from intaglio.targets.onnx.session import make_session

Features = Mapping[str, NDArray[np.int8]]

#: Formats of pictures, and what saves them best.
FORMATS: Mapping[str, Mapping[str, Any]] = {
    "JPEG": {"optimize": True},
    "WebP": {"method": 4},
}
#: Qualities that are tried, lowest first.
QUALITIES = range(1, 101)


def quantize_uniform(
    features: NDArray[np.int8], bits: int, *, per_channel: bool
) -> tuple[NDArray[np.int8], int]:
    """A tensor after a uniform quantizer and back.

    Args:
        features: int8 ``[N, C, ...]``.
        bits: Bits of a code, 1 to 8.
        per_channel: Whether each channel has a range, or the tensor.

    Returns:
        What the receiver has, and the bytes of a sample: packed codes and ranges, no headers and
        no entropy coding.
    """
    count, channels = features.shape[:2]
    grouped = features.reshape(count, channels if per_channel else 1, -1).astype(np.int64)
    low = grouped.min(axis=2, keepdims=True)
    span = grouped.max(axis=2, keepdims=True) - low
    steps = (1 << bits) - 1
    # floor(a / b + 1/2) = (2a + b) // 2b
    codes = (2 * (grouped - low) * steps + span) // np.maximum(2 * span, 1)
    restored = low + (2 * codes * span + steps) // (2 * steps)
    ranges = 2 * grouped.shape[1]
    packed = -(-(features[0].size * bits) // 8)
    return restored.astype(np.int8).reshape(features.shape), packed + ranges


class Tail:
    """The part of a model behind some of its tensors.

    Args:
        path: The model's file, in standard operators and functions.
        cut: Names of the tensors.

    Raises:
        InputError: The file is damaged, or has no such tensors.
    """

    def __init__(self, path: Path, cut: Sequence[str]) -> None:
        try:
            model = onnx.load(str(path))
            data = cut_off(model, cut).SerializeToString()
        except Exception as error:
            raise InputError(
                f"{path} is damaged: {error}", remedy="convert the model again"
            ) from error
        self._session = make_session(data)
        self._names = [output.name for output in model.graph.output]

    def run(self, features: Features) -> dict[str, NDArray[Any]]:
        """Outputs of the model from the tensors."""
        found = self._session.run(self._names, dict(features))
        return dict(zip(self._names, found, strict=True))


def cut_off(model: onnx.ModelProto, cut: Sequence[str]) -> onnx.ModelProto:
    """A copy of a model that begins at inner tensors.

    Args:
        model: The model; its value_info names the tensors.
        cut: Names of the tensors, which become the inputs.
    """
    found = onnx.ModelProto()
    found.CopyFrom(model)
    graph = found.graph
    known = {info.name: info for info in (*graph.value_info, *graph.input)}
    makers = {name: node for node in graph.node for name in node.output}
    needed: set[str] = set()
    waiting = [output.name for output in graph.output]
    while waiting:
        name = waiting.pop()
        node = makers.get(name)
        if node is None or name in cut or node.output[0] in needed:
            continue
        needed.update(node.output)
        waiting.extend(node.input)
    kept = [node for node in graph.node if node.output[0] in needed]
    inputs = [onnx.ValueInfoProto.FromString(known[name].SerializeToString()) for name in cut]
    del graph.node[:], graph.input[:]
    graph.node.extend(kept)
    graph.input.extend(inputs)
    return found


def is_picture(spec: TensorSpec) -> bool:
    """Whether an input of an integer model can be stored as a picture: one or three planes."""
    shape = spec.shape
    return len(shape) == 4 and shape[1] in (1, 3) and spec.dtype == "int8"


def to_pixels(values: NDArray[np.int8]) -> NDArray[np.uint8]:
    """int8 ``[N, C, H, W]`` as bytes ``[N, H, W, C]``."""
    moved = values.astype(np.int16).transpose(0, 2, 3, 1) + 128
    return np.ascontiguousarray(moved.astype(np.uint8))


def from_pixels(pixels: NDArray[np.uint8]) -> NDArray[np.int8]:
    """The inverse of :func:`to_pixels`."""
    moved = pixels.astype(np.int16).transpose(0, 3, 1, 2) - 128
    return np.ascontiguousarray(moved.astype(np.int8))


def encode_picture(pixels: NDArray[np.uint8], format_name: str, quality: int) -> bytes:
    """A picture ``[H, W, 1 or 3]`` as a file of JPEG or WebP."""
    from PIL import Image

    plane = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    stream = io.BytesIO()
    Image.fromarray(plane).save(stream, format_name, quality=quality, **FORMATS[format_name])
    return stream.getvalue()


def decode_picture(data: bytes, channels: int) -> NDArray[np.uint8]:
    """The pixels ``[H, W, channels]`` of a file."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


@dataclasses.dataclass(frozen=True)
class PictureQuality:
    """The quality at which pictures take the bytes of something else.

    Attributes:
        format_name: ``JPEG`` or ``WebP``.
        quality: The highest quality whose mean size is not above; the lowest where there is none.
        bytes: Mean size there, on the pictures that it was sought with.
        fits: Whether it is not above.
    """

    format_name: str
    quality: int
    bytes: float
    fits: bool


def find_quality(pixels: NDArray[np.uint8], format_name: str, largest: float) -> PictureQuality:
    """The best quality whose files are no larger than ``largest`` bytes in the mean.

    Args:
        pixels: Pictures ``[N, H, W, C]``.
        format_name: ``JPEG`` or ``WebP``.
        largest: Bytes of a picture.
    """

    def size(quality: int) -> float:
        return float(np.mean([len(encode_picture(each, format_name, quality)) for each in pixels]))

    return search_quality(size, format_name, largest)


def search_quality(
    size: Callable[[int], float], format_name: str, largest: float
) -> PictureQuality:
    """As :func:`find_quality`, from the mean size at a quality: found by halving."""
    low, high = QUALITIES[0], QUALITIES[-1]
    smallest = size(low)
    if smallest > largest:
        return PictureQuality(format_name, low, smallest, False)
    best = (low, smallest)
    while low < high:
        middle = (low + high + 1) // 2
        found = size(middle)
        if found <= largest:
            low, best = middle, (middle, found)
        else:
            high = middle - 1
    return PictureQuality(format_name, best[0], best[1], True)


def through_pictures(
    pixels: NDArray[np.uint8], format_name: str, quality: int
) -> tuple[NDArray[np.uint8], int]:
    """Pictures after a format and back, and the bytes of all files."""
    files = [encode_picture(each, format_name, quality) for each in pixels]
    restored = np.stack([decode_picture(data, pixels.shape[3]) for data in files])
    return restored, sum(map(len, files))
