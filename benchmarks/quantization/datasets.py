"""Readers of the data sets: arrays as the models take them."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.common import MissingDataError, existing

FloatArray = NDArray[np.float32]
ByteArray = NDArray[np.uint8]

# Luma of BT.601: over the full range 0..255 (what OpenCV feeds its super-resolution models), and
# in studio range 16..235 (what MATLAB's rgb2ycbcr gives).
FULL_RANGE = (0.0, np.array([0.299, 0.587, 0.114]))
STUDIO_RANGE = (16.0, np.array([65.481, 128.553, 24.966]) / 255)


def read_idx(path: Path) -> ByteArray:
    """Reads an ``idx`` file of bytes, as of MNIST.

    Returns:
        The array in its own shape, samples first.
    """
    data = gzip.decompress(existing(path).read_bytes())
    rank = data[3]
    shape = tuple(int(n) for n in np.frombuffer(data, ">i4", rank, 4))
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def read_mnist(folder: Path, part: str) -> tuple[ByteArray, NDArray[np.int64]]:
    """Images N×28×28 and labels of MNIST or Fashion-MNIST; part is ``train`` or ``t10k``."""
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz")
    return images, labels.astype(np.int64)


def read_cifar(folder: Path, part: str) -> tuple[ByteArray, NDArray[np.int64]]:
    """Pictures N×3×32×32 and labels of CIFAR-10; part is ``train`` or ``test``."""
    found = sorted(folder.glob(f"cifar10_{part}_*.npz"))
    if not found:
        raise MissingDataError(f"no cifar10_{part}_*.npz in {folder}")
    with np.load(found[0]) as archive:
        return archive["x"].transpose(0, 3, 1, 2), archive["y"].astype(np.int64)


def image_files(folder: Path, pattern: str) -> list[Path]:
    """The files of a folder in the order of their names.

    Raises:
        MissingDataError: There is none.
    """
    found = sorted(folder.glob(pattern))
    if not found:
        raise MissingDataError(f"no {pattern} in {folder}")
    return found


def read_rgb(path: Path) -> Image.Image:
    """A picture in three channels."""
    with Image.open(path) as picture:
        converted: Image.Image = picture.convert("RGB")
    return converted


def as_chw(picture: Image.Image, size: tuple[int, int]) -> ByteArray:
    """Resizes (bilinear) to ``(height, width)``; returns 3×height×width, RGB."""
    resized = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(resized, np.uint8).transpose(2, 0, 1), np.uint8)


def luma(picture: Image.Image, standard: tuple[float, NDArray[Any]]) -> FloatArray:
    """BT.601 luma, rounded to whole values, H×W."""
    offset, weights = standard
    rgb = np.asarray(picture.convert("RGB"), np.float64)
    return np.asarray(np.round(offset + rgb @ weights), np.float32)


def reduced(picture: Image.Image, scale: int) -> tuple[Image.Image, Image.Image]:
    """A picture cropped to a multiple of ``scale``, and reduced by PIL's bicubic filter."""
    width, height = (side - side % scale for side in picture.size)
    large = picture.crop((0, 0, width, height))
    small = large.resize((width // scale, height // scale), Image.Resampling.BICUBIC)
    return small, large


Pairs = list[tuple[FloatArray, FloatArray]]


@functools.lru_cache
def read_pairs(folder: Path, full_range: bool) -> Pairs:
    """Small and large luma (H×W, 0..255) of ``*_LR.png`` and ``*_HR.png``."""
    standard = FULL_RANGE if full_range else STUDIO_RANGE
    pairs = []
    for large in image_files(folder, "*_HR.png"):
        small = large.with_name(large.name.replace("_HR", "_LR"))
        pairs.append((luma(read_rgb(small), standard), luma(read_rgb(large), standard)))
    return pairs


@functools.lru_cache
def read_grey(folder: Path, scale: int) -> Pairs:
    """Grey pictures reduced by PIL's bicubic filter, and themselves (H×W, 0..255)."""
    pairs = []
    for path in image_files(folder, "*.png"):
        with Image.open(path) as picture:
            small, large = reduced(picture.convert("L"), scale)
        pairs.append((np.asarray(small, np.float32), np.asarray(large, np.float32)))
    return pairs


@functools.lru_cache
def small_luma(folder: Path, scale: int, full_range: bool) -> list[FloatArray]:
    """Luma of the reduced pictures of a folder, for calibration: H×W, 0..255."""
    standard = FULL_RANGE if full_range else STUDIO_RANGE
    files = image_files(folder, "*.bmp")
    return [luma(reduced(read_rgb(path), scale)[0], standard) for path in files]


def random_crops(
    planes: Iterable[FloatArray], count: int, size: int, generator: np.random.Generator
) -> FloatArray:
    """Squares from random places of random planes.

    Returns:
        count×size×size.
    """
    large_enough = [plane for plane in planes if min(plane.shape) >= size]
    crops = []
    for index in generator.integers(len(large_enough), size=count):
        plane = large_enough[index]
        top, left = (int(generator.integers(side - size + 1)) for side in plane.shape)
        crops.append(plane[top : top + size, left : left + size])
    return np.stack(crops)
