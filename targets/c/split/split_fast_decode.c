#include "split_fast.h"

#include <string.h>

#if defined(__SSE2__) && !defined(SPLIT_PORTABLE)
#include <emmintrin.h>
#endif

#include "split_fast_parts.h"

#define LOWEST 65536u
#define FIELDS 0x0001000100010001u
#define SIGNS 0x8000800080008000u
/* Words of thresholds of codes with more than 17 levels. */
#define TWO_LEVELS 68u

SPLIT_INLINE uint32_t bits_set(uint64_t value)
{
#if defined(__GNUC__) && (defined(__POPCNT__) || defined(__aarch64__)) && \
    !defined(SPLIT_PORTABLE)
    return (uint32_t)__builtin_popcountll(value);
#else
    value -= value >> 1 & 0x5555555555555555u;
    value = (value & 0x3333333333333333u) + (value >> 2 & 0x3333333333333333u);
    value = (value + (value >> 4)) & 0x0F0F0F0F0F0F0F0Fu;
    return (uint32_t)(value * 0x0101010101010101u >> 56);
#endif
}

/* Twice how many thresholds of 1, 2 or 4 words are not above the slot: vectors count double. */
SPLIT_INLINE uint32_t count_reached(const uint64_t *row, uint32_t slot, uint32_t words)
{
#if defined(__SSE2__) && !defined(SPLIT_PORTABLE)
    /* 0x8000 - threshold > 0x7FFF - slot, eight at once; two bits of the mask for each. The zeros
     * behind a single word are above nothing. */
    const __m128i *at = (const __m128i *)(const void *)row;
    const __m128i least = _mm_set1_epi16((short)(0x7FFF ^ slot));
    const __m128i first = words > 1 ? _mm_loadu_si128(at) : _mm_loadl_epi64(at);
    uint32_t mask = (uint32_t)_mm_movemask_epi8(_mm_cmpgt_epi16(first, least));
    if (words > 2) {
        const __m128i second = _mm_loadu_si128(at + 1);
        mask |= (uint32_t)_mm_movemask_epi8(_mm_cmpgt_epi16(second, least)) << 16;
    }
    return bits_set(mask);
#else
    /* The slot in all four fields; the highest bit of a field is set where it reaches 0x8000. */
    const uint64_t slots = slot * (uint64_t)FIELDS;
    uint64_t found = (slots + row[0]) & SIGNS;
    if (words > 1) {
        found |= ((slots + row[1]) & SIGNS) >> 1;
    }
    if (words > 2) {
        found |= ((slots + row[2]) & SIGNS) >> 2;
        found |= ((slots + row[3]) & SIGNS) >> 3;
    }
    return 2 * bits_set(found);
#endif
}

/* Twice the code of a slot. */
SPLIT_INLINE uint32_t find_code(const uint64_t *row, uint32_t slot, uint32_t words)
{
    if (words == TWO_LEVELS) {
        const uint32_t sixteens = count_reached(row, slot, 4);
        return 16 * sixteens + count_reached(row + 4 + 2 * (size_t)sixteens, slot, 4);
    }
    return count_reached(row, slot, words);
}

/* Takes a word where the state needs one: never by a branch, which would be guessed wrong too
 * often. Two bytes at the words are read in any case. */
SPLIT_INLINE uint32_t refill(uint32_t state, const uint8_t **words)
{
    uint16_t word;
    memcpy(&word, *words, 2);
#if defined(__GNUC__) && defined(__x86_64__) && !defined(SPLIT_PORTABLE)
    {
        /* Compilers choose the branch: they do not know how often it is taken. */
        const uint32_t refilled = state << 16 | word;
        const uint8_t *further = *words + 2;
        __asm__("cmpl $65536, %0\n\tcmovbl %2, %0\n\tcmovbq %3, %1"
                : "+r"(state), "+r"(*words)
                : "r"(refilled), "r"(further)
                : "cc");
        return state;
    }
#else
    {
        const uint32_t empty = (uint32_t)(((uint64_t)state - LOWEST) >> 63);
        *words += 2 * (size_t)empty;
        return state << (empty << 4) | (word & (0 - empty));
    }
#endif
}

/* Places that are decoded at once: the row below the last one has room behind them too. */
#define DECODED (SPLIT_CHUNK / 2)

/* Working memory of a group: for each lane and place, how far the row of the place is from the
 * table's begin without its left neighbour, and the code. A code adds what it does to the place
 * below it when it is found. */
