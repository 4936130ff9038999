"""How good a network is on pictures that it does not learn from.

Super-resolution is measured as papers do: R, G and B go through the network apart, and PSNR is of
the luma (BT.601, studio range, in floating point) without a border as wide as the factor. Denoising
is measured on the luma plane alone, all of it, with noise that is the same each time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError
from intaglio.fitting.image_files import NamedImage
from intaglio.fitting.image_pairs import PairTask, degrade
from intaglio.transforms.images.bicubic import resize_bicubic
from intaglio.transforms.images.color import luma, rounded_luma
from intaglio.transforms.images.quality import psnr

#: Of larger pictures the middle is taken: validations shall not take longer than the steps.
LARGEST = 512
_SMALLEST = 8

#: Planes in, planes out: uint8 [P, H, W].
Restorer = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


@dataclasses.dataclass(frozen=True)
class Case:
    """A picture for validation.

    Attributes:
        name: Of its file.
        clean: uint8 [P, H, W]: R, G, B, or the luma alone for denoising.
        degraded: uint8 [P, h, w].
    """

    name: str
    clean: NDArray[np.uint8]
    degraded: NDArray[np.uint8]


class ValidationSet:
    """Pictures to validate on.

    Args:
        images: The clean ones.
        task: What to restore.

    Raises:
        InputError: None is large enough.
    """

    def __init__(self, images: Sequence[NamedImage], task: PairTask) -> None:
        self.task = task
        cases = []
        for number, image in enumerate(images):
            clean = _middle(image.pixels, 2 * task.factor)
            if min(clean.shape[1:], default=0) < _SMALLEST * task.factor:
                continue
            if task.sigma:
                clean = rounded_luma(clean.transpose(1, 2, 0))[None]
            cases.append(Case(image.name, clean, degrade(clean, task, seed=number)))
        if images and not cases:
            raise InputError(
                f"no picture for validation has {_SMALLEST * task.factor} pixels on each side",
                remedy="give larger ones",
            )
        self.cases = tuple(cases)

    def __len__(self) -> int:
        return len(self.cases)

    def score(self, restore: Restorer) -> float:
        """Mean PSNR of what a network makes of the pictures, in dB."""
        return float(np.mean([self.quality(case, restore(case.degraded)) for case in self.cases]))

    def baseline(self) -> float:
        """Mean PSNR without a network: enlarged by the bicubic filter, or still noisy."""
        return self.score(self.simple)

    def simple(self, degraded: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What there is without a network: enlarged by the bicubic filter, or still noisy."""
        if self.task.factor == 1:
            return degraded
        size = (degraded.shape[1] * self.task.factor, degraded.shape[2] * self.task.factor)
        return np.asarray(resize_bicubic(degraded.transpose(1, 2, 0), size).transpose(2, 0, 1))

    def quality(self, case: Case, restored: NDArray[np.uint8]) -> float:
        """PSNR of one restored picture, in dB; 100 for one without any difference."""
        if len(case.clean) == 1:
            return min(100.0, psnr(restored[0], case.clean[0]))
        a, b = (luma(planes.transpose(1, 2, 0)) for planes in (restored, case.clean))
        return min(100.0, psnr(a, b, self.task.factor))


def _middle(pixels: NDArray[np.uint8], multiple: int) -> NDArray[np.uint8]:
    """The middle of a picture, with sides that are multiples."""
    height, width = (min(size, LARGEST) // multiple * multiple for size in pixels.shape[1:])
    top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
    return np.ascontiguousarray(pixels[:, top : top + height, left : left + width])
