"""What a block is given: a job for its pixels, and a stream with its weights and constants."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.mve.scaling import Scaling

#: Pixels of a block.
PIXELS = 4

JOB = Function(
    "mve_job",
    """\
/* What a block of four pixels reads and writes. */
struct mve_job {
    int32_t zero_point;    /* of y */
    const int8_t *x[4];    /* the four pixels, or rows that hold them */
    int32_t y_channels;    /* 2: bytes from two channels to the next two */
    const int32_t *end;    /* of the stream */
    int8_t *y;             /* the first pixel's first channel */
    const int32_t *stream; /* for two channels: weights, then bias, multiplier, shift of each */
    int32_t quads;         /* how many times four pixels */
    int32_t x_step;        /* bytes from one four to the next */
    int32_t y_step;
    uint32_t y_lanes;      /* bytes from one pixel to the next in y, times 0x10001 */
};""",
)

RUN = Function(
    "mve_run",
    """\
/* A block over any number of pixels, four at least. What is left over is done by another block,
   or by the same, as the last four, which then overlap others. */
static void mve_run(void (*block)(const struct mve_job *), void (*rest)(const struct mve_job *),
                    struct mve_job *job, int32_t pixels)
{
    const int32_t left = pixels & 3;
    job->quads = pixels >> 2;
    block(job);
    if (left != 0) {
        const int32_t count = rest == block ? 4 : left;
        const int32_t done = pixels - count;
        struct mve_job last = *job;
        int32_t i;
        for (i = 0; i < count; i++) {
            last.x[i] += done * (job->x_step >> 2);
        }
        last.y += done * (job->y_step >> 2);
        last.quads = 1;
        rest(&last);
    }
}""",
    (JOB,),
)


def stream(weights: NDArray[np.int8], bias: NDArray[np.int64], scale: Scaling) -> NDArray[np.int32]:
    """The stream of a block.

    Args:
        weights: ``[channels, bytes]``, an even number of channels, in the order of use.
        bias: With the part of the input's zero point.
        scale: Rescale of these channels.
    """
    channels, size = weights.shape
    pairs = channels // 2
    parts = []
    for place in range(0, size, 16):
        vectors = weights[:, place : place + 16].reshape(pairs, 2, -1)
        if vectors.shape[2] == 8:  # as 16 bits, like the pixels that they meet
            vectors = np.ascontiguousarray(vectors.astype("<i2")).view(np.int8)
        parts.append(vectors.reshape(pairs, 32))
    packed = np.ascontiguousarray(np.concatenate(parts, axis=1)).view("<i4")
    tail = np.concatenate([bias.astype(np.int32)[:, None], scale.columns], axis=1)
    return np.concatenate([packed, tail.reshape(pairs, -1)], axis=1).astype(np.int32).reshape(-1)


def padded(size: int) -> int:
    """Bytes of a channel's weights in the stream of a block of pixels."""
    return size if size % 16 == 8 else -(-size // 16) * 16
