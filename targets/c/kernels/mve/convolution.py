"""Convolutions whose every channel reads every channel of the input.

==========  ======================================================================================
direct      1x1 kernels: the pixels are where they are
rows        the rows of the window are copied into a ring of padded rows, so that no window meets
            a border; three of four loads of pixels go away where windows overlap
bands       few input channels: windows are copied first, out of padded rows, fast
patches     windows are copied first, several at a time: anything else
==========  ======================================================================================

Padding is the zero point in memory; ``-zero_point * sum of weights`` is part of the bias.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.mve import block
from intaglio.targets.c.kernels.mve.bands import BAND, SLACK, Band, band_of, taking
from intaglio.targets.c.kernels.mve.copying import COPY, FILL
from intaglio.targets.c.kernels.mve.patches import PATCHES
from intaglio.targets.c.kernels.mve.scaling import Scaling, scaling
from intaglio.targets.c.network import Convolution

#: Elements of a pixel in y that the scattering store can reach.
_MOST_CHANNELS = 16383

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
    (block.JOB, block.RUN, COPY, FILL),
)


def implement(layer: Convolution, variant: str, budget: int) -> Implementation | None:
    """Code of a convolution; None for what :mod:`~.depthwise` or another variant does."""
    del variant
    window = layer.window
    _, columns, channels = window.result
    if not _is_dense_int8(layer):
        return None
    if not 2 <= channels <= _MOST_CHANNELS:
        return None
    scale = scaling(layer.rescale, channels)
    if scale is None:
        return None
    plain = window.kernel == (1, 1) and window.pads == (0, 0)
    if plain and (window.strides == (1, 1) or columns >= block.PIXELS):
        return _direct(layer, scale)
    ring = _ring_rows(layer)
    patch = -(-_window_bytes(layer) // 16) * 16
    if ring is not None and _ring_bytes(layer) <= budget:
        return _over_ring(layer, scale, ring)
    band = band_of(window, patch)
    if band is not None:
        rows_at_once = _band_rows(layer, band, budget)
        if rows_at_once:
            return _over_band(layer, scale, band, rows_at_once)
    return _over_patches(layer, scale, patch, budget)


def folded_bias(layer: Convolution) -> NDArray[np.int64]:
    """The bias with the part of the input's zero point in it."""
    sums = layer.weights.astype(np.int64).reshape(layer.weights.shape[0], -1).sum(axis=1)
    return np.asarray(layer.bias.astype(np.int64) - layer.inputs[0].zero_point * sums)


def _is_dense_int8(layer: Convolution) -> bool:
    return (
        layer.groups == 1
        and not layer.wide
        and layer.weight_zero_point == 0
        and layer.inputs[0].dtype == "int8"
        and layer.output.dtype == "int8"
    )


def _window_bytes(layer: Convolution) -> int:
    return int(layer.weights[0].size)


