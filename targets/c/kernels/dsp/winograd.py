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
from intaglio.targets.c.kernels.dsp.block import STEP, STEP_BYTES
from intaglio.targets.c.kernels.dsp.finish import HALF, Finish
from intaglio.targets.c.kernels.dsp.folding import Folded
from intaglio.targets.c.kernels.dsp.gather import WINDOW
from intaglio.targets.c.kernels.dsp.intrinsics import EVEN_ODD, LOAD
from intaglio.targets.c.kernels.dsp.naked import NAKED, quoted, unused
from intaglio.targets.c.kernels.dsp.packing import pack
from intaglio.targets.c.network import Convolution

#: Kernels are transformed for every block of tiles: fewer tiles do not repay it.
_FEWEST_TILES = 8
#: Steps of four channels that the points are unrolled to.
_MOST_STEPS = 16

_POINT_ARGUMENTS = "    const uint32_t *x, const uint32_t *w, int32_t *sums, int32_t steps"

_POINTS_ASSEMBLER = f"""\
.syntax unified
push {{r4-r11, lr}}
sub sp, sp, #12
add r4, r2, #256
str r4, [sp, #8]
mov r5, #{STEP_BYTES}
adr.w r6, 2f
mls r6, r3, r5, r6
add r6, r6, #1
strd r2, r6, [sp]
1:
mov r2, #0
mov r3, #0
mov r4, #0
mov r5, #0
ldr pc, [sp, #4]
{chr(10).join([STEP] * _MOST_STEPS)}
2:
ldrd r6, r7, [sp, #0]
ldr r8, [sp, #8]
stm r6!, {{r2-r5}}
str r6, [sp]
cmp r6, r8
bne 1b
add sp, sp, #12
pop {{r4-r11, pc}}""".replace("ldrd r6, r7, [sp, #0]", "ldr r6, [sp]")

_POINTS = Function(
    "dsp_winograd_points",
    f"""\
/*
 * Sums of two tiles and two channels at each of 16 points: tile 0 with channels 0 and 1, tile 1
 * with both. Steps (16 at most) are those of a dsp_block.
 */
#if DSP_ASSEMBLER
static DSP_NAKED void dsp_winograd_points(
{unused(_POINT_ARGUMENTS)})
{{
    __asm volatile(
{quoted(_POINTS_ASSEMBLER)});
}}
#else
static void dsp_winograd_points(
{_POINT_ARGUMENTS})
{{
    int32_t point, step;
    for (point = 0; point < 16; point++, sums += 4) {{
        int32_t a = 0, b = 0, c = 0, d = 0;
        for (step = 0; step < steps; step++, x += 4, w += 4) {{
            a = __smlad((int16x2_t)x[0], (int16x2_t)w[0], a);
            b = __smlad((int16x2_t)x[0], (int16x2_t)w[2], b);
            c = __smlad((int16x2_t)x[2], (int16x2_t)w[0], c);
            d = __smlad((int16x2_t)x[2], (int16x2_t)w[2], d);
            a = __smlad((int16x2_t)x[1], (int16x2_t)w[1], a);
            b = __smlad((int16x2_t)x[1], (int16x2_t)w[3], b);
            c = __smlad((int16x2_t)x[3], (int16x2_t)w[1], c);
            d = __smlad((int16x2_t)x[3], (int16x2_t)w[3], d);
        }}
        sums[0] = a;
        sums[1] = b;
        sums[2] = c;
        sums[3] = d;
    }}
}}
#endif""",
    (NAKED,),
)

