"""Convolutions over a ring of padded rows: as many as a window has."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function, Implementation
from intaglio.targets.c.kernels.mve.block import rows_block
from intaglio.targets.c.kernels.mve.copying import COPY, FILL
from intaglio.targets.c.kernels.mve.dense import for_each, job_of, parts_of
from intaglio.targets.c.kernels.mve.job import JOB, PIXELS, RUN
from intaglio.targets.c.kernels.mve.rows import Rows
from intaglio.targets.c.kernels.mve.scaling import Scaling
from intaglio.targets.c.network import Convolution

RING = Function(
    "mve_ring",
    """\
/* A convolution over a ring of padded rows. */
struct mve_ring {
    int32_t rows, row_bytes; /* of the image */
    int32_t out_rows, out_columns, channels;
    int32_t kernel_rows, stride, pad_top;
    int32_t pad_bytes, pitch; /* in front of a row; of a whole padded row */
    int32_t zero_point;       /* of x */
};

static void mve_convolve_rows(const struct mve_ring *shape, void (*block)(const struct mve_job *),
                              struct mve_job *job, const int8_t *x, int8_t *ring)
{
    int32_t row, i, slot = 0, next = -shape->pad_top;
    mve_fill(ring, shape->zero_point, shape->kernel_rows * shape->pitch);
    for (row = 0; row < shape->out_rows; row++) {
        const int32_t end = row * shape->stride - shape->pad_top + shape->kernel_rows;
        for (; next < end; next++) {
            int8_t *to = ring + slot * shape->pitch + shape->pad_bytes;
            if (next < 0 || next >= shape->rows) {
                mve_fill(to, shape->zero_point, shape->row_bytes);
            } else {
                mve_copy(to, x + next * shape->row_bytes, shape->row_bytes);
            }
            slot = slot + 1 == shape->kernel_rows ? 0 : slot + 1;
        }
        for (i = 0; i < shape->kernel_rows; i++) {
            const int32_t place = slot + i;
            const int32_t wrapped = place - (place >= shape->kernel_rows ? shape->kernel_rows : 0);
            job->x[i] = ring + wrapped * shape->pitch;
        }
        mve_run(block, block, job, shape->out_columns);
        job->y += shape->out_columns * shape->channels;
    }
}""",
    (JOB, RUN, COPY, FILL),
)


def ring_rows(layer: Convolution) -> Rows | None:
    """The windows of a convolution in a ring; None where a block has no form for them."""
    window = layer.window
    stride = window.strides[1]
    if window.dilations != (1, 1) or window.result[1] < PIXELS or window.kernel[1] > 5:
        return None
    found = Rows(window.kernel[0], window.kernel[1], window.image[2], stride)
    return found if found.fits else None


def _ring_pitch(layer: Convolution) -> int:
    window = layer.window
    columns = (window.result[1] - 1) * window.strides[1] + window.kernel[1]
    return max(columns, window.pads[1] + window.image[1]) * window.image[2]


def ring_bytes(layer: Convolution) -> int:
    """Bytes of the ring."""
    return layer.window.kernel[0] * _ring_pitch(layer)


def over_ring(layer: Convolution, scale: Scaling, geometry: Rows) -> Implementation:
    """Code of a convolution."""
    window = layer.window
    channels = window.image[2]
    function = rows_block(geometry, scale)
    # Output channels, slices of 16 input channels, rows, taps in the order of their use, 16.
    split = layer.weights.reshape(-1, *window.kernel, channels // 16, 16)
    ordered = split.transpose(0, 3, 1, 2, 4)[:, :, :, list(geometry.order)]
    weights = ordered.reshape(split.shape[0], -1)
    arrays, parts = parts_of(layer, scale, weights, weights.shape[1])
    shape = [
        *(window.image[0], window.image[1] * channels),
        *window.result,
        *(window.kernel[0], window.strides[0], window.pads[0]),
        *(window.pads[1] * channels, _ring_pitch(layer), layer.inputs[0].zero_point),
    ]
    lines = [
        f"static const struct mve_ring shape = {{{', '.join(map(str, shape))}}};",
        job_of(layer, scale, PIXELS * window.strides[1] * channels),
        *for_each(
            parts, [f"mve_convolve_rows(&shape, {function.name}, &job, x0, (int8_t *)scratch);"]
        ),
    ]
    return Implementation(
        "\n".join(lines), (function, RING), tuple(arrays), scratch=ring_bytes(layer)
    )
