"""The pictures to score on: pairs of a degraded picture and the true one, 8-bit R, G, B or grey."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
from intaglio.transforms.images.noise import noisy_pixels
from numpy.typing import NDArray
from PIL import Image

from benchmarks.quantization.datasets import image_files

Pixels = NDArray[np.uint8]

SETS = ("Set5", "Set14")
NOISY_SET = "Set12"
SIGMAS = (15, 25, 50)


@dataclasses.dataclass(frozen=True)
class Pair:
    """A picture to restore.

    Attributes:
        degraded: What a method is given, uint8[H, W, 3] or uint8[H, W].
        true: What it should give.
    """

    degraded: Pixels
    true: Pixels


@functools.lru_cache(maxsize=8)
def enlarging_pairs(folder: Path, factor: int) -> tuple[Pair, ...]:
    """The published pairs of a set such as Set5, in colour.

    Args:
        folder: Its folder, with ``image_SRF_2`` and ``image_SRF_4``.
        factor: 2 or 4.

    Raises:
        MissingDataError: It is not there.
    """
    pairs = []
    for large in image_files(folder / f"image_SRF_{factor}", "*_HR.png"):
        small = large.with_name(large.name.replace("_HR", "_LR"))
        pairs.append(Pair(_read(small, "RGB"), _read(large, "RGB")))
    return tuple(pairs)


def noisy_pairs(folder: Path, sigma: int, draw: int) -> tuple[Pair, ...]:
    """Grey pictures with noise, rounded and clamped to 8 bits.

    Args:
        folder: Where the pictures are.
        sigma: Standard deviation of the noise.
        draw: Number of the draw: the seed of the i-th picture is ``1000 * draw + i``.

    Raises:
        MissingDataError: There is no picture.
    """
    planes = [_read(file, "L") for file in image_files(folder, "*.png")]
    return tuple(
        Pair(noisy_pixels(plane, sigma, 1000 * draw + i), plane) for i, plane in enumerate(planes)
    )


def _read(path: Path, mode: str) -> Pixels:
    with Image.open(path) as picture:
        return np.asarray(picture.convert(mode))
