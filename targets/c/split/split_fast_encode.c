#include "split_fast.h"

#include <string.h>

#include "split_fast_parts.h"

#define RECIPROCAL_BITS 44

/* Entries of the codes at the places from `start` to before `end` of a channel.
 *
 * The sums are below 65536, and so short numbers do: a vector has more of them. Where there are
 * codes behind those of the places, whole vectors are worked on, and up to 15 entries too many
 * written: a few places one by one take longer. */
SPLIT_INLINE void find_entries(const split_feature *feature, const uint8_t *plane,
                               const uint8_t *reference, uint32_t base, uint32_t levels,
                               uint32_t start, uint32_t end, size_t behind, uint16_t *restrict out)
{
    const int vectors = behind >= 15;
    const uint32_t columns = feature->columns;
    const uint16_t reference_step = (uint16_t)levels;
    const uint16_t upper_step = (uint16_t)((feature->caps[2] + 1) * levels);
    const uint16_t left_step = (uint16_t)((feature->caps[1] + 1) * upper_step);
    const uint8_t cap_left = (uint8_t)feature->caps[0], cap_upper = (uint8_t)feature->caps[1];
    const uint8_t cap_reference = (uint8_t)feature->caps[2];
    uint32_t i = start;
    if (start < columns) {
        const uint8_t *here = plane + start, before = start > 0 ? here[-1] : 0;
        const uint32_t count = SPLIT_LEAST(end, columns) - start - 1;
        const uint32_t wide = vectors ? (count + 15) / 16 * 16 : count;
        uint32_t k;
        out[0] = (uint16_t)(base + here[0] + (uint32_t)(SPLIT_LEAST(before, cap_left) * left_step));
        for (k = 0; k < wide; k++) {
            const uint8_t left = SPLIT_LEAST(here[k], cap_left);
            out[k + 1] = (uint16_t)(base + here[k + 1] + (uint32_t)(left * left_step));
        }
        i += count + 1;
    }
    if (i < end) {
        const uint8_t *here = plane + i, *above = plane + i - columns;
        uint16_t *to = out + (i - start);
        const uint32_t count = end - i;
        const uint32_t wide = vectors ? (count + 15) / 16 * 16 : count;
        uint32_t k;
        /* The first column has no left neighbour: what this adds there is taken back below. */
        for (k = 0; k < wide; k++) {
            const uint8_t left = SPLIT_LEAST(here[(ptrdiff_t)k - 1], cap_left);
            const uint8_t upper = SPLIT_LEAST(above[k], cap_upper);
            const uint32_t steps = (uint32_t)(left * left_step + upper * upper_step);
            to[k] = (uint16_t)(base + here[k] + steps);
        }
        for (k = (columns - i % columns) % columns; k < count; k += columns) {
            const uint8_t left = SPLIT_LEAST(here[(ptrdiff_t)k - 1], cap_left);
            to[k] = (uint16_t)(to[k] - left * left_step);
        }
    }
    if (reference != NULL && cap_reference > 0) {
        const uint32_t count = end - start;
        const uint32_t wide = vectors ? (count + 15) / 16 * 16 : count;
        uint32_t k;
        reference += start;
        for (k = 0; k < wide; k++) {
            const uint8_t code = SPLIT_LEAST(reference[k], cap_reference);
            out[k] = (uint16_t)(out[k] + code * reference_step);
        }
    }
}

/* x / f is exact as x * ceil(2^44 / f) >> 44: x < f * 2^20, so that the error stays below
 * x * f < 2^44, and the product below 2^64. */
SPLIT_INLINE uint32_t next_state(uint32_t state, uint32_t pair, uint64_t reciprocal)
{
    const uint32_t quotient = (uint32_t)(state * reciprocal >> RECIPROCAL_BITS);
    return state + (pair & 0xFFFF) + quotient * (pair >> 16);
}

/* A chunk, place by place from its last while there is room for words whatever the codes are;
 * returns the places that are left. Nothing here branches on a code: such a branch would be guessed
 * wrong too often. */
