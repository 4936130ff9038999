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

from intaglio.targets.c.kernels.base import Implementation
from intaglio.targets.c.kernels.mve.banded import band_rows, over_band
from intaglio.targets.c.kernels.mve.bands import SLACK, band_of
from intaglio.targets.c.kernels.mve.block import pixels_block
from intaglio.targets.c.kernels.mve.dense import (
    for_each,
    is_dense_int8,
    job_of,
    parts_of,
    window_bytes,
)
from intaglio.targets.c.kernels.mve.job import PIXELS, RUN, padded
from intaglio.targets.c.kernels.mve.patches import PATCHES
from intaglio.targets.c.kernels.mve.ring import over_ring, ring_bytes, ring_rows
from intaglio.targets.c.kernels.mve.scaling import Scaling, scaling
from intaglio.targets.c.network import Convolution

#: Elements of a pixel in y that the scattering store can reach.
_MOST_CHANNELS = 16383


def implement(layer: Convolution, variant: str, budget: int) -> Implementation | None:
    """Code of a convolution; None for what :mod:`~.depthwise` or another variant does."""
    del variant
    window = layer.window
    _, columns, channels = window.result
    if not is_dense_int8(layer):
        return None
    if not 2 <= channels <= _MOST_CHANNELS:
        return None
    scale = scaling(layer.rescale, channels)
    if scale is None:
        return None
    plain = window.kernel == (1, 1) and window.pads == (0, 0)
    if plain and (window.strides == (1, 1) or columns >= PIXELS):
        return _direct(layer, scale)
    ring = ring_rows(layer)
    patch = -(-window_bytes(layer) // 16) * 16
    if ring is not None and ring_bytes(layer) <= budget:
        return over_ring(layer, scale, ring)
    band = band_of(window, patch)
    if band is not None:
        rows_at_once = band_rows(layer, band, budget)
        if rows_at_once:
            return over_band(layer, scale, band, rows_at_once)
    return _over_patches(layer, scale, patch, budget)


def _direct(layer: Convolution, scale: Scaling) -> Implementation:
    window = layer.window
    size = window.image[2]
    pitch = size * window.strides[1]
    function = pixels_block(size, scale)
    filled = padded(size)
    arrays, parts = parts_of(layer, scale, layer.weights.reshape(-1, size), filled)
    rows, columns, channels = window.result
    if window.strides == (1, 1):
        rows, columns = 1, rows * columns
    source = f"x0 + row * {window.strides[0] * window.image[1] * size}" if rows > 1 else "x0"
    points = [
        f"job.x[{i}] = {source} + {i * pitch};" if i else f"job.x[0] = {source};"
        for i in range(PIXELS)
    ]
    functions = [function, RUN]
    if columns < PIXELS:
        # Pointers to pixels that there are not are not formed.
        functions = [pixels_block(size, scale, columns)]
        work = [*points[:columns], "job.quads = 1;", f"{functions[0].name}(&job);"]
    else:
        rest = function
        if columns % PIXELS in (1, 2):
            rest = pixels_block(size, scale, columns % PIXELS)
            functions.append(rest)
        work = [*points, f"mve_run({function.name}, {rest.name}, &job, {columns});"]
    if rows > 1:
        work = [
            f"for (row = 0; row < {rows}; row++) {{",
            *(f"    {line}" for line in work),
            f"    job.y += {columns * channels};",
            "}",
        ]
    lines = [job_of(layer, scale, PIXELS * pitch)]
    if rows > 1:
        lines.append("int32_t row;")
    return Implementation(
        "\n".join([*lines, *for_each(parts, work)]), tuple(functions), tuple(arrays)
    )


def _over_patches(layer: Convolution, scale: Scaling, patch: int, budget: int) -> Implementation:
    window = layer.window
    weights = layer.weights.reshape(layer.weights.shape[0], -1)
    pixels = window.result[0] * window.result[1]
    slack = SLACK
    batch = max(0, min(pixels, (budget - slack) // patch)) // PIXELS * PIXELS
    least = PIXELS
    if batch == 0:
        # Less than four pixels at a time are slower, but better than another variant's kernel.
        patch = window_bytes(layer)
        slack = max(0, 16 - window.kernel[1] * window.image[2])
        batch = least = max(1, min(PIXELS - 1, pixels, (budget - slack) // patch))
    arrays, parts = parts_of(layer, scale, weights, padded(patch))
    function = pixels_block(patch, scale, least)
    run = f"mve_run({function.name}, {function.name}, &job, count);"
    if least < PIXELS:
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
        job_of(layer, scale, PIXELS * patch),
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
        (function, RUN, PATCHES) if least == PIXELS else (function, PATCHES),
        tuple(arrays),
        scratch=batch * patch + slack,
    )
