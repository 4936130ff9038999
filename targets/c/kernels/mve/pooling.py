"""Largest values and averages of windows of int8 tensors, 8 or 16 channels at a time."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function, Implementation
from intaglio.targets.c.network import Pool

#: Elements of a window whose sum fits 16 bits, together with half their number.
_MOST_ELEMENTS = 255

WINDOWS = Function(
    "mve_windows",
    """\
/* Windows over an image, without dilation. */
struct mve_windows {
    int32_t rows, columns, channels;
    int32_t out_rows, out_columns;
    int32_t kernel_rows, kernel_columns;
    int32_t row_stride, column_stride;
    int32_t pad_top, pad_left;
};

/* The part of a window that lies inside the image. */
struct mve_inside {
    int32_t top, left, rows, columns;
};

static struct mve_inside mve_window_inside(const struct mve_windows *shape, int32_t row,
                                           int32_t column)
{
    const int32_t top = row * shape->row_stride - shape->pad_top;
    const int32_t left = column * shape->column_stride - shape->pad_left;
    const int32_t bottom = top + shape->kernel_rows;
    const int32_t right = left + shape->kernel_columns;
    struct mve_inside found;
    found.top = top < 0 ? 0 : top;
    found.left = left < 0 ? 0 : left;
    found.rows = (bottom > shape->rows ? shape->rows : bottom) - found.top;
    found.columns = (right > shape->columns ? shape->columns : right) - found.left;
    return found;
}""",
)

AVERAGE = Function(
    "mve_average_pool",
    """\
/* Averages of the elements inside the image, 255 at most; ties away from zero. The quotient of
   sum and count is the upper half of sum * (2^32 / count + 1), exact since sum * count < 2^32. */
static void mve_average_pool(const struct mve_windows *shape, const int8_t *x, int8_t *y)
{
    const int32_t pitch = shape->columns * shape->channels;
    int32_t row, column, first, i, j;
    for (row = 0; row < shape->out_rows; row++) {
        for (column = 0; column < shape->out_columns; column++) {
            const struct mve_inside part = mve_window_inside(shape, row, column);
            const int32_t count = part.rows * part.columns;
            const uint32x4_t inverse = vdupq_n_u32(UINT32_MAX / (uint32_t)count + 1u);
            const int8_t *corner = x + part.top * pitch + part.left * shape->channels;
            for (first = 0; first < shape->channels; first += 8) {
                const mve_pred16_t some = vctp16q((uint32_t)(shape->channels - first));
                int16x8_t sum = vdupq_n_s16(0);
                uint16x8_t size;
                for (i = 0; i < part.rows; i++) {
                    const int8_t *from = corner + i * pitch + first;
                    for (j = 0; j < part.columns; j++) {
                        sum = vaddq_s16(sum, vldrbq_z_s16(from, some));
                        from += shape->channels;
                    }
                }
                size = vreinterpretq_u16_s16(vabsq_s16(sum));
                if (count > 1) {
                    size = vaddq_n_u16(size, (uint16_t)(count / 2));
                    size = vmovnbq_u32(size, vmulhq_u32(vmovlbq_u16(size), inverse));
                    size = vmovntq_u32(size, vmulhq_u32(vmovltq_u16(size), inverse));
                }
                sum = vnegq_m_s16(vreinterpretq_s16_u16(size), vreinterpretq_s16_u16(size),
                                  vcmpltq_n_s16(sum, 0));
                vstrbq_p_s16(y + first, sum, some);
            }
            y += shape->channels;
        }
    }
}""",
    (WINDOWS,),
)

LARGEST = Function(
    "mve_max_pool",
    """\
static void mve_max_pool(const struct mve_windows *shape, const int8_t *x, int8_t *y)
{
    const int32_t pitch = shape->columns * shape->channels;
    int32_t row, column, first, i, j;
    for (row = 0; row < shape->out_rows; row++) {
        for (column = 0; column < shape->out_columns; column++) {
            const struct mve_inside part = mve_window_inside(shape, row, column);
            const int8_t *corner = x + part.top * pitch + part.left * shape->channels;
            for (first = 0; first < shape->channels; first += 16) {
                const mve_pred16_t some = vctp8q((uint32_t)(shape->channels - first));
                int8x16_t largest = vdupq_n_s8(-128);
                for (i = 0; i < part.rows; i++) {
                    const int8_t *from = corner + i * pitch + first;
                    for (j = 0; j < part.columns; j++) {
                        largest = vmaxq_s8(largest, vldrbq_z_s8(from, some));
                        from += shape->channels;
                    }
                }
                vstrbq_p_s8(y + first, largest, some);
            }
            y += shape->channels;
        }
    }
}""",
    (WINDOWS,),
)


def implement(layer: Pool, variant: str, budget: int) -> Implementation | None:
    """Code of a pooling layer; None for other types, dilations and large averages."""
    del variant, budget
    window = layer.window
    if layer.inputs[0].dtype != "int8" or window.dilations != (1, 1):
        return None
    if layer.average and window.kernel[0] * window.kernel[1] > _MOST_ELEMENTS:
        return None
    shape = [
        *window.image,
        *window.result[:2],
        *window.kernel,
        *window.strides,
        *window.pads,
    ]
    function = AVERAGE if layer.average else LARGEST
    call = (
        f"static const struct mve_windows shape = {{{', '.join(map(str, shape))}}};\n"
        f"{function.name}(&shape, x0, y);"
    )
    return Implementation(call, (function,))
