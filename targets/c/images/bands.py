"""C text that all table networks share: what is asked for, and the strips it is made in."""

from __future__ import annotations

#: Small functions, and the picture with the part of it that is made.
HELPERS = """\
static int whole_blocks(int cells)
{
    return (cells + BLOCK - 1) / BLOCK * BLOCK;
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

static int most(int a, int b)
{
    return a > b ? a : b;
}

/* A picture and the part of it that is made. */
struct NAME__job {
    const uint8_t *in;
    uint8_t *out;
    ptrdiff_t in_stride;
    ptrdiff_t out_stride;
    int width;
    int height;
    int first; /* rows of cells */
    int end;
};"""


def api(reach: str, cells_of: str) -> str:
    """C text of the functions that callers see; it needs ``place`` and ``run_strip``.

    Args:
        reach: C name of the cells on each side that a cell depends on.
        cells_of: C text of the cells in a row or column of ``PIXELS`` pixels.
    """

    def cells(pixels: str) -> str:
        return cells_of.replace("PIXELS", pixels)

    return (
        _API.replace("@reach@", reach)
        .replace("@rows@", cells("height"))
        .replace("@columns@", cells("width"))
        .replace("@all@", cells("most(0, height)"))
    )


_API = """\
void NAME_run_band(const uint8_t *in, ptrdiff_t in_stride, int width, int height, uint8_t *out,
                   ptrdiff_t out_stride, int first_row, int end_row, void *scratch)
{
    struct NAME__job job;
    struct NAME__strip strip;
    int columns, from;
    if (width <= 0 || height <= 0) {
        return;
    }
    job.in = in;
    job.out = out;
    job.in_stride = in_stride;
    job.out_stride = out_stride;
    job.width = width;
    job.height = height;
    job.first = most(0, first_row);
    job.end = least(end_row, @rows@);
    if (job.first >= job.end) {
        return;
    }
    columns = @columns@;
    for (from = 0; from < columns; from += strip.to - strip.from) {
        strip.left = most(0, from - @reach@);
        strip.cells = least(STRIP, columns - strip.left);
        strip.from = from - strip.left;
        /* The last cells of a strip lack neighbours, unless the picture ends there. */
        strip.to = strip.left + strip.cells == columns ? strip.cells : strip.cells - @reach@;
        place(&strip, scratch);
        run_strip(&job, &strip);
    }
}

void NAME_run(const uint8_t *in, ptrdiff_t in_stride, int width, int height, uint8_t *out,
              ptrdiff_t out_stride, void *scratch)
{
    NAME_run_band(in, in_stride, width, height, out, out_stride, 0, @all@,
                  scratch);
}"""
