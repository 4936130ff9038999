"""Convolutions with trained weights for Helium: dot products of eight pairs of int16 at a time.

Weights of a filter lie one behind the other, which is what ``VMLADAVA`` reads; sums of 64 bits are
``VMLALDAVA``, without parts. Around them is the code for processors with DSP, whose instructions
these have, too (:mod:`intaglio.targets.c.kernels.dsp.trained`).
"""

from __future__ import annotations

from string import Template

from intaglio.targets.c.kernels.base import Function, Implementation
from intaglio.targets.c.kernels.dsp.trained import dense
from intaglio.targets.c.kernels.dsp.trained_gather import window_function
from intaglio.targets.c.kernels.dsp.trained_text import Inner
from intaglio.targets.c.network import TrainedConvolution

_WIDEN = Function(
    "mve_widen",
    """\
/* count numbers of x less the zero point, of which less holds the negative in both halves. */
static int16_t *mve_widen(int16_t *to, const int8_t *x, int32_t count, uint32_t less)
{
    const int16_t each = (int16_t)(less & 0xFFFFu);
    int16_t *const end = to + count;
    for (; count >= 8; count -= 8, x += 8, to += 8) {
        vst1q_s16(to, vaddq_n_s16(vldrbq_s16(x), each));
    }
    if (count > 0) {
        const mve_pred16_t some = vctp16q((uint32_t)count);
        vstrhq_p_s16(to, vaddq_n_s16(vldrbq_z_s16(x, some), each), some);
    }
    return end;
}""",
)

_ONE = Template("""\
/* The sums of taps products of a pixel with each of four filters. */
static void ${name}(const int16_t *x, const int16_t *const *w, int32_t taps, ${sum} *sums)
{
    const int16_t *w0 = w[0], *w1 = w[1], *w2 = w[2], *w3 = w[3];
    ${sum} a = 0, b = 0, c = 0, d = 0;
    for (; taps >= 8; taps -= 8, x += 8, w0 += 8, w1 += 8, w2 += 8, w3 += 8) {
        const int16x8_t values = vldrhq_s16(x);
        a = ${add}(a, values, vldrhq_s16(w0));
        b = ${add}(b, values, vldrhq_s16(w1));
        c = ${add}(c, values, vldrhq_s16(w2));
        d = ${add}(d, values, vldrhq_s16(w3));
    }
    if (taps > 0) {
        const mve_pred16_t some = vctp16q((uint32_t)taps);
        const int16x8_t values = vldrhq_z_s16(x, some);
        a = ${add}(a, values, vldrhq_z_s16(w0, some));
        b = ${add}(b, values, vldrhq_z_s16(w1, some));
        c = ${add}(c, values, vldrhq_z_s16(w2, some));
        d = ${add}(d, values, vldrhq_z_s16(w3, some));
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}""")

_TWO = Template("""\
/* The sums of taps products of two pixels with two filters each: of x, then of next. */
static void ${name}(const int16_t *x, const int16_t *next, const int16_t *w,
    const int16_t *w_next, int32_t taps, ${sum} *sums)
{
    ${sum} a = 0, b = 0, c = 0, d = 0;
    for (; taps >= 8; taps -= 8, x += 8, next += 8, w += 8, w_next += 8) {
        const int16x8_t one = vldrhq_s16(w), other = vldrhq_s16(w_next);
        const int16x8_t first = vldrhq_s16(x), second = vldrhq_s16(next);
        a = ${add}(a, first, one);
        b = ${add}(b, first, other);
        c = ${add}(c, second, one);
        d = ${add}(d, second, other);
    }
    if (taps > 0) {
        const mve_pred16_t some = vctp16q((uint32_t)taps);
        const int16x8_t one = vldrhq_z_s16(w, some), other = vldrhq_z_s16(w_next, some);
        const int16x8_t first = vldrhq_z_s16(x, some), second = vldrhq_z_s16(next, some);
        a = ${add}(a, first, one);
        b = ${add}(b, first, other);
        c = ${add}(c, second, one);
        d = ${add}(d, second, other);
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}""")


def _sums(text: Template, name: str, most: int | None) -> Function:
    wide = most is not None
    words = {
        "name": f"{name}_wide" if wide else name,
        "sum": "int64_t" if wide else "int32_t",
        "add": "vmlaldavaq_s16" if wide else "vmladavaq_s16",
    }
    return Function(words["name"], text.substitute(words))


_INNER = Inner(
    "mve",
    window_function("mve_trained_window", _WIDEN),
    lambda most: _sums(_ONE, "mve_sums_of_one", most),
    lambda most: _sums(_TWO, "mve_sums_of_two", most),
)


def implement(layer: TrainedConvolution, variant: str, budget: int) -> Implementation | None:
    """Code of a layer whose filters read all channels; None for groups."""
    del variant
    return dense(layer, budget, _INNER) if layer.groups == 1 else None
