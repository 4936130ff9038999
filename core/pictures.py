"""One picture file: read as planes of bytes that a network takes, written as PNG.

Grey pictures have one plane, others three; transparency is kept apart, since no network was fitted
for it. Pictures of 16 bits are rounded to 8. What a viewer would turn (EXIF) is turned.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from intaglio.bundle_files import cannot_write
from intaglio.errors import InputError

#: Endings of picture files that are read.
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")

# Of zlib, 1 to 9: on photographs twice as fast as the usual 6, and about a hundredth larger.
_EFFORT = 3

# Pixels of 16 bits, by mode of PIL.
_WIDE_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")
# Modes whose colors stay what they are.
_KEPT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", *_WIDE_MODES)
_REDUCED = "16 bits reduced to 8"


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


def read_picture(path: Path) -> Picture:
    """Reads a picture.

    Raises:
        InputError: It is missing, damaged, no picture, or of a kind that is not known.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # About large pictures; too large ones are errors.
            with Image.open(path) as opened:
                wide = opened.format == "PNG" and _bits_of_png(path) == 16
                opened.load()
                return _decoded(opened, wide)
    except InputError as error:
        raise InputError(f"{path} {error.message}", remedy=error.remedy) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path} cannot be read as a picture: {reason}", remedy=_REMEDY) from error
    except Exception as error:
        # Decoders raise whatever a damaged file leads them to.
        raise InputError(f"{path} cannot be read as a picture: {error}", remedy=_REMEDY) from error


_REMEDY = "it is damaged or no PNG, JPEG or BMP file"


def write_picture(path: Path, picture: Picture) -> None:
    """Writes a picture as PNG; a file of that name appears when it is whole.

    Raises:
        OutputError: It cannot be written; what was there before is untouched.
    """
    mode = {1: "L", 3: "RGB"}[picture.planes.shape[0]]
    channels = list(picture.planes)
    if picture.alpha is not None:
        mode, channels = mode + "A", [*channels, picture.alpha]
    pixels = np.ascontiguousarray(np.stack(channels, axis=-1))
    image = Image.fromarray(pixels[..., 0] if len(channels) == 1 else pixels, mode)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        image.save(part, format="PNG", icc_profile=picture.profile, compress_level=_EFFORT)
        part.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def _decoded(opened: Image.Image, wide: bool) -> Picture:
    notes = (_REDUCED,) if wide else ()
    # A profile says what its own colors mean, and is wrong for converted ones.
    profile = opened.info.get("icc_profile") if opened.mode in _KEPT_MODES else None
    image = ImageOps.exif_transpose(opened) or opened
    if image.mode in _WIDE_MODES:
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise InputError(f"has pixels of mode {image.mode}", remedy="convert it to 8 bits")
        grey = ((values * 255 + 32767) // 65535).astype(np.uint8)
        return Picture(grey[None], None, profile, (_REDUCED,))
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


def _bits_of_png(path: Path) -> int:
    """Bits a channel, from the header: PIL drops half of 16 without a word."""
    with path.open("rb") as stream:
        header = stream.read(25)
    return header[24] if len(header) == 25 else 0
