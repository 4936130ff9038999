"""Convolution 3x3 with stride 1 by Winograd's F(2x2, 3x3), exact in integers.

Four outputs of a 2x2 tile take 16 multiplications a channel instead of 36. With the 4x4 tile d of
the input and the kernel g (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks"):

    4 Y = A' [ (B' d B) * ((2G) g (2G)') ] A

    B' = 1  0 -1  0    2G = 2  0  0    A' = 1  1  1  0
         0  1  1  0         1  1  1         0  1 -1 -1
         0 -1  1  0         1 -1  1
         0  1  0 -1         0  0  2

Twice G on both sides keeps the numbers whole: below 2^11 for weights and below 2^10 for int8
values, so that both fit int16 and sums of 64 channels, nine of them together, fit int32. The sum of
products over the channels is that of :mod:`block`, for each of the 16 points.
"""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Array, Function, Implementation
from intaglio.targets.c.kernels.dsp.finish import HALF, Finish
from intaglio.targets.c.kernels.dsp.folding import Folded
from intaglio.targets.c.kernels.dsp.packing import pack
from intaglio.targets.c.kernels.dsp.winograd_outputs import whole_tile
from intaglio.targets.c.kernels.dsp.winograd_points import MOST_STEPS, POINTS
from intaglio.targets.c.kernels.dsp.winograd_transforms import FETCH
from intaglio.targets.c.network import Convolution

#: Kernels are transformed for every block of tiles: fewer tiles do not repay it.
_FEWEST_TILES = 8


def implement(layer: Convolution, folded: Folded, budget: int) -> Implementation | None:
    """Code of a 3x3 convolution, or None where it is not faster than the plain kernel."""
    window, outputs = layer.window, layer.weights.shape[0]
    channels = window.image[2]
    rows, columns = window.result[:2]
    if rows < 4 or columns < 4:
        return None
    if window.kernel != (3, 3) or window.strides != (1, 1) or window.dilations != (1, 1):
        return None
    if channels % 4 or not 12 <= channels <= 4 * MOST_STEPS or outputs < 8:
        return None
    found = _blocks(layer, budget)
    if found is None:
        return None
    block_, scratch, in_place = found
    end = folded.end
    function = _function(end)
    geometry = (
        *window.image, columns, *window.kernel, *window.strides, *window.dilations, *window.pads,
        layer.inputs[0].zero_point, 9 * channels,
    )  # fmt: skip
    numbers = (rows, columns, outputs, block_, int(in_place), end.zero_point, end.low, end.high)
    call = f"""\
static const dsp_window window = {{
    {", ".join(map(str, geometry))}
}};
static const dsp_winograd filter = {{
    @weights@, @bias@, @multiplier@, @shift@,
    {", ".join(map(str, numbers))}
}};
{function.name}(x0, y, scratch, &window, &filter);"""
    return Implementation(
        call=call,
        functions=(function,),
        arrays=(
            Array("weights", pack(folded.weights, list(range(9 * channels)))),
            Array("bias", folded.bias),
            Array("multiplier", end.multiplier),
            Array("shift", end.shift),
        ),
        scratch=scratch,
        in_place=(0,) if in_place else (),
    )


