"""Convolutions of images with few channels, over windows that are taken out of a band."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Implementation
from intaglio.targets.c.kernels.mve.bands import BAND, SLACK, Band, taking
from intaglio.targets.c.kernels.mve.block import pixels_block
from intaglio.targets.c.kernels.mve.dense import job_of, parts_of
from intaglio.targets.c.kernels.mve.job import PIXELS, RUN
from intaglio.targets.c.kernels.mve.scaling import Scaling
from intaglio.targets.c.network import Convolution


def _band_bytes(layer: Convolution, band: Band, rows: int) -> tuple[int, int]:
    """Bytes of the band and of the windows for some rows of results, each with what is touched."""
    height = (rows - 1) * layer.window.strides[0] + band.rows
    pixels = max(rows * layer.window.result[1], PIXELS)
    band_bytes = -(-(height * band.pitch + SLACK) // 16) * 16
    return band_bytes, pixels * band.patch + SLACK


def band_rows(layer: Convolution, band: Band, budget: int) -> int:
    """How many rows of results to take at once; 0 where the budget is too small for any."""
    rows, columns, _ = layer.window.result
    least = -(-PIXELS // columns)
    fitting = [n for n in range(least, rows + 1) if sum(_band_bytes(layer, band, n)) <= budget]
    # Batches of one size: as many as the largest possible needs.
    if not fitting:
        return 0
    batches = -(-rows // fitting[-1])
    return max(least, -(-rows // batches))


def over_band(layer: Convolution, scale: Scaling, band: Band, at_once: int) -> Implementation:
    """Code of a convolution that takes some rows of results at once."""
    window = layer.window
    rows, columns, channels = window.result
    function = pixels_block(band.patch, scale)
    take = taking(band)
    weights = layer.weights.reshape(channels, -1)
    arrays, parts = parts_of(layer, scale, weights, band.patch)
    band_bytes, patch_bytes = _band_bytes(layer, band, at_once)
    image_row = window.image[1] * window.image[2]
    zero_point = layer.inputs[0].zero_point
    shape = [window.image[0], image_row, window.pads[1] * window.image[2], band.pitch, zero_point]
    height = (at_once - 1) * window.strides[0] + band.rows
    lines = [
        f"static const struct mve_band shape = {{{', '.join(map(str, shape))}}};",
        "int8_t *band = (int8_t *)scratch;",
        f"int8_t *patches = band + {band_bytes};",
        job_of(layer, scale, PIXELS * band.patch),
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
        lines += [f"    job.x[{i}] = patches + {i * band.patch};" for i in range(PIXELS)]
        more = f" + {first}" if first else ""
        lines.append(f"    job.y = y + first * {columns * channels}{more};")
        lines.append(f"    mve_run({function.name}, {function.name}, &job, {at_once * columns});")
    return Implementation(
        "\n".join([*lines, "}"]),
        (function, RUN, BAND, take),
        tuple(arrays),
        scratch=band_bytes + patch_bytes,
    )
