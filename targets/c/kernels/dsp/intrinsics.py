"""Single instructions as C functions: what ``arm_acle.h`` lacks, or not every compiler has.

With GCC and Clang they are one instruction each; elsewhere, or where ``DSP_PLAIN`` is defined, the
same in C.
"""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function

#: The header, and whether assembler can be written.
ASSEMBLER = Function(
    "dsp_assembler",
    """\
#include <arm_acle.h>
/* Assembler is only written where the compiler reads that of GCC; define DSP_PLAIN for none. */
#if defined(__GNUC__) && !defined(DSP_PLAIN)
#define DSP_ASSEMBLER 1
#else
#define DSP_ASSEMBLER 0
#endif
/* A small function that not every model needs. */
#if defined(__GNUC__)
#define DSP_INLINE static inline __attribute__((unused))
#else
#define DSP_INLINE static inline
#endif""",
)

EVEN_ODD = Function(
    "dsp_even_odd",
    """\
/* Bytes 0 and 2 of four int8 as two int16. */
DSP_INLINE uint32_t dsp_even(uint32_t bytes)
{
    return (uint32_t)__sxtb16((int8x4_t)bytes);
}

/* Bytes 1 and 3 of four int8 as two int16. */
DSP_INLINE uint32_t dsp_odd(uint32_t bytes)
{
#if DSP_ASSEMBLER
    uint32_t pair;
    __asm("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(bytes));
    return pair;
#else
    return (uint32_t)__sxtb16((int8x4_t)(bytes >> 8 | bytes << 24));
#endif
}""",
    (ASSEMBLER,),
)

LOAD = Function(
    "dsp_load",
    """\
/* Four bytes from any address. */
DSP_INLINE uint32_t dsp_load(const int8_t *from)
{
    uint32_t bytes;
    memcpy(&bytes, from, 4);
    return bytes;
}""",
    (ASSEMBLER,),
)

HIGH = Function(
    "dsp_high",
    """\
/* c + round(a * b / 2^32), ties upward. */
DSP_INLINE int32_t dsp_high_rounded(int32_t a, int32_t b, int32_t c)
{
#if DSP_ASSEMBLER
    int32_t result;
    __asm("smmlar %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(c));
    return result;
#else
    return (int32_t)(((int64_t)a * b + INT64_C(0x80000000)) >> 32) + c;
#endif
}

/* c + floor(a * b / 2^32). */
DSP_INLINE int32_t dsp_high(int32_t a, int32_t b, int32_t c)
{
#if DSP_ASSEMBLER
    int32_t result;
    __asm("smmla %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(c));
    return result;
#else
    return (int32_t)(((int64_t)a * b) >> 32) + c;
#endif
}""",
    (ASSEMBLER,),
)

SATURATE = Function(
    "dsp_saturate",
    """\
/* The nearest int8_t. */
DSP_INLINE int8_t dsp_saturate(int32_t value)
{
#if DSP_ASSEMBLER
    int32_t result;
    __asm("ssat %0, #8, %1" : "=r"(result) : "r"(value) : "cc");
    return (int8_t)result;
#else
    return (int8_t)(value < -128 ? -128 : value > 127 ? 127 : value);
#endif
}""",
    (ASSEMBLER,),
)
