/* Frames of a split model: codes of the features at a cut, entropy coded, as bytes for the wire.
 *
 * C99 without a C library beyond memcpy, memmove and memset; no memory of its own, no floats. A
 * constant `split_codec` says what both sides agreed on. The definition of the bytes, which other
 * implementations follow to the last bit, is in the documentation ("The frame of a split model").
 *
 * Macros: SPLIT_WRITER_ONLY leaves the reader out; SPLIT_FAST lets a codec have prepared tables
 * (split_fast.h).
 */
#ifndef SPLIT_CODEC_H
#define SPLIT_CODEC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes around the payload, and the most lanes that a feature has. */
#define SPLIT_HEADER_BYTES 14
#define SPLIT_CRC_BYTES 4
#define SPLIT_LARGEST_LANES 64

enum split_coding { SPLIT_RAW = 0, SPLIT_PACKED = 1, SPLIT_RANS = 2 };

enum split_kind {
    SPLIT_FEATURE = 0,
    SPLIT_GRADIENT = 1,
    SPLIT_LABEL = 2,
    SPLIT_LOSS_SIGN = 3,
    SPLIT_CONTROL = 4
};

/* What is wrong with a frame, in the order in which the reader looks; 0 for nothing. */
enum split_fault {
    SPLIT_TOO_SHORT = 1,
    SPLIT_MAGIC = 2,
    SPLIT_VERSION = 3,
    SPLIT_BAD_KIND = 4,
    SPLIT_BAD_CODING = 5,
    SPLIT_SESSION = 6,
    SPLIT_SAMPLES = 7,
    SPLIT_PAYLOAD_SIZE = 8,
    SPLIT_LENGTH = 9,
    SPLIT_CRC = 10,
    SPLIT_PAYLOAD = 11,
    SPLIT_RANGE = 12,
    /* Of the writer: the caller's memory is too small, a code is none of its stripe's levels. */
    SPLIT_CAPACITY = 100,
    SPLIT_BAD_CODE = 101
};

/* A run of channels with one quantizer. `starts` has a row of levels + 1 numbers for each context:
 * the sum of the frequencies before each code, and 4096; NULL where nothing is entropy coded. */
typedef struct {
    uint32_t channels;
    uint32_t levels;
    const uint16_t *starts;
} split_stripe;

/* A feature: planes of codes, channel by channel. `references` has the channel whose codes are part
 * of the context of a channel's codes, -1 for none; NULL where no channel has one. */
typedef struct {
    uint32_t channels;
    uint32_t rows;
    uint32_t columns;
    uint32_t lanes;
    uint32_t caps[3];
    uint32_t side_bytes;
    uint32_t stripe_count;
    const split_stripe *stripes;
    const int32_t *references;
} split_feature;

struct split_fast;

/* The codec. `lanes` is the most of its features, `codes` and `side_bytes` are those of a sample.
 * `crc_tables`: 8 x 256 numbers for a faster CRC, or NULL. `fast`: tables of split_fast.h, or NULL;
 * only read where SPLIT_FAST is defined. */
typedef struct {
    uint32_t session;
    uint32_t coding;
    uint32_t codes;
    uint32_t side_bytes;
    uint32_t lanes;
    uint32_t feature_count;
    const split_feature *features;
    const uint32_t *crc_tables;
    const struct split_fast *fast;
} split_codec;

/* Bytes of the largest payload and the largest frame of so many samples. */
uint64_t split_payload_bytes(const split_codec *codec, uint32_t samples);
uint64_t split_frame_bytes(const split_codec *codec, uint32_t samples);

/* CRC-32 of zlib, PNG and Ethernet. `tables` as in split_codec. */
uint32_t split_crc(const uint32_t *tables, const uint8_t *data, size_t size);

/* Writes a frame.
 *
 * codes: samples x codec->codes bytes. ranges: samples x codec->side_bytes; not read where there
 * are none. frame: all `capacity` bytes are working memory, and the frame begins at its first.
 * split_frame_bytes() always suffice; less does where the entropy coder finds short codes.
 * Returns the bytes of the frame, or minus a split_fault. */
int64_t split_write_frame(const split_codec *codec, uint32_t kind, const uint8_t *codes,
                          const int8_t *ranges, uint32_t samples, uint8_t *frame, size_t capacity);

#ifndef SPLIT_WRITER_ONLY
/* Reads a frame from anybody.
 *
 * Nothing is written before the frame's length and CRC are right. codes and ranges have room for
 * largest_samples samples; what is in them after a fault means nothing. kind and samples are set
 * where 0 comes back. Returns 0 or a split_fault. */
int32_t split_read_frame(const split_codec *codec, const uint8_t *frame, size_t size,
                         uint32_t largest_samples, uint32_t *kind, uint32_t *samples,
                         uint8_t *codes, int8_t *ranges);
#endif

#ifdef __cplusplus
}
#endif

#endif