_TRANSFORMS = Function(
    "dsp_winograd_transforms",
    """\
DSP_INLINE uint32_t dsp_add(uint32_t a, uint32_t b)
{
    return (uint32_t)__sadd16((int16x2_t)a, (int16x2_t)b);
}

DSP_INLINE uint32_t dsp_subtract(uint32_t a, uint32_t b)
{
    return (uint32_t)__ssub16((int16x2_t)a, (int16x2_t)b);
}

/* B' of four values; the next four are step words behind. */
DSP_INLINE void dsp_winograd_input(uint32_t *to, int32_t step, uint32_t a, uint32_t b, uint32_t c,
                                   uint32_t d)
{
    to[0] = dsp_subtract(a, c);
    to[step] = dsp_add(b, c);
    to[2 * step] = dsp_subtract(c, b);
    to[3 * step] = dsp_subtract(b, d);
}

/* 2G of three values. */
DSP_INLINE void dsp_winograd_kernel(uint32_t *to, int32_t step, uint32_t a, uint32_t b, uint32_t c)
{
    const uint32_t ends = dsp_add(a, c);
    to[0] = dsp_add(a, a);
    to[step] = dsp_add(ends, b);
    to[2 * step] = dsp_subtract(ends, b);
    to[3 * step] = dsp_add(c, c);
}

/* A tile: 4x4 pixels from at, line bytes from row to row; to every other two words. */
static void dsp_winograd_tile(uint32_t *to, const int8_t *at, int32_t line, int32_t channels)
{
    int32_t channel, i;
    for (channel = 0; channel < channels; channel += 4, to += 4, at += 4) {
        uint32_t even[16], odd[16];
        const int8_t *row = at;
        for (i = 0; i < 16; i += 4, row += line) {
            const uint32_t a = dsp_load(row), b = dsp_load(row + channels);
            const uint32_t c = dsp_load(row + 2 * channels), d = dsp_load(row + 3 * channels);
            dsp_winograd_input(even + i, 1, dsp_even(a), dsp_even(b), dsp_even(c), dsp_even(d));
            dsp_winograd_input(odd + i, 1, dsp_odd(a), dsp_odd(b), dsp_odd(c), dsp_odd(d));
        }
        for (i = 0; i < 4; i++) {
            uint32_t *const point = to + i * channels;
            dsp_winograd_input(point, 4 * channels, even[i], even[4 + i], even[8 + i],
                               even[12 + i]);
            dsp_winograd_input(point + 1, 4 * channels, odd[i], odd[4 + i], odd[8 + i],
                               odd[12 + i]);
        }
    }
}

/* The kernels of two output channels: nine taps of packed weights, each of all channels. */
static void dsp_winograd_weights(uint32_t *to, const int8_t *packed, int32_t channels)
{
    const int32_t tap = 2 * channels;
    int32_t word, i;
    for (word = 0; word < channels / 2; word++, to += 2, packed += 4) {
        uint32_t even[12], odd[12];
        const int8_t *row = packed;
        for (i = 0; i < 12; i += 4, row += 3 * tap) {
            const uint32_t a = dsp_load(row), b = dsp_load(row + tap);
            const uint32_t c = dsp_load(row + 2 * tap);
            dsp_winograd_kernel(even + i, 1, dsp_even(a), dsp_even(b), dsp_even(c));
            dsp_winograd_kernel(odd + i, 1, dsp_odd(a), dsp_odd(b), dsp_odd(c));
        }
        for (i = 0; i < 4; i++) {
            uint32_t *const point = to + i * channels;
            dsp_winograd_kernel(point, 4 * channels, even[i], even[4 + i], even[8 + i]);
            dsp_winograd_kernel(point + 1, 4 * channels, odd[i], odd[4 + i], odd[8 + i]);
        }
    }
}

/* A' from both sides: four times the outputs. Sums of one tile and channel lie 4 words apart. */
DSP_INLINE void dsp_winograd_output(const int32_t *sums, int32_t *four)
{
    int32_t upper = sums[0] + sums[16] + sums[32], lower = sums[16] - sums[32] - sums[48];
    four[0] = upper;
    four[2] = lower;
    upper = sums[4] + sums[20] + sums[36];
    lower = sums[20] - sums[36] - sums[52];
    four[0] += upper;
    four[1] = upper;
    four[2] += lower;
    four[3] = lower;
    upper = sums[8] + sums[24] + sums[40];
    lower = sums[24] - sums[40] - sums[56];
    four[0] += upper;
    four[1] -= upper;
    four[2] += lower;
    four[3] -= lower;
    four[1] -= sums[12] + sums[28] + sums[44];
    four[3] -= sums[28] - sums[44] - sums[60];
}""",
    (EVEN_ODD, LOAD),
)