def _parts(
    layer: Convolution, scale: Scaling, weights: NDArray[np.int8], size: int
) -> tuple[list[Array], list[tuple[str, int, int]]]:
    """Streams: pairs of channels, and the last two once more where their number is odd.

    Returns:
        Arrays, and of each its name, first channel and length in words.
    """
    count = weights.shape[0]
    filled = np.zeros((count, size), np.int8)
    filled[:, : weights.shape[1]] = weights
    bias = folded_bias(layer)
    arrays, parts = [], []
    for name, first, end in (("stream", 0, count // 2 * 2), ("last", count - 2, count)):
        if name == "last" and count % 2 == 0:
            break
        chosen = Scaling(
            scale.form, scale.columns[first:end], scale.zero_point, scale.minimum, scale.maximum
        )
        data = block.stream(filled[first:end], bias[first:end], chosen)
        arrays.append(Array(name, data))
        parts.append((name, first, data.size))
    return arrays, parts


def _job(layer: Convolution, scale: Scaling, x_step: int) -> str:
    channels = layer.window.result[2]
    return (
        f"struct mve_job job = {{{scale.zero_point}, {{x0, x0, x0, x0}}, @stream@, y, @stream@,\n"
        f"                      0, {x_step}, {4 * channels}, {channels}u * 0x10001u}};"
    )


def _each(parts: list[tuple[str, int, int]], lines: list[str]) -> list[str]:
    """``lines`` for every stream."""
    found = []
    for name, first, size in parts:
        found.append(f"job.stream = @{name}@;")
        found.append(f"job.end = @{name}@ + {size};")
        found.append(f"job.y = y + {first};" if first else "job.y = y;")
        found += lines
    return found


def _direct(layer: Convolution, scale: Scaling) -> Implementation:
    window = layer.window
    size = window.image[2]
    pitch = size * window.strides[1]
    function = block.pixels_block(size, scale)
    filled = block.padded(size)
    arrays, parts = _parts(layer, scale, layer.weights.reshape(-1, size), filled)
    rows, columns, channels = window.result
    if window.strides == (1, 1):
        rows, columns = 1, rows * columns
    source = f"x0 + row * {window.strides[0] * window.image[1] * size}" if rows > 1 else "x0"
    points = [
        f"job.x[{i}] = {source} + {i * pitch};" if i else f"job.x[0] = {source};"
        for i in range(block.PIXELS)
    ]
    functions = [function, block.RUN]
    if columns < block.PIXELS:
        # Pointers to pixels that there are not are not formed.
        functions = [block.pixels_block(size, scale, columns)]
        work = [*points[:columns], "job.quads = 1;", f"{functions[0].name}(&job);"]
    else:
        rest = function
        if columns % block.PIXELS in (1, 2):
            rest = block.pixels_block(size, scale, columns % block.PIXELS)
            functions.append(rest)
        work = [*points, f"mve_run({function.name}, {rest.name}, &job, {columns});"]
    if rows > 1:
        work = [
            f"for (row = 0; row < {rows}; row++) {{",
            *(f"    {line}" for line in work),
            f"    job.y += {columns * channels};",
            "}",
        ]
    lines = [_job(layer, scale, block.PIXELS * pitch)]
    if rows > 1:
        lines.append("int32_t row;")
    return Implementation("\n".join([*lines, *_each(parts, work)]), tuple(functions), tuple(arrays))


def _ring_rows(layer: Convolution) -> block.Rows | None:
    window = layer.window
    stride = window.strides[1]
    if window.dilations != (1, 1) or window.result[1] < block.PIXELS or window.kernel[1] > 5:
        return None
    found = block.Rows(window.kernel[0], window.kernel[1], window.image[2], stride)
    return found if found.fits else None


def _ring_pitch(layer: Convolution) -> int:
    window = layer.window
    columns = (window.result[1] - 1) * window.strides[1] + window.kernel[1]
    return max(columns, window.pads[1] + window.image[1]) * window.image[2]


def _ring_bytes(layer: Convolution) -> int:
    return layer.window.kernel[0] * _ring_pitch(layer)


def _over_ring(layer: Convolution, scale: Scaling, geometry: block.Rows) -> Implementation:
    window = layer.window
    channels = window.image[2]
    function = block.rows_block(geometry, scale)
    # Output channels, slices of 16 input channels, rows, taps in the order of their use, 16.
    split = layer.weights.reshape(-1, *window.kernel, channels // 16, 16)
    ordered = split.transpose(0, 3, 1, 2, 4)[:, :, :, list(geometry.order)]
    weights = ordered.reshape(split.shape[0], -1)
    arrays, parts = _parts(layer, scale, weights, weights.shape[1])
    shape = [
        *(window.image[0], window.image[1] * channels),
        *window.result,
        *(window.kernel[0], window.strides[0], window.pads[0]),
        *(window.pads[1] * channels, _ring_pitch(layer), layer.inputs[0].zero_point),
    ]
    lines = [
        f"static const struct mve_ring shape = {{{', '.join(map(str, shape))}}};",
        _job(layer, scale, block.PIXELS * window.strides[1] * channels),
        *_each(
            parts, [f"mve_convolve_rows(&shape, {function.name}, &job, x0, (int8_t *)scratch);"]
        ),
    ]
    return Implementation(
        "\n".join(lines), (function, RING), tuple(arrays), scratch=_ring_bytes(layer)
    )


def _over_patches(layer: Convolution, scale: Scaling, patch: int, budget: int) -> Implementation:
    window = layer.window
    weights = layer.weights.reshape(layer.weights.shape[0], -1)
    arrays, parts = _parts(layer, scale, weights, patch)
    pixels = window.result[0] * window.result[1]
    batch = min(pixels, (budget - SLACK) // patch)
    # Less than four pixels at a time are slower, but better than another variant's kernel.
    least = min(block.PIXELS, max(1, batch))
    batch = max(least, batch // block.PIXELS * block.PIXELS)
    function = block.pixels_block(patch, scale, least)
    run = f"mve_run({function.name}, {function.name}, &job, count);"
    if least < block.PIXELS:
        run = f"job.quads = 1;\n    {function.name}(&job);"
    shape = [
        *window.image,
        *window.result[:2],
        *window.kernel,
        *window.strides,
        *window.dilations,
        *window.pads,
        *(patch, layer.inputs[0].zero_point),
    ]
    channels = window.result[2]
    lines = [
        f"static const struct mve_patches shape = {{{', '.join(map(str, shape))}}};",
        "int8_t *patches = (int8_t *)scratch;",
        _job(layer, scale, block.PIXELS * patch),
        "int32_t first;",
        f"for (first = 0; first < {pixels}; first += {batch}) {{",
        f"    const int32_t left = {pixels} - first;",
        f"    const int32_t count = left < {least} ? {least} : left < {batch} ? left : {batch};",
        f"    const int32_t start = left < {least} ? {pixels - least} : first;",
        "    mve_take_patches(&shape, x0, start, count, patches);",
    ]
    for name, first, size in parts:
        lines.append(f"    job.stream = @{name}@;")
        lines.append(f"    job.end = @{name}@ + {size};")
        lines += [f"    job.x[{i}] = patches + {i * patch};" for i in range(least)]
        lines.append(f"    job.y = y + start * {channels}{f' + {first}' if first else ''};")
        lines.append(f"    {run}")
    return Implementation(
        "\n".join([*lines, "}"]),
        (function, block.RUN, PATCHES) if least == block.PIXELS else (function, PATCHES),
        tuple(arrays),
        scratch=batch * patch + SLACK,
    )


def _band_bytes(layer: Convolution, band: Band, rows: int) -> tuple[int, int]:
    """Bytes of the band and of the windows for some rows of results, each with what is touched."""
    height = (rows - 1) * layer.window.strides[0] + band.rows
    pixels = max(rows * layer.window.result[1], block.PIXELS)
    band_bytes = -(-(height * band.pitch + SLACK) // 16) * 16
    return band_bytes, pixels * band.patch + SLACK


def _band_rows(layer: Convolution, band: Band, budget: int) -> int:
    """How many rows of results to take at once; 0 where the budget is too small for any."""
    rows, columns, _ = layer.window.result
    least = -(-block.PIXELS // columns)
    fitting = [n for n in range(least, rows + 1) if sum(_band_bytes(layer, band, n)) <= budget]
    # Batches of one size: as many as the largest possible needs.
    if not fitting:
        return 0
    batches = -(-rows // fitting[-1])
    return max(least, -(-rows // batches))


def _over_band(layer: Convolution, scale: Scaling, band: Band, at_once: int) -> Implementation:
    window = layer.window
    rows, columns, channels = window.result
    function = block.pixels_block(band.patch, scale)
    take = taking(band)
    weights = layer.weights.reshape(channels, -1)
    arrays, parts = _parts(layer, scale, weights, band.patch)
    band_bytes, patch_bytes = _band_bytes(layer, band, at_once)
    image_row = window.image[1] * window.image[2]
    zero_point = layer.inputs[0].zero_point
    shape = [window.image[0], image_row, window.pads[1] * window.image[2], band.pitch, zero_point]
    height = (at_once - 1) * window.strides[0] + band.rows
    lines = [
        f"static const struct mve_band shape = {{{', '.join(map(str, shape))}}};",
        "int8_t *band = (int8_t *)scratch;",
        f"int8_t *patches = band + {band_bytes};",
        _job(layer, scale, block.PIXELS * band.patch),
        "int32_t row, i;",
        f"for (row = 0; row < {rows}; row += {at_once}) {{",
        f"    const int32_t first = row < {rows - at_once} ? row : {rows - at_once};",
        f"    mve_take_band(&shape, x0, first * {window.strides[0]} - {window.pads[0]}, {height},"
        " band);",
        f"    for (i = 0; i < {at_once}; i++) {{",
        f"        {take.name}(patches + i * {columns * band.patch},",
        f"            band + i * {window.strides[0] * band.pitch}, {columns});",
        "    }",
    ]
    for name, first, size in parts:
        lines.append(f"    job.stream = @{name}@;")
        lines.append(f"    job.end = @{name}@ + {size};")
        lines += [f"    job.x[{i}] = patches + {i * band.patch};" for i in range(block.PIXELS)]
        more = f" + {first}" if first else ""
        lines.append(f"    job.y = y + first * {columns * channels}{more};")
        lines.append(f"    mve_run({function.name}, {function.name}, &job, {at_once * columns});")
    return Implementation(
        "\n".join([*lines, "}"]),
        (function, block.RUN, BAND, take),
        tuple(arrays),
        scratch=band_bytes + patch_bytes,
    )
