"""Windows of images with few channels: out of padded rows, by loads and stores of 16 bytes.

Such a window is short, so what counts is to copy it fast: the rows that some rows of results need
go into a band with padding first; from there every row of a window is one load and one store or
two. A store writes more than its row; the next one writes over that, or the weights there are 0.
"""

from __future__ import annotations

import dataclasses

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.mve.assembly import assembly, clobbers
from intaglio.targets.c.kernels.mve.copying import COPY, FILL
from intaglio.targets.c.network import Window

#: Largest offset of a load of bytes.
_FARTHEST = 127
_POINTERS = ("r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10")
#: Bytes behind bands and windows that loads and stores of 16 bytes touch.
SLACK = 16

BAND = Function(
    "mve_band",
    """\
/* Rows of an image with padding. */
struct mve_band {
    int32_t rows, row_bytes; /* of the image */
    int32_t pad_bytes;       /* in front of a row */
    int32_t pitch;           /* of a padded row */
    int32_t zero_point;
};

static void mve_take_band(const struct mve_band *shape, const int8_t *x, int32_t top,
                          int32_t rows, int8_t *band)
{
    const int32_t room = shape->pitch - shape->pad_bytes;
    const int32_t bytes = shape->row_bytes < room ? shape->row_bytes : room;
    int32_t row;
    mve_fill(band, shape->zero_point, rows * shape->pitch);
    for (row = top; row < top + rows; row++) {
        if (row >= 0 && row < shape->rows) {
            mve_copy(band + shape->pad_bytes, x + row * shape->row_bytes, bytes);
        }
        band += shape->pitch;
    }
}""",
    (COPY, FILL),
)


@dataclasses.dataclass(frozen=True)
class Band:
    """How windows are taken out of a band.

    Attributes:
        rows: Rows of a window.
        run: Bytes of a row of a window.
        step: Bytes from one window to the next in the band.
        pitch: Bytes of a row of the band.
        patch: Bytes from one window to the next where they are copied to.
    """

    rows: int
    run: int
    step: int
    pitch: int
    patch: int

    @property
    def rows_each(self) -> int:
        """Rows that one pointer reaches."""
        reach = _FARTHEST - (self.run - 1) // 16 * 16 - self.step
        return max(1, reach // self.pitch + 1)

    @property
    def fits(self) -> bool:
        """Whether all offsets can be written into instructions, and pointers suffice."""
        pointers = -(-self.rows // self.rows_each)
        return (
            self.patch <= _FARTHEST
            and self.step + 16 <= _FARTHEST
            and self.step + self.run <= _FARTHEST
            and pointers <= len(_POINTERS)
        )


def band_of(window: Window, patch: int) -> Band | None:
    """The band of a convolution; None where windows are too large for it."""
    channels = window.image[2]
    if window.dilations != (1, 1):
        return None
    columns = (window.result[1] - 1) * window.strides[1] + window.kernel[1]
    found = Band(
        window.kernel[0],
        window.kernel[1] * channels,
        window.strides[1] * channels,
        columns * channels,
        patch,
    )
    return found if found.fits and window.pads[1] < columns else None


def taking(band: Band) -> Function:
    """Copies a row of windows out of a band."""
    pieces = [(row, offset) for row in range(band.rows) for offset in range(0, band.run, 16)]
    lines = [
        "push {r4-r11, lr}",
        "push {%0}",
        "push {%1}",
        "push {%2}",
        "pop {r2}",
        "pop {r3}",
        "pop {r1}",
    ]
    pointers = -(-band.rows // band.rows_each)
    for i in range(1, pointers):
        lines.append(f"movw r11, #{i * band.rows_each * band.pitch}")
        lines.append(f"add {_POINTERS[i]}, r3, r11")
    lines += ["dls lr, r2", "1:"]
    moved: set[int] = set()
    for place, (row, offset) in enumerate(pieces):
        group, within = divmod(row, band.rows_each)
        at = within * band.pitch + offset - (band.step if group in moved else 0)
        if within == 0 and offset == 0:
            lines.append(f"vldrb.u8 q0, [{_POINTERS[group]}], #{band.step}")
            moved.add(group)
        else:
            lines.append(f"vldrb.u8 q0, [{_POINTERS[group]}, #{at}]")
        if place == 0:
            lines.append(f"vstrb.8 q0, [r1], #{band.patch}")
        else:
            lines.append(f"vstrb.8 q0, [r1, #{row * band.run + offset - band.patch}]")
    lines += ["le lr, 1b", "pop {r4-r11, lr}"]
    name = f"mve_windows_{band.rows}x{band.run}_by_{band.step}_{band.pitch}_{band.patch}"
    statement = assembly(lines, f': : "r"(to), "r"(band), "r"(windows) : {clobbers()}')
    return Function(
        name,
        f"""\
/* Windows of {band.rows} rows of {band.run} bytes, {band.step} bytes after each other. */
static void {name}(int8_t *to, const int8_t *band, int32_t windows)
{{
{statement}
}}""",
    )
