/* Mutates frames and reads them, plainly and with prepared tables.
 *
 *     fuzz FRAMES SEED ROUNDS SAMPLES
 *
 * FRAMES has frames of `model_codec`, each behind its length (4 bytes). All buffers are allocations
 * of just their size, so that a sanitizer sees one byte too many. What is taken must be written the
 * same way again. Prints how many were taken and refused.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_codec.h"
#include "split_fast.h"

extern const struct split_fast model_fast;

static uint64_t seed;

static uint32_t random_below(uint32_t end)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)((seed >> 20) % end);
}

static void put(uint8_t *at, uint32_t value)
{
    int i;
    for (i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> 8 * i);
    }
}

/* A damaged copy in an allocation of its size. */
static uint8_t *mutated(const uint8_t *frame, size_t size, size_t *bytes)
{
    size_t length = size;
    uint8_t *copy;
    uint32_t kind = random_below(8), times;
    if (kind == 0) {
        length = random_below((uint32_t)size + 1);
    } else if (kind == 1) {
        length = size + 1 + random_below(8);
    }
    copy = malloc(length > 0 ? length : 1);
    memset(copy, 0, length);
    memcpy(copy, frame, length < size ? length : size);
    for (times = random_below(4); length > 0 && times-- > 0;) {
        const size_t at = random_below((uint32_t)length);
        const uint32_t how = random_below(4);
        if (how == 0) {
            copy[at] = (uint8_t)(copy[at] ^ 1u << random_below(8));
        } else if (how == 1) {
            copy[at] = (uint8_t)random_below(256);
        } else if (how == 2) {
            copy[at] = random_below(2) ? 0 : 255;
        } else {
            copy[at] = copy[random_below((uint32_t)length)];
        }
    }
    if (length >= 18 && random_below(8) > 0) {
        if (random_below(4) > 0) {
            memcpy(copy, frame, 8);
        }
        if (random_below(2) > 0 && length >= 18 + (size_t)copy[8] * model_codec.side_bytes) {
            put(copy + 10, (uint32_t)(length - 18 - (size_t)copy[8] * model_codec.side_bytes));
        }
        put(copy + length - 4, split_crc(NULL, copy, length - 4));
    }
    *bytes = length;
    return copy;
}

/* Reads a frame; writes what was taken again. Returns the fault. */
static int32_t check(const split_codec *codec, const uint8_t *frame, size_t size, uint32_t largest,
                     uint8_t *codes)
{
    int8_t *ranges = malloc((size_t)largest * codec->side_bytes + 1);
    uint32_t kind, samples;
    const int32_t fault =
        split_read_frame(codec, frame, size, largest, &kind, &samples, codes, ranges);
    if (fault == 0) {
        uint8_t *again = malloc(size);
        if (split_write_frame(codec, kind, codes, ranges, samples, again, size) != (int64_t)size ||
            memcmp(frame, again, size) != 0) {
            fprintf(stderr, "a frame that was taken is written another way\n");
            abort();
        }
        free(again);
    }
    free(ranges);
    return fault;
}

int main(int count, char **arguments)
{
    split_codec fast = model_codec;
    uint32_t rounds, largest, frames = 0;
    unsigned long taken = 0, refused = 0;
    uint8_t *stored[64], head[4];
    size_t sizes[64];
    FILE *file;
    if (count != 5 || (file = fopen(arguments[1], "rb")) == NULL) {
        return 2;
    }
    seed = strtoull(arguments[2], NULL, 10) * 2654435761u + 88172645463325252u;
    rounds = (uint32_t)strtoul(arguments[3], NULL, 10);
    largest = (uint32_t)strtoul(arguments[4], NULL, 10);
    fast.fast = &model_fast;
    while (frames < 64 && fread(head, 1, 4, file) == 4) {
        sizes[frames] = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16;
        stored[frames] = malloc(sizes[frames]);
        if (fread(stored[frames], 1, sizes[frames], file) != sizes[frames]) {
            return 2;
        }
        frames++;
    }
    fclose(file);
    while (rounds-- > 0) {
        const uint32_t chosen = random_below(frames);
        size_t size;
        uint8_t *frame = mutated(stored[chosen], sizes[chosen], &size);
        uint8_t *first = malloc((size_t)largest * fast.codes);
        uint8_t *second = malloc((size_t)largest * fast.codes);
        const int32_t plain = check(&model_codec, frame, size, largest, first);
        const int32_t quick = check(&fast, frame, size, largest, second);
        if (plain != quick ||
            (plain == 0 && memcmp(first, second, (frame[8] | (size_t)frame[9] << 8) * fast.codes))) {
            fprintf(stderr, "faults %d and %d\n", (int)plain, (int)quick);
            abort();
        }
        if (plain == 0) {
            taken++;
        } else {
            refused++;
        }
        free(frame);
        free(first);
        free(second);
    }
    while (frames-- > 0) {
        free(stored[frames]);
    }
    printf("%lu %lu\n", taken, refused);
    return 0;
}