SPLIT_INLINE size_t encode_freely(const struct split_fast_feature *fast, const uint16_t *entries,
                                  size_t places, uint32_t count, uint32_t *states,
                                  const uint8_t *low, uint8_t **next)
{
    const uint64_t *reciprocals = fast->reciprocals;
    const uint32_t *pairs = fast->pairs;
    uint8_t *words = *next;
    uint32_t x[SPLIT_LARGEST_LANES];
    size_t lane;
    SPLIT_UNROLL
    for (lane = 0; lane < count; lane++) {
        x[lane] = states[lane];
    }
    while (places > 0 && words - low >= (ptrdiff_t)(2 * count)) {
        places--;
        SPLIT_UNROLL
        for (lane = count; lane-- > 0;) {
            const size_t entry = entries[lane * SPLIT_PITCH + places];
            const uint32_t pair = pairs[entry];
            /* 1 where the state has reached frequency * 2^20 */
            const uint32_t full = ((x[lane] >> 20) + (pair >> 16)) >> 12;
            const uint16_t word = (uint16_t)x[lane];
            memcpy(words - 2, &word, 2);
            words -= 2 * (size_t)full;
            x[lane] = next_state(x[lane] >> (full << 4), pair, reciprocals[entry]);
        }
    }
    SPLIT_UNROLL
    for (lane = 0; lane < count; lane++) {
        states[lane] = x[lane];
    }
    *next = words;
    return places;
}

/* The same with a look at each word: there may be no room for it. */
static uint8_t *encode_carefully(const struct split_fast_feature *fast, const uint16_t *entries,
                                 size_t places, uint32_t count, uint32_t *states,
                                 const uint8_t *low, uint8_t *words)
{
    size_t lane;
    while (places-- > 0) {
        for (lane = count; lane-- > 0;) {
            const size_t entry = entries[lane * SPLIT_PITCH + places];
            const uint32_t pair = fast->pairs[entry];
            if ((states[lane] >> 20) + (pair >> 16) >= 4096) {
                const uint16_t word = (uint16_t)states[lane];
                if (words - low < 2) {
                    return NULL;
                }
                words -= 2;
                memcpy(words, &word, 2);
                states[lane] >>= 16;
            }
            states[lane] = next_state(states[lane], pair, fast->reciprocals[entry]);
        }
    }
    return words;
}

/* A chunk; a loop of its own for each number of lanes. */
static uint8_t *encode_chunk(const struct split_fast_feature *fast, const uint16_t *entries,
                             size_t places, uint32_t count, uint32_t *states, const uint8_t *low,
                             uint8_t *words)
{
    switch (count) {
#define CASE(n)                                                                                   \
    case n:                                                                                       \
        places = encode_freely(fast, entries, places, n, states, low, &words);                    \
        break;
        SPLIT_CASES(CASE)
#undef CASE
    default:
        break;
    }
    return encode_carefully(fast, entries, places, count, states, low, words);
}

/* Encodes a group of channels from its last place to its first. */
static uint8_t *encode_group(const split_feature *feature, const struct split_fast_feature *fast,
                             const uint8_t *codes, uint32_t first, uint32_t count,
                             uint32_t *states, const uint8_t *low, uint8_t *words)
{
    uint16_t entries[SPLIT_LARGEST_LANES * SPLIT_PITCH];
    const size_t plane = (size_t)feature->rows * feature->columns;
    const size_t whole = feature->channels * plane;
    uint32_t end = (uint32_t)plane, stripes[SPLIT_LARGEST_LANES], lane;
    split_fast_stripes(feature, first, count, stripes);
    while (end > 0 && words != NULL) {
        const uint32_t start = (end - 1) / SPLIT_CHUNK * SPLIT_CHUNK, places = end - start;
        for (lane = 0; lane < count; lane++) {
            find_entries(feature, codes + (first + lane) * plane,
                         split_fast_reference(feature, codes, first + lane),
                         fast->entry_bases[stripes[lane]], feature->stripes[stripes[lane]].levels,
                         start, end, whole - ((first + lane) * plane + end),
                         entries + lane * SPLIT_PITCH);
        }
        words = encode_chunk(fast, entries, places, count, states, low, words);
        end = start;
    }
    return words;
}

uint8_t *split_fast_encode(const split_feature *feature, const struct split_fast_feature *fast,
                           const uint8_t *codes, uint32_t *states, const uint8_t *low,
                           uint8_t *words)
{
    const uint32_t lanes = feature->lanes;
    uint32_t group = (feature->channels + lanes - 1) / lanes;
    while (words != NULL && group-- > 0) {
        const uint32_t first = group * lanes, rest = feature->channels - first;
        words = encode_group(feature, fast, codes, first, rest < lanes ? rest : lanes, states, low,
                             words);
    }
    return words;
}
