"""Look-ups with AVX-512: 64 entries with each ``vpermb``, added by ``vpdpbusd`` with ones."""

from __future__ import annotations


def look_up(groups: int, outputs: int, start: str, indent: str) -> str:
    """Statements that look the block's cells up for some outputs.

    Indices are in ``z0_0`` (group, register); sums come into ``s0_0`` (output, register).

    Args:
        groups: Groups of four channels.
        outputs: Outputs; their tables follow each other at ``from``.
        start: First value of the sums.
        indent: What lines begin with.
    """
    lines = [
        f"__m512i s{output}_0 = {start}, s{output}_1 = s{output}_0;" for output in range(outputs)
    ]
    for group in range(groups):
        for output in range(outputs):
            lines.append(f"t = load_all(from + {64 * (output * groups + group)});")
            lines += [
                f"s{output}_{half} = _mm512_dpbusd_epi32(s{output}_{half}, ones, "
                f"_mm512_permutexvar_epi8(z{group}_{half}, t));"
                for half in range(2)
            ]
    return "\n".join(indent + line for line in lines)


def load_index(groups: int, indent: str) -> str:
    """Statements that load the block's indices, as :func:`look_up` wants them."""
    return "\n".join(
        f"{indent}const __m512i z{group}_{half} = load_all(index + {128 * group + 64 * half});"
        for group in range(groups)
        for half in range(2)
    )


def mixing_block(groups: int) -> str:
    """Text of ``mix_block``: two outputs at a time."""
    finish = "\n".join(
        f"""\
        words = _mm512_sra_epi16(_mm512_packs_epi32(s{output}_0, s{output}_1), shift);
        words = _mm512_add_epi16(
            words, _mm512_cvtepi8_epi16(load_half(here + (o + {output}) * stride)));
        _mm256_storeu_si256((__m256i *)(out + (o + {output}) * stride),
                            _mm512_cvtsepi16_epi8(words));"""
        for output in range(2)
    )
    return f"""\
static inline void mix_block(int layer, const uint8_t *index, const int8_t *here, int8_t *out,
                             ptrdiff_t stride)
{{
    const struct layer *const l = layers + layer;
    const __m512i ones = _mm512_set1_epi8(1);
    const __m512i half = _mm512_set1_epi32((1 << l->shift) >> 1);
    const __m128i shift = _mm_cvtsi32_si128(l->shift);
{load_index(groups, "    ")}
    const int8_t *from = l->tables;
    int o;
    for (o = 0; o < {4 * groups}; o += 2) {{
        __m512i t, words;
{look_up(groups, 2, "half", "        ")}
{finish}
        from += {128 * groups};
    }}
}}"""