struct decoding {
    uint32_t bases[SPLIT_LARGEST_LANES * SPLIT_PITCH];
    uint8_t codes[SPLIT_LARGEST_LANES * SPLIT_PITCH];
    uint32_t states[SPLIT_LARGEST_LANES];
    uint32_t lefts[SPLIT_LARGEST_LANES];
};

/* Rows of a chunk, or a piece of a row, place by place while the words suffice whatever the codes
 * are; returns the places done. */
SPLIT_INLINE size_t decode_freely(const struct split_fast_feature *fast, struct decoding *work,
                                  size_t places, size_t width, uint32_t count,
                                  uint32_t threshold_words, const uint8_t **next,
                                  const uint8_t *end)
{
    const uint64_t *rows = fast->rows;
    const uint32_t *steps = fast->steps;
    const uint8_t *words = *next;
    uint32_t x[SPLIT_LARGEST_LANES], left[SPLIT_LARGEST_LANES];
    size_t k = 0, stop = 0, lane;
    SPLIT_UNROLL
    for (lane = 0; lane < count; lane++) {
        x[lane] = work->states[lane];
        left[lane] = work->lefts[lane];
    }
    while (k == stop && k < places) {
        uint32_t *bases = work->bases, *below = work->bases + width;
        uint8_t *codes = work->codes;
        for (stop = k + width; k < stop && end - words >= (ptrdiff_t)(2 * count); k++) {
            SPLIT_UNROLL
            for (lane = 0; lane < count; lane++) {
                const size_t place = lane * SPLIT_PITCH + k;
                const uint64_t *row = rows + (bases[place] + left[lane]);
                const uint32_t slot = x[lane] & 4095;
                const uint32_t twice = find_code(row, slot, threshold_words);
                uint32_t pair;
                memcpy(&pair, (const uint8_t *)(row + threshold_words) + 2 * (size_t)twice, 4);
                x[lane] = refill((pair & 0xFFFF) * (x[lane] >> 12) + slot - (pair >> 16), &words);
                left[lane] = steps[twice];
                below[place] += steps[twice + 1];
                codes[place] = (uint8_t)(twice / 2);
            }
        }
        if (k == stop && k < places) {
            SPLIT_UNROLL
            for (lane = 0; lane < count; lane++) {
                left[lane] = 0;
            }
        }
    }
    SPLIT_UNROLL
    for (lane = 0; lane < count; lane++) {
        work->states[lane] = x[lane];
        work->lefts[lane] = left[lane];
    }
    *next = words;
    return k;
}

/* The same for the places from `k` on with a look at each word: it may be missing. */
static const uint8_t *decode_carefully(const struct split_fast_feature *fast,
                                       struct decoding *work, size_t k, size_t places,
                                       size_t width, uint32_t count, const uint8_t *words,
                                       const uint8_t *end)
{
    uint32_t lane;
    for (; k < places; k++) {
        if (k > 0 && k % width == 0) {
            memset(work->lefts, 0, count * sizeof *work->lefts);
        }
        for (lane = 0; lane < count; lane++) {
            const size_t place = (size_t)lane * SPLIT_PITCH + k;
            const uint64_t *row = fast->rows + (work->bases[place] + work->lefts[lane]);
            const uint32_t slot = work->states[lane] & 4095;
            const uint32_t twice = find_code(row, slot, fast->words);
            uint32_t pair, state;
            memcpy(&pair, (const uint8_t *)(row + fast->words) + 2 * (size_t)twice, 4);
            state = (pair & 0xFFFF) * (work->states[lane] >> 12) + slot - (pair >> 16);
            if (state < LOWEST) {
                uint16_t word;
                if (end - words < 2) {
                    return NULL;
                }
                memcpy(&word, words, 2);
                words += 2;
                state = state << 16 | word;
            }
            work->states[lane] = state;
            work->lefts[lane] = fast->steps[twice];
            work->bases[place + width] += fast->steps[twice + 1];
            work->codes[place] = (uint8_t)(twice / 2);
        }
    }
    return words;
}

