"""Builds emitted table networks for this machine and compares them with their definition."""

import tempfile
from pathlib import Path

import numpy as np

from intaglio.targets.c.images.library import ImageLibrary
from intaglio.targets.c.images.writing import write_images
from tests.targets.c.harness import FLAGS, STRICT

#: Heights and widths: single pixels, rows and columns, and what surrounds blocks of 16, 32 and 64.
SIZES = (
    (1, 1), (2, 5), (7, 3), (1, 40), (40, 1), (6, 31), (5, 32), (4, 33), (3, 64), (9, 65), (5, 127),
    (3, 300),
)  # fmt: skip

#: Bytes around pictures that nobody may touch.
MARK = 0x5C


def write(network, variant, folder, name="net"):
    """Writes the files for a variant and returns its own flags."""
    for file, text in write_images(network, name, {variant}).files.items():
        (folder / file).write_text(text)
    forced = (f"-D{name.upper()}_PORTABLE",) if variant == "portable" else ()
    return (*STRICT, *FLAGS[variant], *forced)


def build(network, variant, *, flags=("-O2",), compiler=None):
    """The network as a library."""
    with tempfile.TemporaryDirectory(prefix="intaglio-images-") as place:
        folder = Path(place)
        own = write(network, variant, folder)
        return ImageLibrary(folder, "net", folder, (*own, *flags), compiler)


def picture(rng, height, width, kind=0):
    """Noise, or noise of the two extremes, in rows that lie further apart than they are wide."""
    padded = rng.integers(0, 256, (height, width + kind % 4)).astype(np.uint8)
    if kind % 3 == 1:
        padded = np.where(padded > 127, np.uint8(255), np.uint8(0))
    return padded[:, :width]


def run_in_frame(library, plane, bands):
    """The result, made in the middle of a marked picture; checks that the marks are left."""
    shape = [size * library.upscale // library.stride for size in plane.shape]
    frame = np.full((shape[0] + 2, shape[1] + 7), MARK, np.uint8)
    result = frame[1:-1, 3 : 3 + shape[1]]
    rows = -(-plane.shape[0] // library.stride)
    for band in range(bands):
        library.run_band(plane, result, rows * band // bands, rows * (band + 1) // bands)
    inside = result.copy()
    result[:] = MARK
    assert (frame == MARK).all()
    return inside


def check(network, library, sizes=SIZES, seed=0):
    """Compares every size with the definition, whole and in three bands."""
    rng = np.random.default_rng(seed)
    for kind, (height, width) in enumerate(sizes):
        plane = picture(rng, height, width, kind)
        expected = network.apply(plane)
        for bands in (1, 3):
            np.testing.assert_array_equal(run_in_frame(library, plane, bands), expected)
