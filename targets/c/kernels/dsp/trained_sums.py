"""Sums of a whole window from the inner loops: what is left over of four, and sums of 64 bits."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.dsp.trained_dots import ONE_BY_FOUR, TWO_BY_TWO

_ONE = """\
/* The sums of taps products of a pixel with each of four filters. */
static void dsp_sums_of_one(const int16_t *x, const int16_t *const *w, int32_t taps, int32_t *sums)
{
    int32_t i, k = taps & ~3;
    if (k > 0) {
        dsp_trained_one(x, w, k / 4, sums);
    } else {
        sums[0] = sums[1] = sums[2] = sums[3] = 0;
    }
    for (; k < taps; k++) {
        for (i = 0; i < 4; i++) {
            sums[i] += x[k] * w[i][k];
        }
    }
}"""

_TWO = """\
/* The sums of taps products of two pixels with two filters each: of x, then of next. */
DSP_INLINE void dsp_sums_of_two(const int16_t *x, const int16_t *next, const int16_t *w,
                                const int16_t *w_next, int32_t taps, int32_t *sums)
{
    int32_t k = taps & ~3;
    if (k > 0) {
        dsp_trained_two(x, next, w, w_next, k / 4, sums);
    } else {
        sums[0] = sums[1] = sums[2] = sums[3] = 0;
    }
    for (; k < taps; k++) {
        sums[0] += x[k] * w[k];
        sums[1] += x[k] * w_next[k];
        sums[2] += next[k] * w[k];
        sums[3] += next[k] * w_next[k];
    }
}"""

_WIDE_ONE = """\
/* The same in 64 bits: @most@ products at a time fit 32. */
static void dsp_sums_of_one_@most@(const int16_t *x, const int16_t *const *w, int32_t taps,
                                   int64_t *sums)
{
    int32_t from, i;
    sums[0] = sums[1] = sums[2] = sums[3] = 0;
    for (from = 0; from < taps; from += @most@) {
        const int16_t *at[4];
        int32_t part[4];
        for (i = 0; i < 4; i++) {
            at[i] = w[i] + from;
        }
        dsp_sums_of_one(x + from, at, taps - from < @most@ ? taps - from : @most@, part);
        for (i = 0; i < 4; i++) {
            sums[i] += part[i];
        }
    }
}"""

_WIDE_TWO = """\
/* The same in 64 bits: @most@ products at a time fit 32. */
static void dsp_sums_of_two_@most@(const int16_t *x, const int16_t *next, const int16_t *w,
                                   const int16_t *w_next, int32_t taps, int64_t *sums)
{
    int32_t from, i;
    sums[0] = sums[1] = sums[2] = sums[3] = 0;
    for (from = 0; from < taps; from += @most@) {
        int32_t part[4];
        dsp_sums_of_two(x + from, next + from, w + from, w_next + from,
                        taps - from < @most@ ? taps - from : @most@, part);
        for (i = 0; i < 4; i++) {
            sums[i] += part[i];
        }
    }
}"""


def _sums(name: str, narrow: str, wide: str, inner: Function, most: int | None) -> Function:
    function = Function(name, narrow, (inner,))
    if most is None:
        return function
    return Function(f"{name}_{most}", wide.replace("@most@", str(most)), (function,))


def sums_of_one(most: int | None) -> Function:
    """``f(x, w, taps, sums)``: of a pixel and four filters.

    Args:
        most: Products of which a sum fits 32 bits, a multiple of four; None where all do.
    """
    return _sums("dsp_sums_of_one", _ONE, _WIDE_ONE, ONE_BY_FOUR, most)


def sums_of_two(most: int | None) -> Function:
    """``f(x, next, w, w_next, taps, sums)``: of two pixels and two filters."""
    return _sums("dsp_sums_of_two", _TWO, _WIDE_TWO, TWO_BY_TWO, most)
