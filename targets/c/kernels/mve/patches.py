"""Windows copied out of an image, each into bytes that lie side by side."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.mve.copying import COPY, FILL

#: Copies ``count`` windows, from the ``first``, in the order of the output's pixels.
PATCHES = Function(
    "mve_take_patches",
    """\
/* Windows of an image. */
struct mve_patches {
    int32_t rows, columns, channels;
    int32_t out_rows, out_columns;
    int32_t kernel_rows, kernel_columns;
    int32_t row_stride, column_stride;
    int32_t row_dilation, column_dilation;
    int32_t pad_top, pad_left;
    int32_t pitch;      /* bytes from one window to the next; the rest of a window is not used */
    int32_t zero_point; /* what lies beside the image */
};

/* A window that meets a border, or that is dilated. */
static void mve_take_patch(const struct mve_patches *shape, const int8_t *x, int32_t top,
                           int32_t left, int8_t *to)
{
    const int32_t channels = shape->channels;
    const int32_t run = shape->kernel_columns * channels;
    int32_t i, j;
    for (i = 0; i < shape->kernel_rows; i++) {
        const int32_t row = top + i * shape->row_dilation;
        if (row < 0 || row >= shape->rows) {
            mve_fill(to, shape->zero_point, run);
        } else if (shape->column_dilation == 1) {
            /* Columns of the window inside the image: first .. end - 1. */
            const int32_t last = shape->columns - left;
            int32_t first = left < 0 ? -left : 0;
            int32_t end = last < shape->kernel_columns ? last : shape->kernel_columns;
            if (first >= end) {
                first = 0;
                end = 0;
            }
            mve_fill(to, shape->zero_point, first * channels);
            if (end > 0) {
                const int8_t *from = x + (row * shape->columns + left + first) * channels;
                mve_copy(to + first * channels, from, (end - first) * channels);
            }
            mve_fill(to + end * channels, shape->zero_point, run - end * channels);
        } else {
            for (j = 0; j < shape->kernel_columns; j++) {
                const int32_t column = left + j * shape->column_dilation;
                if (column < 0 || column >= shape->columns) {
                    mve_fill(to + j * channels, shape->zero_point, channels);
                } else {
                    mve_copy(to + j * channels, x + (row * shape->columns + column) * channels,
                             channels);
                }
            }
        }
        to += run;
    }
}

static void mve_take_patches(const struct mve_patches *shape, const int8_t *x, int32_t first,
                             int32_t count, int8_t *to)
{
    const int32_t run = shape->kernel_columns * shape->channels;
    const int32_t pitch = shape->columns * shape->channels;
    const int dense = shape->row_dilation == 1 && shape->column_dilation == 1;
    const mve_pred16_t few = vctp8q((uint32_t)run);
    int32_t row = first / shape->out_columns;
    int32_t column = first - row * shape->out_columns;
    for (; count > 0; count--) {
        const int32_t top = row * shape->row_stride - shape->pad_top;
        const int32_t left = column * shape->column_stride - shape->pad_left;
        if (!dense || top < 0 || top + shape->kernel_rows > shape->rows || left < 0 ||
            left + shape->kernel_columns > shape->columns) {
            mve_take_patch(shape, x, top, left, to);
        } else {
            const int8_t *from = x + (top * shape->columns + left) * shape->channels;
            int8_t *place = to;
            int32_t i;
            if (run <= 16) {
                /* What a store writes too much is written again, or never used. */
                for (i = 0; i < shape->kernel_rows; i++) {
                    vstrbq_s8(place, vldrbq_z_s8(from, few));
                    from += pitch;
                    place += run;
                }
            } else {
                for (i = 0; i < shape->kernel_rows; i++) {
                    mve_copy(place, from, run);
                    from += pitch;
                    place += run;
                }
            }
        }
        to += shape->pitch;
        if (++column == shape->out_columns) {
            column = 0;
            row++;
        }
    }
}""",
    (COPY, FILL),
)
