"""C text of the instructions that look-ups are made of, and of sums in halves of registers."""

from __future__ import annotations

from intaglio.targets.c.kernels.dsp.intrinsics import ASSEMBLER, EVEN_ODD, LOAD, SATURATE

_ADD = """\
/* Adds bytes 0 and 2, or 1 and 3, of four int8 to two int16. */
DSP_INLINE uint32_t dsp_add_even(uint32_t sums, uint32_t bytes)
{
    return (uint32_t)__sxtab16((int16x2_t)sums, (int8x4_t)bytes);
}

DSP_INLINE uint32_t dsp_add_odd(uint32_t sums, uint32_t bytes)
{
#if DSP_ASSEMBLER
    uint32_t result;
    __asm("sxtab16 %0, %1, %2, ror #8" : "=r"(result) : "r"(sums), "r"(bytes));
    return result;
#else
    return (uint32_t)__sxtab16((int16x2_t)sums, (int8x4_t)(bytes >> 8 | bytes << 24));
#endif
}

/* The two int16 of a register. */
DSP_INLINE int32_t dsp_lower(uint32_t sums)
{
    return (int16_t)sums;
}

DSP_INLINE int32_t dsp_upper(uint32_t sums)
{
    return (int32_t)sums >> 16;
}"""

#: Everything, in order.
INSTRUCTIONS = "\n\n".join([ASSEMBLER.text, EVEN_ODD.text, LOAD.text, SATURATE.text, _ADD])

#: Products of two pairs of int16, added to a sum.
MULTIPLY = """\
DSP_INLINE int32_t dsp_multiply(uint32_t a, uint32_t b, int32_t sum)
{
    return __smlad((int16x2_t)a, (int16x2_t)b, sum);
}

/* Two int16 that stand side by side. */
DSP_INLINE uint32_t dsp_pair(const int16_t *from)
{
    uint32_t pair;
    memcpy(&pair, from, 4);
    return pair;
}"""


def lanes(output: int) -> tuple[str, str]:
    """Where the sum of an output of four lies: the register, ``a`` or ``b``, and who takes it."""
    return "ab"[output % 2], ("dsp_lower", "dsp_upper")[output // 2]


def look_up(words: int, channels: int) -> str:
    """Text of ``look_up_<words>``: sums of four outputs a word, for one cell.

    A channel's table has 16 rows of so many words.

    Args:
        words: 1 to 4.
        channels: A multiple of four.
    """
    names = [f"{register}{word}" for word in range(words) for register in "ab"]
    start = ", ".join(f"{name} = start" for name in names)
    steps = []
    for channel in range(4):
        steps.append(
            f"        row = from + {64 * words * channel} + index[{channel}] * {4 * words};"
        )
        for word in range(words):
            steps += [
                f"        bytes = dsp_load(row + {4 * word});",
                f"        a{word} = dsp_add_even(a{word}, bytes);",
                f"        b{word} = dsp_add_odd(b{word}, bytes);",
            ]
    body = "\n".join(steps)
    ends = "\n".join(f"    sums[{place}] = {name};" for place, name in enumerate(names))
    return f"""\
static inline void look_up_{words}(const int8_t *from, const uint8_t *index, uint32_t start,
                             uint32_t *sums)
{{
    const uint8_t *const end = index + {channels};
    uint32_t {start};
    do {{
        const int8_t *row;
        uint32_t bytes;
{body}
        from += {256 * words};
        index += 4;
    }} while (index != end);
{ends}
}}"""
