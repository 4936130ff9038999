"""A picture written as PNG; :mod:`intaglio.fitting.picture_files` finds and reads pictures."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from intaglio.bundle_files import cannot_write
from intaglio.fitting.picture_files import Picture

# Of zlib, 1 to 9: on photographs twice as fast as the usual 6, and about a hundredth larger.
_EFFORT = 3


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
