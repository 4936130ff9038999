"""Pairs of degraded and clean crops, to fit restoring networks on.

Two tasks. *Super-resolution* by a factor: the input is the picture reduced by MATLAB's bicubic
filter, the target the picture. *Denoising*: the input is the picture with Gaussian noise, drawn
anew for each crop, rounded and clamped to 8 bits.

A network computes *cells*: of each ``stride x stride`` pixels of the input, ``side x side`` pixels
of the output (super-resolution by r: stride 1, side r; denoising at half resolution: stride 2,
side 2). Networks see one plane, so a crop is one of R, G, B, or luma (every fourth, because
networks are used on luma alone too), in one of 8 orientations.

A batch depends on the seed and the number of the step alone, so fitting goes on after an
interruption with the crops that it would have seen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError, RecipeError
from intaglio.fitting.image_files import NamedImage
from intaglio.transforms.images.bicubic import crop_to_multiple, resize_bicubic
from intaglio.transforms.images.color import rounded_luma
from intaglio.transforms.images.noise import fresh_noise
from intaglio.transforms.images.orientations import orient

FACTORS = (2, 3, 4)
_LUMA_SHARE = 0.25
_COLORS, _LUMA = 3, 3


@dataclasses.dataclass(frozen=True)
class PairTask:
    """What a network shall restore; see :func:`enlarging` and :func:`denoising`.

    Attributes:
        name: In words of an option, such as ``x4`` or ``noise25``.
        side: Output pixels on a side of a cell.
        stride: Input pixels on a side of a cell.
        sigma: Standard deviation of the noise in steps of a pixel; 0 for none.
    """

    name: str
    side: int
    stride: int
    sigma: float = 0.0

    @property
    def factor(self) -> int:
        """Output pixels for an input pixel, on a side."""
        return self.side // self.stride


@dataclasses.dataclass(frozen=True)
class Batch:
    """Crops of one step.

    Attributes:
        inputs: uint8[B, n, n], ``n = stride * (cells + 2 * margin)``.
        targets: uint8[B, cells, cells, side^2], the inner cells; sub-pixel ``dy * side + dx``.
    """

    inputs: NDArray[np.uint8]
    targets: NDArray[np.uint8]


def enlarging(factor: int) -> PairTask:
    """Super-resolution.

    Args:
        factor: 2, 3 or 4.

    Raises:
        RecipeError: Another factor.
    """
    if factor not in FACTORS:
        raise RecipeError(f"cannot learn to enlarge by {factor}", remedy="give 2, 3 or 4")
    return PairTask(f"x{factor}", factor, 1)


def denoising(sigma: float, stride: int = 2) -> PairTask:
    """Removal of Gaussian noise.

    Args:
        sigma: Standard deviation in steps of a pixel, above 0 and at most 100.
        stride: Pixels on a side of a cell.

    Raises:
        RecipeError: A sigma out of range.
    """
    if not 0 < sigma <= 100:
        raise RecipeError(f"cannot learn to remove noise of sigma {sigma}", remedy="give 1 to 100")
    return PairTask(f"noise{sigma:g}", stride, stride, float(sigma))


def degrade(pixels: NDArray[np.uint8], task: PairTask, seed: int = 0) -> NDArray[np.uint8]:
    """The input that belongs to a whole picture, for validation.

    Args:
        pixels: uint8[P, H, W]; for super-resolution with sides that are multiples of the factor.
        task: What to restore.
        seed: Seed of the noise.
    """
    if task.sigma:
        return fresh_noise(pixels, task.sigma, np.random.default_rng(seed))
    return _reduce(pixels, task.factor)


class CropSampler:
    """Draws batches of crops.

    A picture is drawn in proportion to the number of places where a crop fits, so all places are
    alike.

    Args:
        images: Pictures to learn from.
        task: What to restore.
        cells: Cells on a side of a crop that count.
        margin: Cells around them that a network sees only.
        seed: Same seed, same crops.

    Attributes:
        too_small: Names of pictures that no crop fits in; they are left out.

    Raises:
        InputError: All pictures are too small.
    """

    def __init__(
        self, images: Sequence[NamedImage], task: PairTask, cells: int, margin: int, seed: int
    ) -> None:
        self.task, self.cells, self.margin, self.seed = task, cells, margin, seed
        self._size = task.stride * (cells + 2 * margin)
        needed = self._size * task.factor
        fits = [image for image in images if min(image.pixels.shape[1:]) >= needed]
        self.too_small = tuple(i.name for i in images if min(i.pixels.shape[1:]) < needed)
        if not fits:
            raise InputError(
                f"none of {len(images)} pictures has {needed}x{needed} pixels, which a crop takes",
                remedy="give larger pictures, or a smaller crop with --set crop=NUMBER",
            )
        self._clean = [_with_luma(_cropped(image.pixels, task.factor)) for image in fits]
        self._seen = self._clean
        if task.factor > 1:
            self._seen = [_with_luma(_reduce(p[:_COLORS], task.factor)) for p in self._clean]
        places = [_places(plane.shape, self._size) for plane in self._seen]
        self._until = np.cumsum([rows * columns for rows, columns in places])

    def batch(self, step: int, count: int) -> Batch:
        """The crops of a step.

        Args:
            step: Number of the step.
            count: How many crops.

        Returns:
            Always the same for the same seed, step and count.
        """
        generator = np.random.default_rng((self.seed, step))
        places = generator.integers(0, self._until[-1], count)
        pictures = np.searchsorted(self._until, places, side="right")
        planes = np.where(
            generator.random(count) < _LUMA_SHARE, _LUMA, generator.integers(0, _COLORS, count)
        )
        turns = generator.integers(0, 8, count)
        side, size, cells = self.task.side, self._size, self.cells
        inputs = np.empty((count, size, size), np.uint8)
        clean = np.empty((count, cells * side, cells * side), np.uint8)
        for i in range(count):
            seen, whole = self._seen[pictures[i]][planes[i]], self._clean[pictures[i]][planes[i]]
            rest = self._until[pictures[i]] - 1 - places[i]
            y, x = divmod(int(rest), seen.shape[1] - size + 1)
            inputs[i] = orient(seen[y : y + size, x : x + size], turns[i])
            factor, inner = self.task.factor, self.margin * side
            top, left = y * factor + inner, x * factor + inner
            part = whole[top : top + cells * side, left : left + cells * side]
            clean[i] = orient(part, turns[i])
        if self.task.sigma:
            inputs = fresh_noise(inputs, self.task.sigma, generator)
        grid = clean.reshape(count, cells, side, cells, side).transpose(0, 1, 3, 2, 4)
        return Batch(inputs, np.ascontiguousarray(grid).reshape(count, cells, cells, side * side))


def _cropped(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    return np.asarray(crop_to_multiple(pixels.transpose(1, 2, 0), factor).transpose(2, 0, 1))


def _reduce(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    if factor == 1:
        return pixels
    return np.asarray(resize_bicubic(pixels.transpose(1, 2, 0), 1 / factor).transpose(2, 0, 1))


def _with_luma(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """R, G, B and luma planes, each contiguous."""
    luma = rounded_luma(pixels.transpose(1, 2, 0))
    return np.ascontiguousarray(np.concatenate([pixels, luma[None]]))


def _places(shape: tuple[int, ...], size: int) -> tuple[int, int]:
    return shape[1] - size + 1, shape[2] - size + 1
