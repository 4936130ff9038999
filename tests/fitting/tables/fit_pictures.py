"""Small pictures with edges and slopes, to fit on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from intaglio.fitting.image_files import NamedImage


def picture(seed: int, height: int = 96, width: int = 112) -> np.ndarray:
    """uint8[H, W, 3]: enlarged noise, so that there is something to restore."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def named(count: int, **size: int) -> tuple[NamedImage, ...]:
    return tuple(
        NamedImage(f"p{i}.png", np.ascontiguousarray(picture(i, **size).transpose(2, 0, 1)))
        for i in range(count)
    )


def write(folder: Path, count: int, **size: int) -> Path:
    """Makes a folder of pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(picture(i, **size)).save(folder / f"p{i}.png")
    return folder