/* A chunk; a loop of its own for each number of lanes and each number of words. */
static const uint8_t *decode_chunk(const struct split_fast_feature *fast, struct decoding *work,
                                   size_t places, size_t width, uint32_t count,
                                   const uint8_t *words, const uint8_t *end)
{
    size_t done = 0;
#define CASE(n)                                                                                   \
    case n:                                                                                       \
        if (fast->words == 1) {                                                                   \
            done = decode_freely(fast, work, places, width, n, 1, &words, end);                   \
        } else if (fast->words == 2) {                                                            \
            done = decode_freely(fast, work, places, width, n, 2, &words, end);                   \
        } else if (fast->words == 4) {                                                            \
            done = decode_freely(fast, work, places, width, n, 4, &words, end);                   \
        } else {                                                                                  \
            done = decode_freely(fast, work, places, width, n, TWO_LEVELS, &words, end);          \
        }                                                                                         \
        break;
    switch (count) {
        SPLIT_CASES(CASE)
    default:
        break;
    }
#undef CASE
    return decode_carefully(fast, work, done, places, width, count, words, end);
}

/* Adds a neighbour's codes, each not above a cap, times a step. */
static void add_steps(const uint8_t *codes, uint32_t most, uint32_t step, uint32_t places,
                      uint32_t *out)
{
    const uint8_t cap = (uint8_t)most;
    uint32_t i;
    for (i = 0; i < places; i++) {
        const uint8_t code = SPLIT_LEAST(codes[i], cap);
        out[i] += code * step;
    }
}

/* Where the rows of a channel's places from `start` on begin, but for what this chunk's own codes
 * will add. */
static void find_bases(const split_feature *feature, const struct split_fast_feature *fast,
                       const uint8_t *codes, uint32_t channel, uint32_t stripe, uint32_t start,
                       uint32_t places, uint32_t width, uint32_t *out)
{
    const uint32_t columns = feature->columns, base = fast->row_bases[stripe];
    const uint8_t *reference = split_fast_reference(feature, codes, channel);
    uint32_t i;
    for (i = 0; i < places + width; i++) {
        out[i] = base;
    }
    if (reference != NULL) {
        add_steps(reference + start, feature->caps[2], fast->reference_step, places, out);
    }
    if (start >= columns) {
        const uint8_t *above = codes + (size_t)channel * feature->rows * columns + start - columns;
        add_steps(above, feature->caps[1], fast->steps[3], SPLIT_LEAST(places, columns), out);
    }
}

static const uint8_t *decode_group(const split_feature *feature,
                                   const struct split_fast_feature *fast, struct decoding *work,
                                   uint8_t *codes, uint32_t first, uint32_t count,
                                   const uint8_t *words, const uint8_t *end)
{
    const uint32_t columns = feature->columns, whole = feature->rows * columns;
    /* A chunk is some whole rows, or a piece of a row. */
    const uint32_t chunk = columns < DECODED ? DECODED / columns * columns : DECODED;
    uint32_t stripes[SPLIT_LARGEST_LANES], start = 0, lane;
    split_fast_stripes(feature, first, count, stripes);
    while (start < whole) {
        uint32_t places = SPLIT_LEAST(whole - start, chunk), width = columns;
        if (columns > chunk) {
            places = SPLIT_LEAST(places, columns - start % columns);
            width = places;
        }
        for (lane = 0; lane < count; lane++) {
            find_bases(feature, fast, codes, first + lane, stripes[lane], start, places, width,
                       work->bases + lane * SPLIT_PITCH);
        }
        if (start % columns == 0) {
            memset(work->lefts, 0, count * sizeof *work->lefts);
        }
        words = decode_chunk(fast, work, places, width, count, words, end);
        if (words == NULL) {
            return NULL;
        }
        for (lane = 0; lane < count; lane++) {
            memcpy(codes + (size_t)(first + lane) * whole + start,
                   work->codes + lane * SPLIT_PITCH, places);
        }
        start += places;
    }
    return words;
}

const uint8_t *split_fast_decode(const split_feature *feature,
                                 const struct split_fast_feature *fast, uint8_t *codes,
                                 uint32_t *states, const uint8_t *words, const uint8_t *end)
{
    struct decoding work;
    const uint32_t lanes = feature->lanes;
    uint32_t first;
    memcpy(work.states, states, sizeof work.states);
    for (first = 0; words != NULL && first < feature->channels; first += lanes) {
        const uint32_t rest = feature->channels - first;
        words = decode_group(feature, fast, &work, codes, first, SPLIT_LEAST(rest, lanes), words,
                             end);
    }
    memcpy(states, work.states, sizeof work.states);
    return words;
}
