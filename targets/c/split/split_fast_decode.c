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

/* Working memory of a group: for each lane and place, how far the row of the place is from the
 * table's begin without its neighbours (`bases`), what the upper neighbour adds, and the code. */
struct decoding {
    uint32_t bases[SPLIT_LARGEST_LANES * SPLIT_PITCH];
    uint32_t uppers[SPLIT_LARGEST_LANES * SPLIT_PITCH];
    uint8_t codes[SPLIT_LARGEST_LANES * SPLIT_PITCH];
    uint32_t states[SPLIT_LARGEST_LANES];
    uint32_t lefts[SPLIT_LARGEST_LANES];
};

/* A piece of a row from place k of the chunk on, column by column while the words suffice whatever
 * the codes are; returns the columns done. */
SPLIT_INLINE size_t decode_freely(const struct split_fast_feature *fast, struct decoding *work,
                                  size_t k, size_t columns, uint32_t count,
                                  uint32_t threshold_words, const uint8_t **next,
                                  const uint8_t *end)
{
    const uint64_t *rows = fast->rows;
    const uint32_t *steps = fast->steps;
    const uint32_t *bases = work->bases + k;
    uint32_t *uppers = work->uppers;
    uint8_t *codes = work->codes + k;
    const uint8_t *words = *next;
    uint32_t x[SPLIT_LARGEST_LANES], left[SPLIT_LARGEST_LANES];
    size_t c, lane;
    SPLIT_UNROLL
    for (lane = 0; lane < count; lane++) {
        x[lane] = work->states[lane];
        left[lane] = work->lefts[lane];
    }
    for (c = 0; c < columns && end - words >= (ptrdiff_t)(2 * count); c++) {
        SPLIT_UNROLL
        for (lane = 0; lane < count; lane++) {
            const size_t place = lane * SPLIT_PITCH + c;
            const uint64_t *row = rows + (bases[place] + uppers[place] + left[lane]);
            const uint32_t slot = x[lane] & 4095;
            const uint32_t twice = find_code(row, slot, threshold_words);
            uint32_t pair;
            memcpy(&pair, (const uint8_t *)(row + threshold_words) + 2 * (size_t)twice, 4);
            x[lane] = refill((pair & 0xFFFF) * (x[lane] >> 12) + slot - (pair >> 16), &words);
            left[lane] = steps[twice];
            uppers[place] = steps[twice + 1];
            codes[place] = (uint8_t)(twice / 2);
        }
    }
    SPLIT_UNROLL
    for (lane = 0; lane < count; lane++) {
        work->states[lane] = x[lane];
        work->lefts[lane] = left[lane];
    }
    *next = words;
    return c;
}

/* The same for the columns from `c` on with a look at each word: it may be missing. */
static const uint8_t *decode_carefully(const struct split_fast_feature *fast,
                                       struct decoding *work, size_t k, size_t c, size_t columns,
                                       uint32_t count, const uint8_t *words, const uint8_t *end)
{
    uint32_t lane;
    for (; c < columns; c++) {
        for (lane = 0; lane < count; lane++) {
            const size_t first = (size_t)lane * SPLIT_PITCH;
            const uint64_t *row = fast->rows + (work->bases[first + k + c] +
                                                work->uppers[first + c] + work->lefts[lane]);
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
            work->uppers[first + c] = fast->steps[twice + 1];
            work->codes[first + k + c] = (uint8_t)(twice / 2);
        }
    }
    return words;
}

/* A piece of a row; a loop of its own for each number of lanes and each number of words. */
static const uint8_t *decode_piece(const struct split_fast_feature *fast, struct decoding *work,
                                   size_t k, size_t columns, uint32_t count, const uint8_t *words,
                                   const uint8_t *end)
{
    size_t done = 0;
#define CASE(n)                                                                                   \
    case n:                                                                                       \
        if (fast->words == 1) {                                                                   \
            done = decode_freely(fast, work, k, columns, n, 1, &words, end);                      \
        } else if (fast->words == 2) {                                                            \
            done = decode_freely(fast, work, k, columns, n, 2, &words, end);                      \
        } else if (fast->words == 4) {                                                            \
            done = decode_freely(fast, work, k, columns, n, 4, &words, end);                      \
        } else {                                                                                  \
            done = decode_freely(fast, work, k, columns, n, TWO_LEVELS, &words, end);             \
        }                                                                                         \
        break;
    switch (count) {
        SPLIT_CASES(CASE)
    default:
        break;
    }
#undef CASE
    return decode_carefully(fast, work, k, done, columns, count, words, end);
}

/* Where the rows of a lane's places from `start` on begin, but for left and upper neighbours. */
static void find_bases(const split_feature *feature, const struct split_fast_feature *fast,
                       const uint8_t *reference, uint32_t stripe, uint32_t start, uint32_t places,
                       uint32_t *out)
{
    const uint32_t base = fast->row_bases[stripe], step = fast->reference_step;
    const uint8_t cap = (uint8_t)feature->caps[2];
    uint32_t i;
    if (reference == NULL) {
        for (i = 0; i < places; i++) {
            out[i] = base;
        }
        return;
    }
    for (i = 0; i < places; i++) {
        const uint8_t code = SPLIT_LEAST(reference[start + i], cap);
        out[i] = base + code * step;
    }
}

static const uint8_t *decode_group(const split_feature *feature,
                                   const struct split_fast_feature *fast, struct decoding *work,
                                   uint8_t *codes, uint32_t first, uint32_t count,
                                   const uint8_t *words, const uint8_t *end)
{
    const uint32_t columns = feature->columns, whole = feature->rows * columns;
    /* A chunk is some whole rows, or a piece of a row. */
    const uint32_t chunk = columns < SPLIT_CHUNK ? SPLIT_CHUNK / columns * columns : SPLIT_CHUNK;
    const uint32_t width = SPLIT_LEAST(columns, chunk);
    uint32_t stripes[SPLIT_LARGEST_LANES], start = 0, lane, i;
    split_fast_stripes(feature, first, count, stripes);
    while (start < whole) {
        uint32_t places = SPLIT_LEAST(whole - start, chunk), at;
        if (columns > chunk) {
            places = SPLIT_LEAST(places, columns - start % columns);
        }
        for (lane = 0; lane < count; lane++) {
            uint32_t *uppers = work->uppers + lane * SPLIT_PITCH;
            find_bases(feature, fast, split_fast_reference(feature, codes, first + lane),
                       stripes[lane], start, places, work->bases + lane * SPLIT_PITCH);
            if (start < columns) {
                memset(uppers, 0, width * sizeof *uppers);
            } else if (columns > chunk) {
                const uint8_t *above = codes + (size_t)(first + lane) * whole + start - columns;
                for (i = 0; i < places; i++) {
                    uppers[i] = fast->steps[2 * above[i] + 1];
                }
            }
        }
        for (at = 0; at < places; at += width) {
            if ((start + at) % columns == 0) {
                memset(work->lefts, 0, count * sizeof *work->lefts);
            }
            words = decode_piece(fast, work, at, SPLIT_LEAST(width, places - at), count, words,
                                 end);
            if (words == NULL) {
                return NULL;
            }
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
