"""Loads and stores of fewer bytes than a register has."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function

WORD = Function(
    "neon_word",
    """\
/* Four bytes from any address. */
static inline int8x8_t neon_word(const int8_t *from)
{
    int32_t word;
    memcpy(&word, from, sizeof word);
    return vreinterpret_s8_s32(vdup_n_s32(word));
}""",
)

STORE = Function(
    "neon_store",
    """\
/* The first bytes of a register. */
static inline void neon_store(void *y, int8x16_t value, size_t count)
{
    int8_t bytes[16];
    vst1q_s8(bytes, value);
    memcpy(y, bytes, count);
}""",
)

SOME = Function(
    "neon_some",
    """\
/* A register with count bytes from x, and zeros behind them. */
static inline int8x16_t neon_some(const void *x, size_t count)
{
    int8_t bytes[16] = {0};
    memcpy(bytes, x, count);
    return vld1q_s8(bytes);
}""",
)
