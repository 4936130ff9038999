"""Picture files: found in folders, and read as planes of bytes that a network takes.

Grey pictures have one plane, others three; transparency is kept apart, since no network was fitted
for it. Pictures of 16 bits are rounded to 8. What a viewer would turn (EXIF) is turned.
"""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from intaglio.errors import InputError

#: Endings of picture files that are read.
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
#: They in words.
KINDS = "PNG, JPEG, BMP, TIFF, WebP and PPM"
#: The note on a picture whose pixels had more than 8 bits.
REDUCED = "16 bits reduced to 8"

# Pixels of 16 bits, by mode of PIL.
_WIDE_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")
# Modes whose colors stay what they are.
_KEPT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", *_WIDE_MODES)
_BITS_PER_SAMPLE = 258  # a tag of TIFF
_REMEDY = f"it is damaged or none of {KINDS.replace(' and ', ', ')}"


@dataclasses.dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        planes: uint8 [1 or 3, height, width]: grey, or red, green and blue.
        alpha: uint8 [height, width], or None where every pixel is opaque by its format.
        profile: ICC profile, handed through; None for none.
        notes: What was changed on reading.
    """

    planes: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None
    profile: bytes | None = None
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return int(self.planes.shape[1]), int(self.planes.shape[2])


def named_like_picture(path: Path) -> bool:
    """Whether a name ends like that of a picture file."""
    return path.suffix.lower() in SUFFIXES


def find_pictures(folder: Path) -> list[Path]:
    """The picture files in a folder and the folders in it, by name; hidden ones are passed over.

    Args:
        folder: The folder. What is in it counts, not what is above it.
    """
    return [
        file
        for file in sorted(folder.rglob("*"))
        if named_like_picture(file)
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]


def read_picture(path: Path) -> Picture:
    """Reads a picture.

    Raises:
        InputError: It is missing, damaged, no picture, or of a kind that is not known.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # About large pictures; too large ones are errors.
            with Image.open(path) as opened:
                wide = _bits(opened, path) > 8
                opened.load()
                return _decoded(opened, wide)
    except InputError as error:
        raise InputError(f"{path} {error.message}", remedy=error.remedy) from error
    except OSError as error:
        # PIL's own sentence about a file that is none repeats its path.
        reason = "its content is none" if isinstance(error, UnidentifiedImageError) else ""
        reason = reason or error.strerror or str(error)
        raise InputError(f"{path} cannot be read as a picture: {reason}", remedy=_REMEDY) from error
    except Exception as error:
        # Decoders raise whatever a damaged file leads them to.
        raise InputError(f"{path} cannot be read as a picture: {error}", remedy=_REMEDY) from error


def _decoded(opened: Image.Image, wide: bool) -> Picture:
    notes = (REDUCED,) if wide else ()
    # A profile says what its own colors mean, and is wrong for converted ones.
    profile = opened.info.get("icc_profile") if opened.mode in _KEPT_MODES else None
    image = ImageOps.exif_transpose(opened) or opened
    if image.mode in _WIDE_MODES:
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise InputError(f"has pixels of mode {image.mode}", remedy="convert it to 8 bits")
        grey = ((values * 255 + 32767) // 65535).astype(np.uint8)
        return Picture(grey[None], None, profile, (REDUCED,))
    if image.mode == "F":
        raise InputError("has pixels of real numbers", remedy="convert it to 8 bits")
    transparent = image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info
    grey_modes = image.mode in ("1", "L", "LA", "La")
    wanted = ("L" if grey_modes else "RGB") + ("A" if transparent else "")
    pixels = np.asarray(image.convert(wanted))
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    count = 1 if grey_modes else 3
    planes = np.ascontiguousarray(pixels[..., :count].transpose(2, 0, 1))
    alpha = np.ascontiguousarray(pixels[..., count]) if transparent else None
    return Picture(planes, alpha, profile, notes)


def _bits(opened: Image.Image, path: Path) -> int:
    """Bits a channel by the file's header: PIL drops half of 16 without a word."""
    if opened.format == "PNG":
        with path.open("rb") as stream:
            header = stream.read(25)
        return header[24] if len(header) == 25 else 0
    if opened.format == "TIFF":
        bits = getattr(opened, "tag_v2", {}).get(_BITS_PER_SAMPLE, 8)
        return max(bits) if isinstance(bits, tuple) else int(bits)
    if opened.format == "PPM":
        # The decoder's arguments: how pixels are stored, and the largest value where not 255.
        tiles = getattr(opened, "tile", [])
        arguments = tiles[0].args if tiles else ()
        return 16 if any(isinstance(a, int) and a > 255 for a in arguments) else 8
    return 8
