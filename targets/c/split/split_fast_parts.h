/* What the fast encoder and the fast decoder share. */
#ifndef SPLIT_FAST_PARTS_H
#define SPLIT_FAST_PARTS_H

#include "split_codec.h"

#if defined(__GNUC__)
#define SPLIT_INLINE static inline __attribute__((always_inline))
#else
#define SPLIT_INLINE static inline
#endif

/* In front of loops over lanes. Others than gcc unroll loops of known length themselves. */
#if !defined(SPLIT_UNROLL)
#if defined(__GNUC__) && !defined(__clang__)
#define SPLIT_UNROLL _Pragma("GCC unroll 16")
#else
#define SPLIT_UNROLL
#endif
#endif

/* Places that are worked on at once, and from one lane's to the next one's: no power of two, which
 * would put all lanes on the same lines of the cache. */
#define SPLIT_CHUNK 256u
#define SPLIT_PITCH 272u

#define SPLIT_LEAST(a, b) ((a) < (b) ? (a) : (b))

/* Numbers of lanes that have a loop of their own. */
#define SPLIT_CASES(one) one(1) one(2) one(3) one(4) one(6) one(8) one(12) one(16)

/* Index of the stripe of each channel of a group. */
static inline void split_fast_stripes(const split_feature *feature, uint32_t first,
                                      uint32_t count, uint32_t *found)
{
    uint32_t stripe = 0, end = feature->stripes[0].channels, lane;
    for (lane = 0; lane < count; lane++) {
        while (first + lane >= end) {
            stripe++;
            end += feature->stripes[stripe].channels;
        }
        found[lane] = stripe;
    }
}

/* The codes of the channel that a channel refers to, NULL where it does not. */
static inline const uint8_t *split_fast_reference(const split_feature *feature,
                                                  const uint8_t *codes, uint32_t channel)
{
    if (feature->references == NULL || feature->references[channel] < 0) {
        return NULL;
    }
    return codes + (size_t)feature->references[channel] * feature->rows * feature->columns;
}

#endif
