"""Folders of pictures to learn from, as planes of 8-bit pixels; what cannot be used is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError
from intaglio.fitting.picture_files import KINDS, REDUCED, find_pictures, read_picture

#: Bytes of decoded pictures that are held at most.
LIMIT = 8 << 30
#: Pictures that :func:`split_images` keeps for validation, about.
VALIDATION = 20


@dataclasses.dataclass(frozen=True)
class NamedImage:
    """A picture and where it is from.

    Attributes:
        name: Path below its folder, with ``/``.
        pixels: uint8[3, H, W], R, G, B.
    """

    name: str
    pixels: NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """The pictures of one or more folders.

    Attributes:
        images: In the order of their names.
        bad: Name and reason of each file that is no readable picture; a sentence together.
    """

    images: tuple[NamedImage, ...]
    bad: tuple[tuple[str, str], ...] = ()


def load_images(*folders: Path, limit: int = LIMIT) -> ImageSet:
    """Reads all pictures in folders and the folders in them.

    Args:
        *folders: Where to look. With more than one, the name of the folder begins the names.
        limit: Bytes of decoded pictures, at most.

    Returns:
        The pictures, and the files that are none.

    Raises:
        InputError: A folder is not there, nothing in it can be read, or it is too much.
    """
    images: list[NamedImage] = []
    bad: list[tuple[str, str]] = []
    size = 0
    for folder in folders:
        prefix = f"{folder.name}/" if len(folders) > 1 else ""
        for file in _files_in(folder):
            name = prefix + file.relative_to(folder).as_posix()
            try:
                pixels = read_planes(file)
            except InputError as error:
                bad.append((name, error.message.removeprefix(f"{file} ")))
                continue
            size += pixels.nbytes
            if size > limit:
                raise InputError(
                    f"the pictures take more than {limit / (1 << 30):.1f} GiB when decoded, "
                    f"from {name} on",
                    remedy="give fewer or smaller pictures; a few hundred are enough to fit tables",
                )
            images.append(NamedImage(name, pixels))
    if not images:
        where = ", ".join(map(str, folders))
        reasons = "".join(f"\n  - {name} {reason}" for name, reason in bad[:5])
        raise InputError(
            f"no readable picture in {where}{reasons}",
            remedy=f"give a folder of pictures; {KINDS} are read",
        )
    return ImageSet(tuple(sorted(images, key=lambda image: image.name)), tuple(bad))


def read_planes(file: Path) -> NDArray[np.uint8]:
    """A picture as uint8[3, H, W]; grey ones have three equal planes, transparency is dropped.

    Raises:
        InputError: It is no picture, is damaged, or has more than 8 bits a value.
    """
    picture = read_picture(file)
    if REDUCED in picture.notes:
        raise InputError(
            f"{file} has 16 bits a value, and networks learn from 8", remedy="convert it to 8 bits"
        )
    height, width = picture.size
    return np.ascontiguousarray(np.broadcast_to(picture.planes, (3, height, width)))


def split_images(
    images: tuple[NamedImage, ...], held_out: int = VALIDATION
) -> tuple[tuple[NamedImage, ...], tuple[NamedImage, ...]]:
    """Splits pictures into those to learn from and those to choose by.

    Every n-th in the order of names is held out, so the split depends on the names alone and
    folders are represented by their size.

    Args:
        images: In the order of their names.
        held_out: How many to hold out, at most; never more than a fifth of them.

    Returns:
        Those to learn from, and those held out (none of fewer than five pictures).
    """
    count = min(held_out, len(images) // 5)
    if count < 1:
        return images, ()
    # In the middle of each of `count` equal runs.
    places = {(2 * i + 1) * len(images) // (2 * count) for i in range(count)}
    kept = tuple(image for i, image in enumerate(images) if i not in places)
    return kept, tuple(images[i] for i in sorted(places))


def _files_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder", remedy="give a folder of pictures")
    return find_pictures(folder)
