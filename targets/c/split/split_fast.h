/* The entropy coder of split_codec.c on prepared tables: the same bytes, several times as fast.
 *
 * For little-endian machines with 64-bit registers. A group's lanes take turns in one loop, so that
 * the processor works on all of them at once; nothing branches on a code.
 */
#ifndef SPLIT_FAST_H
#define SPLIT_FAST_H

#include "split_codec.h"

/* Tables of a feature. An entry is a code in a context of a stripe; entries are numbered by stripe,
 * context and code.
 *
 * reciprocals: for each entry, ceil(2^44 / frequency).
 * pairs: for each entry, start | (4096 - frequency) << 16.
 * entry_bases: for each stripe, its first entry. All entries are below 65536.
 * rows: for each stripe and context, `words` words of thresholds and then, two in a word, for each
 *     code frequency | start << 16; `row_words` words in all. Four thresholds lie in a word, each
 *     as 0x8000 - start of the codes 1, 2, ..; 0x7000 where there is no code. With 68 words, the
 *     first 4 have the starts of the codes 16, 32, ..; four others follow for each 16 codes: of
 *     the codes 16 q + 1, 16 q + 2, ..
 * row_bases: for each stripe, the word at which its first row begins.
 * steps: for each of 256 codes, how many words further it puts the row of the code to its right,
 *     and that of the code below it.
 * reference_step: words between the rows of neighbouring reference codes.
 */
struct split_fast_feature {
    const uint64_t *reciprocals;
    const uint32_t *pairs;
    const uint32_t *entry_bases;
    const uint64_t *rows;
    const uint32_t *row_bases;
    const uint32_t *steps;
    uint32_t words;
    uint32_t reference_step;
};

/* One for each feature; a feature without `rows` has none and is coded the plain way. */
struct split_fast {
    const struct split_fast_feature *features;
};

/* As encode_feature and decode_feature of split_codec.c: all codes of a feature of a sample. */
uint8_t *split_fast_encode(const split_feature *feature, const struct split_fast_feature *fast,
                           const uint8_t *codes, uint32_t *states, const uint8_t *low,
                           uint8_t *words);
const uint8_t *split_fast_decode(const split_feature *feature,
                                 const struct split_fast_feature *fast, uint8_t *codes,
                                 uint32_t *states, const uint8_t *words, const uint8_t *end);

#endif
