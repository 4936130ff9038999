"""The loops around the block of depthwise convolutions."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.mve import channels, planes
from intaglio.targets.c.kernels.mve.copying import FILL

DRIVER = Function(
    "mve_depthwise",
    """\
/* A depthwise convolution with a 3x3 kernel, some channels at a time. */
struct mve_depthwise {
    int32_t rows, columns, channels; /* of the image that planes show: columns may be its rows */
    int32_t x_row, x_column, y_row;  /* bytes from one row or column to the next */
    int32_t vectors;                 /* of 16 bytes in a row, for what takes rows fast */
    int32_t lanes;                   /* channels at a time, 16 at most */
    int32_t stride, pad_top, pad_left;
    int32_t planes, row_step; /* and rows of results from one plane to the next */
    int32_t last_row;         /* the last plane's, if it is one more than those; or -1 */
    int32_t plane_columns, pitch;
    int32_t planes_at_once;
    int32_t words;      /* of the stream, a channel */
    int32_t zero_point; /* of x */
};

/* The plane for results from row out_row on: four rows of the image, with padding. */
static void mve_take_plane(const struct mve_depthwise *shape, struct mve_planes_job *job,
                           void (*fast)(const struct mve_planes_job *), const int8_t *x,
                           const int8_t *zeros, int32_t out_row, int8_t *plane)
{
    const int32_t row = shape->x_row;
    const int32_t top = out_row * shape->stride - shape->pad_top;
    job->to = plane + shape->pad_left * shape->pitch;
    if (top >= 0 && top + 4 <= shape->rows) {
        const int8_t *const from = x + top * row;
        job->from[0] = from;
        job->from[1] = from + row;
        job->from[2] = from + 2 * row;
        job->from[3] = from + 3 * row;
        job->step[0] = job->step[1] = job->step[2] = job->step[3] = shape->x_column;
        fast(job);
    } else {
        int32_t i;
        for (i = 0; i < 4; i++) {
            const int inside = top + i >= 0 && top + i < shape->rows;
            job->from[i] = inside ? x + (top + i) * row : zeros;
            job->step[i] = inside ? shape->x_column : 0;
        }
        mve_interleave(job);
    }
    if (shape->pitch < 64) {
        /* The stores of the last columns went beyond them: into padding, or into the next plane,
           whose own columns come later. */
        const int8_t *const end = plane + shape->plane_columns * shape->pitch;
        int8_t *const behind = job->to + job->columns * shape->pitch;
        const int32_t bytes = (int32_t)(end - behind) + shape->pad_left * shape->pitch;
        mve_fill(behind, shape->zero_point, bytes < 64 ? bytes : 64);
    }
}

static void mve_convolve_channels(const struct mve_depthwise *shape,
                                  void (*block)(const struct mve_channels_job *),
                                  struct mve_channels_job *job,
                                  void (*fast)(const struct mve_planes_job *),
                                  const int8_t *x, int8_t *y, int8_t *scratch)
{
    const int32_t plane_bytes = shape->plane_columns * shape->pitch;
    const int32_t room = shape->plane_columns - shape->pad_left;
    const int32_t *const stream = job->stream;
    int8_t *const buffer = scratch + 16; /* behind 16 zero points */
    struct mve_planes_job planes;
    int32_t first, start, i;
    if (((uintptr_t)x & 3u) != 0) {
        fast = mve_interleave;
    }
    planes.columns = shape->columns < room ? shape->columns : room;
    planes.vectors = shape->vectors;
    planes.pitch = shape->pitch;
    mve_fill(scratch, shape->zero_point, 16 + shape->planes_at_once * plane_bytes);
    for (first = 0; first < shape->channels; first += shape->lanes) {
        const int32_t left = shape->channels - first;
        planes.lanes = left < shape->lanes ? left : shape->lanes;
        job->stream = stream + first * shape->words;
        job->end = job->stream + planes.lanes * shape->words;
        for (start = 0; start < shape->planes; start += shape->planes_at_once) {
            const int32_t rest = shape->planes - start;
            const int32_t count = rest < shape->planes_at_once ? rest : shape->planes_at_once;
            const int odd = start + count == shape->planes && shape->last_row >= 0;
            for (i = 0; i < count; i++) {
                mve_take_plane(shape, &planes, fast, x + first, scratch,
                               (start + i) * shape->row_step, buffer + i * plane_bytes);
            }
            job->planes = count;
            job->plane = buffer;
            job->y = y + start * shape->row_step * shape->y_row + first;
            if (odd) {
                /* One more plane, whose first results are not new. */
                const int32_t at = count < shape->planes_at_once ? count : 0;
                if (at == 0) {
                    block(job);
                }
                mve_take_plane(shape, &planes, fast, x + first, scratch, shape->last_row,
                               buffer + at * plane_bytes);
                if (at != 0) {
                    block(job);
                }
                job->planes = 1;
                job->plane += at * plane_bytes;
                job->y = y + shape->last_row * shape->y_row + first;
            }
            block(job);
        }
    }
}""",
    (channels.JOB, planes.JOB, planes.interleave(), FILL),
)
