"""The two tasks: a new speaker of digits, and clothes photographed at an angle.

A task has labelled samples to adapt with, a test set that nothing is ever chosen on, and a
validation set for choosing steps and rates.

- ``speaker``: the Free Spoken Digit Dataset. Five speakers were learnt; five takes of each digit
  by the sixth (50 recordings) are for adapting, that speaker's other 450 for testing. The seed
  draws the takes. There is no validation set: whoever chooses leaves one take out in turn.
- ``rotation``: Fashion-MNIST, turned about the middle of the picture. The network was trained on
  the first 50,000 training pictures, upright. Of the next 8,000, 1,024 are drawn for adapting; the
  last 2,000 are for validation; the 10,000 test pictures, turned, for testing.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import existing
from benchmarks.quantization.datasets import read_mnist

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
ANGLES = (30, 45)
TAKES = 50
TAKES_TO_ADAPT = 5
PICTURES_TO_ADAPT = 1024
LEARNT_PICTURES, LAST_DRAWN_PICTURE = 50_000, 58_000


@dataclass(frozen=True)
class Samples:
    """Inputs and labels.

    Attributes:
        x: N×1×H×W, float32.
        y: N labels.
    """

    x: FloatArray
    y: IntArray

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, chosen: Any) -> Samples:
        return Samples(self.x[chosen], self.y[chosen])


@dataclass(frozen=True)
class Recordings:
    """Features of spoken digits, in the order of their file names.

    Attributes:
        samples: Features N×1×32×40 and digits.
        takes: Take numbers.
        speakers: Names.
    """

    samples: Samples
    takes: IntArray
    speakers: NDArray[np.str_]


@dataclass(frozen=True)
class Task:
    """What a network is adapted to.

    Attributes:
        name: ``speaker theo`` or ``rotation 30``.
        adapt: Labelled samples of the new domain.
        test: The test set.
        groups: Of each sample to adapt with, its fold in cross-validation.
    """

    name: str
    adapt: Samples
    test: Samples
    groups: IntArray


@functools.cache
def recordings(shared: Path) -> Recordings:
    """All recordings of the spoken digits.

    Raises:
        MissingDataError: There are none.
    """
    from sample_models.spoken_digits.features import log_mel, read_wav

    folder = existing(shared / "data" / "fsdd" / "recordings")
    paths = sorted(folder.glob("*_*_*.wav"))
    parts = [path.stem.split("_") for path in paths]
    return Recordings(
        Samples(
            np.stack([log_mel(read_wav(path)) for path in paths]),
            np.array([int(part[0]) for part in parts], np.int64),
        ),
        np.array([int(part[2]) for part in parts], np.int64),
        np.array([part[1] for part in parts]),
    )


def speaker_task(shared: Path, speaker: str, seed: int) -> Task:
    """Five takes of each digit to adapt to one speaker, that speaker's others to test on."""
    data = recordings(shared)
    takes = np.random.default_rng(seed).permutation(TAKES)[:TAKES_TO_ADAPT]
    own = data.speakers == speaker
    drawn = np.isin(data.takes, takes)
    groups = np.searchsorted(np.sort(takes), data.takes[own & drawn])
    samples = data.samples
    return Task(f"speaker {speaker}", samples[own & drawn], samples[own & ~drawn], groups)


@functools.cache
def pictures(shared: Path, part: str) -> Samples:
    """Fashion-MNIST upright, pixels from 0 to 1; part is ``train`` or ``t10k``."""
    images, labels = read_mnist(shared / "data" / "fashion_mnist", part)
    return Samples(images[:, None].astype(np.float32) / np.float32(255), labels)


@functools.cache
def turned(shared: Path, part: str, angle: int, start: int, stop: int) -> Samples:
    """Some of the pictures, turned."""
    samples = pictures(shared, part)[start:stop]
    return Samples(rotate(samples.x, angle), samples.y)


def rotation_task(shared: Path, angle: int, seed: int) -> Task:
    """1,024 turned pictures to adapt with, the 10,000 turned test pictures to test on."""
    pool = turned(shared, "train", angle, LEARNT_PICTURES, LAST_DRAWN_PICTURE)
    chosen = np.random.default_rng(seed).permutation(len(pool))[:PICTURES_TO_ADAPT]
    test = turned(shared, "t10k", angle, 0, 10_000)
    return Task(f"rotation {angle}", pool[chosen], test, np.zeros(len(chosen), np.int64))


def rotation_validation(shared: Path, angle: int) -> Samples:
    """2,000 turned training pictures that nothing was learnt from, for choosing rates."""
    return turned(shared, "train", angle, LAST_DRAWN_PICTURE, 60_000)


def rotate(images: FloatArray, degrees: float) -> FloatArray:
    """Turns pictures counterclockwise about their middle, bilinear, zero outside.

    Args:
        images: N×1×H×W.
        degrees: The angle.

    Returns:
        Pictures of the same size.
    """
    height, width = images.shape[2:]
    row, column = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    y, x = row - (height - 1) / 2, column - (width - 1) / 2
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    from_y = cosine * y + sine * x + (height - 1) / 2
    from_x = cosine * x - sine * y + (width - 1) / 2
    low_y, low_x = np.floor(from_y).astype(int), np.floor(from_x).astype(int)
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    total = np.zeros(images.shape, np.float64)
    for step_y in (0, 1):
        for step_x in (0, 1):
            at_y, at_x = low_y + step_y, low_x + step_x
            weight = (1 - np.abs(from_y - at_y)) * (1 - np.abs(from_x - at_x))
            inside = (at_y >= -1) & (at_y <= height) & (at_x >= -1) & (at_x <= width)
            picked = padded[:, :, np.clip(at_y, -1, height) + 1, np.clip(at_x, -1, width) + 1]
            total += np.where(inside, weight, 0) * picked
    return total.astype(np.float32)