def _full(end: Finish) -> Function:
    """The outputs of a whole tile, in assembler."""
    arguments = "    const int32_t *sums, int8_t *y, const int32_t *constants, int32_t right,\n"
    arguments += "    int32_t below, int32_t low, int32_t high"
    lines = []
    # Of each column of sums: two rows of A', added to the outputs in r4 to r7.
    upper, lower = ("r4", "r5", "r11", "r11"), ("r6", "r7", "r8", "r8")
    for column, (one, other) in enumerate(zip(upper, lower, strict=True)):
        for place, register in enumerate((one, "r8", "r9", "r10")):
            lines.append(f"ldr {register}, [r0, #{64 * place + 16 * column}]")
        lines += [f"add {one}, {one}, r8", f"add {one}, {one}, r9"]
        lines += [f"sub {other}, r8, r9", f"sub {other}, {other}, r10"]
        lines += _COMBINED[column]
    lines.append("ldm r2!, {r8-r11}")
    places = 3 - end.factor
    lines += [f"add r{k}, r8, r{k}, asr #{places}" for k in range(4, 8)]
    if end.clamps:
        lines += ["ldr r8, [sp, #44]", "ldr lr, [sp, #48]"]
    stores = ("[r1]", "[r1, r3]", "[r4]", "[r4, r3]")
    for place, store in enumerate(stores):
        constants, limits = ("r9", "r10", "r11"), ("r8", "lr")
        lines += end.assembler(f"r{4 + place}", constants, "r12", limits, is_scaled=True)
        lines.append(f"strb r12, {store}")
        if not place:
            lines += ["ldr r4, [sp, #40]", "add r4, r4, r1"]
    body = "\n".join(lines)
    code = f"""\
.syntax unified
push {{r4-r11, lr}}
sub sp, sp, #4
add r4, r2, #32
str r4, [sp]
1:
{body}
add r0, r0, #4
add r1, r1, #1
ldr r12, [sp]
cmp r2, r12
bne 1b
add sp, sp, #4
pop {{r4-r11, pc}}"""
    name = f"dsp_winograd_full_{end.name}"
    return Function(
        name,
        f"""\
#if DSP_ASSEMBLER
/* The outputs of a whole tile and two channels: 73 instructions for four. */
static DSP_NAKED void {name}(
{unused(arguments)})
{{
    __asm volatile(
{quoted(code)});
}}
#endif""",
        (NAKED,),
    )


#: What each column of sums adds to the outputs.
_COMBINED = (
    [],
    ["add r4, r4, r5", "add r6, r6, r7"],
    ["add r4, r4, r11", "sub r5, r5, r11", "add r6, r6, r8", "sub r7, r7, r8"],
    ["sub r5, r5, r11", "sub r7, r7, r8"],
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
    return Function(name, text, (HALF, _FETCH, _POINTS, _full(end), end.function()))


_FETCH = Function(
    "dsp_winograd_fetch",
    """\
typedef struct {
    const int8_t *weights; /* of two channels four and four values in turn; channels in pairs */
    const int32_t *bias, *multiplier;
    const int8_t *shift;
    int32_t rows, columns, channels; /* of the result */
    int32_t block;                   /* tiles at once */
    int32_t in_place;                /* y may be x: blocks are whole rows of tiles */
    int32_t zero_point, low, high;
} dsp_winograd;

/* The tile whose first pixel is at this row and column, which may be outside the image. The row
   kept_row of the image is in kept: it may have been written over. */
static void dsp_winograd_fetch(uint32_t *to, const int8_t *x, const dsp_window *g, int32_t row,
                               int32_t column, int8_t *padded, const int8_t *kept,
                               int32_t kept_row)
{
    const int32_t channels = g->channels, line = g->columns * channels;
    if (row >= 0 && row + 4 <= g->rows && row != kept_row && column >= 0
        && column + 4 <= g->columns) {
        dsp_winograd_tile(to, x + row * line + column * channels, line, channels);
    } else {
        int8_t *pixel = padded;
        int32_t i;
        for (i = 0; i < 16; i++, pixel += channels) {
            const int32_t from = row + (i >> 2), at = column + (i & 3);
            if (from >= 0 && from < g->rows && at >= 0 && at < g->columns) {
                const int8_t *const source = from == kept_row ? kept : x + from * line;
                memcpy(pixel, source + at * channels, (uint32_t)channels);
            } else {
                memset(pixel, g->fill, (uint32_t)channels);
            }
        }
        dsp_winograd_tile(to, padded, 4 * channels, channels);
    }
}""",
    (WINDOW, _TRANSFORMS),
)


def implement(layer: Convolution, folded: Folded, budget: int) -> Implementation | None:
    """Code of a 3x3 convolution, or None where it is not faster than the plain kernel."""
    window, outputs = layer.window, layer.weights.shape[0]
    channels = window.image[2]
    rows, columns = window.result[:2]
    if rows < 4 or columns < 4:
        return None
    if window.kernel != (3, 3) or window.strides != (1, 1) or window.dilations != (1, 1):
        return None
    if channels % 4 or not 12 <= channels <= 4 * _MOST_STEPS or outputs < 8:
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