def _function(end: Finish) -> Function:
    name = f"dsp_winograd_{end.name}"
    result = end.call("acc", "constants[1]", "constants[2]", "constants[3]")
    first, second, third, fourth = (
        result.replace("acc", f"bias + (four[{place}] >> 2)") for place in range(4)
    )
    clamp = ",\n                                          int32_t low, int32_t high"
    limits = ", f->low, f->high" if end.clamps else ""
    passed = "low, high" if end.clamps else "0, 0"
    text = f"""\
/* The outputs of a tile and two channels; right and below: bytes to these, 0 if there are none. */
static void dsp_winograd_write_{end.name}(const int32_t *sums, int8_t *y, const int32_t *constants,
                                          int32_t right, int32_t below{clamp if end.clamps else ""})
{{
    int32_t channel;
#if DSP_ASSEMBLER
    if (right != 0 && below != 0) {{
        dsp_winograd_full_{end.name}(sums, y, constants, right, below, {passed});
        return;
    }}
#endif
    for (channel = 0; channel < 2; channel++, sums++, y++, constants += 4) {{
        const int32_t bias = constants[0] / {end.factor};
        int32_t four[4];
        dsp_winograd_output(sums, four);
        y[0] = {first};
        if (right != 0) {{
            y[right] = {second};
        }}
        if (below != 0) {{
            y[below] = {third};
        }}
        if (right != 0 && below != 0) {{
            y[below + right] = {fourth};
        }}
    }}
}}

/* Scratch holds tiles, the kernels of two channels, their sums, a tile with padding, and a row. */
static void {name}(const int8_t *x, int8_t *y, uint8_t *scratch, const dsp_window *g,
                   const dsp_winograd *f)
{{
    const int32_t channels = g->channels;
    const int32_t across = (f->columns + 1) / 2, tiles = across * ((f->rows + 1) / 2);
    const int32_t right = f->channels, below = f->columns * f->channels;
    uint32_t *const input = (uint32_t *)(void *)scratch;
    uint32_t *const kernels = input + (f->block + 1) / 2 * channels * 16;
    int32_t *const sums = (int32_t *)(kernels + channels * 16);
    int8_t *const padded = (int8_t *)(void *)(sums + 64);
    int8_t *const kept = padded + 16 * channels;
    int32_t first, kept_row = -1;
    for (first = 0; first < tiles; first += f->block) {{
        const int32_t count = tiles - first < f->block ? tiles - first : f->block;
        const int32_t top = first / across * 2, start = first % across * 2;
        const int8_t *packed = f->weights;
        int32_t row = top, column = start, i, channel;
        for (i = 0; i < count; i++) {{
            uint32_t *const to = input + (i >> 1) * channels * 16 + 2 * (i & 1);
            dsp_winograd_fetch(to, x, g, row - g->pad_top, column - g->pad_left, padded, kept,
                               kept_row);
            column += 2;
            if (column >= f->columns) {{
                column = 0;
                row += 2;
            }}
        }}
        if (f->in_place && row < f->rows) {{
            /* The next block begins one row before its results. */
            kept_row = row - 1;
            memcpy(kept, x + kept_row * g->columns * channels, (uint32_t)(g->columns * channels));
        }}
        for (channel = 0; channel < f->channels; channel += 2, packed += 18 * channels) {{
            /* An odd last channel is computed with the one before it, once more. */
            const int32_t c = channel < f->channels - 1 ? channel : channel - 1;
            int8_t *const to = y + c;
            int32_t constants[8];
            for (i = 0; i < 2; i++) {{
                constants[4 * i] = {end.factor} * f->bias[c + i];
                constants[4 * i + 1] = f->multiplier[c + i];
                constants[4 * i + 2] = dsp_half(f->zero_point, f->shift[c + i]);
                constants[4 * i + 3] = f->shift[c + i];
            }}
            dsp_winograd_weights(kernels, packed, channels);
            row = top;
            column = start;
            for (i = 0; i < count; i++) {{
                if ((i & 1) == 0) {{
                    dsp_winograd_points(input + i * channels * 8, kernels, sums, channels / 4);
                }}
                dsp_winograd_write_{end.name}(
                    sums + 2 * (i & 1), to + row * below + column * right, constants,
                    column + 1 < f->columns ? right : 0, row + 1 < f->rows ? below : 0{limits});
                column += 2;
                if (column >= f->columns) {{
                    column = 0;
                    row += 2;
                }}
            }}
        }}
    }}
}}"""
    return Function(name, text, (HALF, FETCH, POINTS, whole_tile(end), end.function()))


def _blocks(layer: Convolution, budget: int) -> tuple[int, int, bool] | None:
    """Tiles at once, bytes of scratch memory, and whether the result may replace the input.

    In place, a block is whole rows of tiles, and the row before the next block is kept. Where that
    takes no more memory than the result, it is the answer to a budget of 0 too: whoever shares the
    memory then has at least so much to spend. Otherwise the way of fewer blocks is taken.
    """
    window = layer.window
    channels = window.image[2]
    down, across = -(-window.result[0] // 2), -(-window.result[1] // 2)
    fixed = 64 * channels + 256 + 16 * channels
    kept = fixed + window.image[1] * channels
    enough = min(_FEWEST_TILES, down * across)
    least = -(-enough // across)
    may_replace = (
        window.pads == (1, 1)
        and window.image[:2] == window.result[:2]
        and window.result[2] <= channels
    )
    pays = may_replace and kept + _tile_bytes(least * across, channels) <= layer.output.bytes
    if pays and not budget:
        budget = kept + _tile_bytes(least * across, channels)
    rows = max(
        (n for n in range(down + 1) if kept + _tile_bytes(n * across, channels) <= budget),
        default=0,
    )
    fitting = min((budget - fixed) // (64 * channels) * 2, down * across + 1)
    if may_replace and rows >= least and (pays or rows * across >= fitting - 1):
        rows = -(-down // -(-down // rows))
        return rows * across, kept + _tile_bytes(rows * across, channels), True
    if fitting < enough:
        return None
    blocks = -(-down * across // fitting)
    tiles = -(-down * across // (2 * blocks)) * 2
    return tiles, fixed + _tile_bytes(tiles, channels), False


def _tile_bytes(tiles: int, channels: int) -> int:
    return -(-tiles // 2) * 64 * channels
