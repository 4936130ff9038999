"""Averages of windows and means over an image, int8: four channels in one word.

SXTAB16 adds two bytes of a word to two sums of 16 bits, which hold 255 of them.
"""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function, Implementation
from intaglio.targets.c.kernels.dsp.intrinsics import ASSEMBLER, LOAD
from intaglio.targets.c.kernels.portable.rescaling import rescaling
from intaglio.targets.c.literals import number
from intaglio.targets.c.network import Pool, Reduction
from intaglio.transforms.fixed_point import Rounding

_MOST_ELEMENTS = 255

_SUMS = Function(
    "dsp_sums",
    """\
/* Adds bytes 1 and 3 of a word to two sums. */
DSP_INLINE uint32_t dsp_add_odd(uint32_t sums, uint32_t bytes)
{
#if DSP_ASSEMBLER
    __asm("sxtab16 %0, %0, %1, ror #8" : "+r"(sums) : "r"(bytes));
    return sums;
#else
    return (uint32_t)__sxtab16((int16x2_t)sums, (int8x4_t)(bytes >> 8 | bytes << 24));
#endif
}

/* Sums of four channels over rows of pixels; step: bytes of a pixel, line: from row to row. */
static void dsp_sums(const int8_t *x, int32_t rows, int32_t columns, int32_t step, int32_t line,
                     int32_t *sums)
{
    uint32_t even = 0, odd = 0;
    for (; rows > 0; rows--, x += line) {
        const int8_t *at = x;
        int32_t count;
        for (count = columns; count > 0; count--, at += step) {
            const uint32_t bytes = dsp_load(at);
            even = (uint32_t)__sxtab16((int16x2_t)even, (int8x4_t)bytes);
            odd = dsp_add_odd(odd, bytes);
        }
    }
    sums[0] = (int16_t)even;
    sums[1] = (int16_t)odd;
    sums[2] = (int16_t)(even >> 16);
    sums[3] = (int16_t)(odd >> 16);
}""",
    (ASSEMBLER, LOAD),
)

_AVERAGE = Function(
    "dsp_average",
    """\
/* Averages of windows, ties away from zero; rows and columns of the padding do not count. */
static void dsp_average(const int8_t *x, int8_t *y, const int32_t *image, const int32_t *result,
                        const int32_t *kernel, const int32_t *strides, const int32_t *pads)
{
    const int32_t channels = image[2];
    int32_t row, column, channel, i;
    for (row = 0; row < result[0]; row++) {
        const int32_t top = row * strides[0] - pads[0];
        const int32_t first = top < 0 ? 0 : top;
        const int32_t end = top + kernel[0] < image[0] ? top + kernel[0] : image[0];
        for (column = 0; column < result[1]; column++, y += channels) {
            const int32_t left = column * strides[1] - pads[1];
            const int32_t start = left < 0 ? 0 : left;
            const int32_t stop = left + kernel[1] < image[1] ? left + kernel[1] : image[1];
            const int32_t count = (end - first) * (stop - start), half = count / 2;
            const int8_t *at = x + (first * image[1] + start) * channels;
            for (channel = 0; channel < channels; channel += 4) {
                int32_t sums[4];
                dsp_sums(at + channel, end - first, stop - start, channels, image[1] * channels,
                         sums);
                for (i = 0; i < 4; i++) {
                    const int32_t sum = sums[i];
                    y[channel + i] = (int8_t)((sum < 0 ? sum - half : sum + half) / count);
                }
            }
        }
    }
}""",
    (_SUMS,),
)


def average(layer: Pool, variant: str, budget: int) -> Implementation | None:
    """Code of an average pool of int8."""
    del variant, budget
    window = layer.window
    fits = window.kernel[0] * window.kernel[1] <= _MOST_ELEMENTS and not window.image[2] % 4
    if not layer.average or layer.inputs[0].dtype != "int8" or window.dilations != (1, 1):
        return None
    if not fits or layer.output.dtype != "int8":
        return None
    lines = [
        f"static const int32_t {name}[] = {{{', '.join(map(str, numbers))}}};"
        for name, numbers in (
            ("image", window.image),
            ("result", window.result[:2]),
            ("kernel", window.kernel),
            ("strides", window.strides),
            ("pads", window.pads),
        )
    ]
    lines.append("dsp_average(x0, y, image, result, kernel, strides, pads);")
    return Implementation("\n".join(lines), (_AVERAGE,))


def mean(layer: Reduction, variant: str, budget: int) -> Implementation | None:
    """Code of a sum or mean over the rows and columns of an image of int8."""
    del variant, budget
    tensor, rescale = layer.inputs[0], layer.rescale
    if layer.kind != "sum" or rescale is None or rescale.rounding is Rounding.REAL:
        return None
    if (tensor.dtype, layer.output.dtype) != ("int8", "int8") or len(tensor.shape) != 4:
        return None
    batch, rows, columns, channels = tensor.shape
    largest = rows * columns * 128 + abs(layer.offset)
    if layer.axes != (1, 2) or batch != 1 or channels % 4 or rows * columns > _MOST_ELEMENTS:
        return None
    code = rescaling(rescale)
    if code.accumulator != "int32_t" or code.per_channel or largest >= 1 << 31:
        return None
    total = f"sums[i] + {number(layer.offset)}"
    call = f"""\
int32_t channel, i;
for (channel = 0; channel < {channels}; channel += 4) {{
    int32_t sums[4];
    dsp_sums(x0 + channel, 1, {rows * columns}, {channels}, 0, sums);
    for (i = 0; i < 4; i++) {{
        const int32_t acc = {total};
        y[channel + i] = (int8_t)({code.apply("acc")});
    }}
}}"""
    return Implementation(call, (_SUMS, *code.functions))
