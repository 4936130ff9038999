#include "split_codec.h"

#include <string.h>

#ifdef SPLIT_FAST
#include "split_fast.h"
#endif

#define PROBABILITY_BITS 12
#define TOTAL 4096u
/* A state stays in [LOWEST, 2^32). */
#define LOWEST 65536u
#define LARGEST_PAYLOAD 0xFFFFFFFFu
#define VERSION 1

/* ---------------------------------------------------------------- bytes and sizes */

static void put_u16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value & 0xFF);
    at[1] = (uint8_t)(value >> 8 & 0xFF);
}

static void put_u32(uint8_t *at, uint32_t value)
{
    put_u16(at, value & 0xFFFF);
    put_u16(at + 2, value >> 16);
}

static uint32_t get_u32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint32_t plane_of(const split_feature *feature)
{
    return feature->rows * feature->columns;
}

/* Bits of a packed code; none where there is only one. */
static uint32_t bits_of(uint32_t levels)
{
    uint32_t bits = 0;
    while (levels > (uint32_t)1 << bits) {
        bits++;
    }
    return bits;
}

static size_t packed_stripe_bytes(const split_feature *feature, const split_stripe *stripe)
{
    const uint64_t count = (uint64_t)stripe->channels * plane_of(feature);
    return (size_t)((count * bits_of(stripe->levels) + 7) / 8);
}

static uint64_t packed_sample_bytes(const split_codec *codec)
{
    uint64_t bytes = 0;
    uint32_t f, s;
    for (f = 0; f < codec->feature_count; f++) {
        const split_feature *feature = &codec->features[f];
        for (s = 0; s < feature->stripe_count; s++) {
            bytes += packed_stripe_bytes(feature, &feature->stripes[s]);
        }
    }
    return bytes;
}

uint64_t split_payload_bytes(const split_codec *codec, uint32_t samples)
{
    if (codec->coding == SPLIT_PACKED) {
        return packed_sample_bytes(codec) * samples;
    }
    if (codec->coding == SPLIT_RANS) {
        return 4 * (uint64_t)codec->lanes + 2 * (uint64_t)codec->codes * samples;
    }
    return (uint64_t)codec->codes * samples;
}

uint64_t split_frame_bytes(const split_codec *codec, uint32_t samples)
{
    return SPLIT_HEADER_BYTES + (uint64_t)codec->side_bytes * samples +
           split_payload_bytes(codec, samples) + SPLIT_CRC_BYTES;
}

/* ---------------------------------------------------------------- CRC */

uint32_t split_crc(const uint32_t *tables, const uint8_t *data, size_t size)
{
    /* The polynomial 0xEDB88320 by half bytes: 64 bytes of table. */
    static const uint32_t halves[16] = {
        0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u,
        0x4DB26158u, 0x5005713Cu, 0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
        0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu,
    };
    uint32_t crc = 0xFFFFFFFFu;
    size_t at = 0;
    if (tables != NULL) {
        /* Table t has the CRC of a byte with t zero bytes behind it. */
        for (; size - at >= 8; at += 8) {
            const uint32_t low = crc ^ get_u32(data + at);
            const uint32_t high = get_u32(data + at + 4);
            crc = tables[7 * 256 + (low & 0xFF)] ^ tables[6 * 256 + (low >> 8 & 0xFF)] ^
                  tables[5 * 256 + (low >> 16 & 0xFF)] ^ tables[4 * 256 + (low >> 24)] ^
                  tables[3 * 256 + (high & 0xFF)] ^ tables[2 * 256 + (high >> 8 & 0xFF)] ^
                  tables[256 + (high >> 16 & 0xFF)] ^ tables[high >> 24];
        }
    }
    for (; at < size; at++) {
        crc ^= data[at];
        crc = crc >> 4 ^ halves[crc & 15];
        crc = crc >> 4 ^ halves[crc & 15];
    }
    return ~crc;
}

/* ---------------------------------------------------------------- codes */

/* Whether every code is one of its stripe's. */
static int codes_fit(const split_codec *codec, const uint8_t *codes, uint32_t samples)
{
    uint32_t n, f, s;
    for (n = 0; n < samples; n++) {
        for (f = 0; f < codec->feature_count; f++) {
            const split_feature *feature = &codec->features[f];
            for (s = 0; s < feature->stripe_count; s++) {
                const split_stripe *stripe = &feature->stripes[s];
                const size_t count = (size_t)stripe->channels * plane_of(feature);
                uint8_t most = 0;
                size_t i;
                for (i = 0; i < count; i++) {
                    most = codes[i] > most ? codes[i] : most;
                }
                if (most >= stripe->levels) {
                    return 0;
                }
                codes += count;
            }
        }
    }
    return 1;
}

/* Whether every group's lowest value is not above its highest. */
static int ranges_fit(const int8_t *ranges, size_t bytes)
{
    size_t i;
    for (i = 0; i < bytes; i += 2) {
        if (ranges[i + 1] < ranges[i]) {
            return 0;
        }
    }
    return 1;
}

static void pack_stripe(const uint8_t *codes, size_t count, uint32_t bits, uint8_t *out)
{
    uint32_t waiting = 0, held = 0;
    size_t i;
    if (bits == 0) {
        return;
    }
    for (i = 0; i < count; i++) {
        waiting |= (uint32_t)codes[i] << held;
        held += bits;
        if (held >= 8) {
            *out++ = (uint8_t)(waiting & 0xFF);
            waiting >>= 8;
            held -= 8;
        }
    }
    if (held > 0) {
        *out = (uint8_t)(waiting & 0xFF);
    }
}

static void write_packed(const split_codec *codec, const uint8_t *codes, uint32_t samples,
                         uint8_t *out)
{
    uint32_t n, f, s;
    for (n = 0; n < samples; n++) {
        for (f = 0; f < codec->feature_count; f++) {
            const split_feature *feature = &codec->features[f];
            for (s = 0; s < feature->stripe_count; s++) {
                const split_stripe *stripe = &feature->stripes[s];
                const size_t count = (size_t)stripe->channels * plane_of(feature);
                pack_stripe(codes, count, bits_of(stripe->levels), out);
                codes += count;
                out += packed_stripe_bytes(feature, stripe);
            }
        }
    }
}

/* ---------------------------------------------------------------- entropy coder */

/* The stripe of each channel of a group. */
static void stripes_of(const split_feature *feature, uint32_t first, uint32_t count,
                       const split_stripe **found)
{
    uint32_t stripe = 0, end = feature->stripes[0].channels, lane;
    for (lane = 0; lane < count; lane++) {
        while (first + lane >= end) {
            stripe++;
            end += feature->stripes[stripe].channels;
        }
        found[lane] = &feature->stripes[stripe];
    }
}

static uint32_t capped(uint32_t code, uint32_t cap)
{
    return code < cap ? code : cap;
}

/* The row of a stripe's table for the code at a place of a channel. */
static const uint16_t *row_of(const split_feature *feature, const split_stripe *stripe,
                              const uint8_t *codes, uint32_t channel, uint32_t row,
                              uint32_t column)
{
    const uint32_t *caps = feature->caps;
    const size_t plane = plane_of(feature);
    const size_t place = (size_t)row * feature->columns + column;
    const uint8_t *here = codes + channel * plane + place;
    size_t context = column > 0 ? capped(here[-1], caps[0]) : 0;
    context = context * (caps[1] + 1);
    if (row > 0) {
        context += capped(here[-(ptrdiff_t)feature->columns], caps[1]);
    }
    context = context * (caps[2] + 1);
    if (feature->references != NULL && feature->references[channel] >= 0) {
        context += capped(codes[(size_t)feature->references[channel] * plane + place], caps[2]);
    }
    return stripe->starts + context * (stripe->levels + 1);
}

/* Encodes a group of channels, the last place first. Words go down from `words`, not below `low`;
 * returns where the last one is, NULL where there is no room. */
static uint8_t *encode_group(const split_feature *feature, const uint8_t *codes, uint32_t first,
                             uint32_t count, uint32_t *states, const uint8_t *low, uint8_t *words)
{
    const split_stripe *stripes[SPLIT_LARGEST_LANES];
    const size_t plane = plane_of(feature);
    uint32_t row, column, lane;
    stripes_of(feature, first, count, stripes);
    for (row = feature->rows; row-- > 0;) {
        for (column = feature->columns; column-- > 0;) {
            for (lane = count; lane-- > 0;) {
                const uint32_t channel = first + lane;
                const uint16_t *starts =
                    row_of(feature, stripes[lane], codes, channel, row, column);
                const uint32_t code =
                    codes[channel * plane + (size_t)row * feature->columns + column];
                const uint32_t start = starts[code];
                const uint32_t frequency = starts[code + 1] - start;
                uint32_t state = states[lane], quotient;
                if (state >> (32 - PROBABILITY_BITS) >= frequency) {
                    if (words - low < 2) {
                        return NULL;
                    }
                    words -= 2;
                    put_u16(words, state & 0xFFFF);
                    state >>= 16;
                }
                quotient = state / frequency;
                states[lane] = state + start + quotient * (TOTAL - frequency);
            }
        }
    }
    return words;
}

static uint8_t *encode_feature(const split_codec *codec, uint32_t index, const uint8_t *codes,
                               uint32_t *states, const uint8_t *low, uint8_t *words)
{
    const split_feature *feature = &codec->features[index];
    const uint32_t lanes = feature->lanes;
    uint32_t group = (feature->channels + lanes - 1) / lanes;
#ifdef SPLIT_FAST
    if (codec->fast != NULL && codec->fast->features[index].rows != NULL) {
        return split_fast_encode(feature, &codec->fast->features[index], codes, states, low, words);
    }
#endif
    while (words != NULL && group-- > 0) {
        const uint32_t first = group * lanes, rest = feature->channels - first;
        words = encode_group(feature, codes, first, rest < lanes ? rest : lanes, states, low, words);
    }
    return words;
}

/* Writes the payload to `out`; returns its bytes, 0 where it ends beyond `end`. */
static size_t write_rans(const split_codec *codec, const uint8_t *codes, uint32_t samples,
                         uint8_t *out, uint8_t *end)
{
    uint32_t states[SPLIT_LARGEST_LANES];
    const size_t head = 4 * (size_t)codec->lanes;
    const uint8_t *at = codes + (size_t)codec->codes * samples;
    uint8_t *words = end;
    size_t bytes;
    uint32_t n, f, lane;
    if ((size_t)(end - out) < head) {
        return 0;
    }
    for (lane = 0; lane < SPLIT_LARGEST_LANES; lane++) {
        states[lane] = LOWEST;
    }
    for (n = 0; n < samples; n++) {
        for (f = codec->feature_count; f-- > 0;) {
            at -= (size_t)codec->features[f].channels * plane_of(&codec->features[f]);
            words = encode_feature(codec, f, at, states, out + head, words);
            if (words == NULL) {
                return 0;
            }
        }
    }
    for (lane = 0; lane < codec->lanes; lane++) {
        put_u32(out + 4 * lane, states[lane]);
    }
    bytes = (size_t)(end - words);
    memmove(out + head, words, bytes);
    return head + bytes;
}

/* ---------------------------------------------------------------- writer */

int64_t split_write_frame(const split_codec *codec, uint32_t kind, const uint8_t *codes,
                          const int8_t *ranges, uint32_t samples, uint8_t *frame, size_t capacity)
{
    const size_t side = (size_t)codec->side_bytes * samples;
    const uint64_t most = split_payload_bytes(codec, samples);
    const size_t around = SPLIT_HEADER_BYTES + side + SPLIT_CRC_BYTES;
    uint8_t *payload;
    size_t bytes = (size_t)most, end;
    if (kind > SPLIT_CONTROL) {
        return -SPLIT_BAD_KIND;
    }
    if (samples == 0 || samples > 65535) {
        return -SPLIT_SAMPLES;
    }
    if (most > LARGEST_PAYLOAD) {
        return -SPLIT_PAYLOAD_SIZE;
    }
    if (capacity < around || (codec->coding != SPLIT_RANS && capacity - around < bytes)) {
        return -SPLIT_CAPACITY;
    }
    if (!codes_fit(codec, codes, samples)) {
        return -SPLIT_BAD_CODE;
    }
    if (side > 0 && !ranges_fit(ranges, side)) {
        return -SPLIT_RANGE;
    }
    payload = frame + SPLIT_HEADER_BYTES + side;
    if (codec->coding == SPLIT_RANS) {
        /* Space for more than the largest payload is none: its bytes would be touched in vain. */
        const size_t room = capacity - around < bytes ? capacity - around : bytes;
        bytes = write_rans(codec, codes, samples, payload, payload + room);
        if (bytes == 0) {
            return -SPLIT_CAPACITY;
        }
    } else if (codec->coding == SPLIT_PACKED) {
        write_packed(codec, codes, samples, payload);
    } else {
        memcpy(payload, codes, bytes);
    }
    frame[0] = 0x49;
    frame[1] = 0x46;
    frame[2] = VERSION;
    frame[3] = (uint8_t)(kind | codec->coding << 4);
    put_u32(frame + 4, codec->session);
    put_u16(frame + 8, samples);
    put_u32(frame + 10, (uint32_t)bytes);
    if (side > 0) {
        memcpy(frame + SPLIT_HEADER_BYTES, ranges, side);
    }
    end = SPLIT_HEADER_BYTES + side + bytes;
    put_u32(frame + end, split_crc(codec->crc_tables, frame, end));
    return (int64_t)(end + SPLIT_CRC_BYTES);
}

/* ---------------------------------------------------------------- reader */

#ifndef SPLIT_WRITER_ONLY

/* Returns whether the bits behind the last code are 0. */
static int unpack_stripe(const uint8_t *data, size_t count, uint32_t bits, uint8_t *codes)
{
    const uint32_t mask = ((uint32_t)1 << bits) - 1;
    uint32_t waiting = 0, held = 0;
    size_t i;
    if (bits == 0) {
        memset(codes, 0, count);
        return 1;
    }
    for (i = 0; i < count; i++) {
        if (held < bits) {
            waiting |= (uint32_t)*data++ << held;
            held += 8;
        }
        codes[i] = (uint8_t)(waiting & mask);
        waiting >>= bits;
        held -= bits;
    }
    return waiting == 0;
}

static int read_packed(const split_codec *codec, const uint8_t *data, uint32_t samples,
                       uint8_t *codes)
{
    uint32_t n, f, s;
    for (n = 0; n < samples; n++) {
        for (f = 0; f < codec->feature_count; f++) {
            const split_feature *feature = &codec->features[f];
            for (s = 0; s < feature->stripe_count; s++) {
                const split_stripe *stripe = &feature->stripes[s];
                const size_t count = (size_t)stripe->channels * plane_of(feature);
                if (!unpack_stripe(data, count, bits_of(stripe->levels), codes)) {
                    return 0;
                }
                codes += count;
                data += packed_stripe_bytes(feature, stripe);
            }
        }
    }
    return 1;
}

/* Decodes a group of channels; returns where the next word is, NULL where one is missing. */
static const uint8_t *decode_group(const split_feature *feature, uint8_t *codes, uint32_t first,
                                   uint32_t count, uint32_t *states, const uint8_t *words,
                                   const uint8_t *end)
{
    const split_stripe *stripes[SPLIT_LARGEST_LANES];
    const size_t plane = plane_of(feature);
    uint32_t row, column, lane;
    stripes_of(feature, first, count, stripes);
    for (row = 0; row < feature->rows; row++) {
        for (column = 0; column < feature->columns; column++) {
            for (lane = 0; lane < count; lane++) {
                const uint32_t channel = first + lane;
                const uint16_t *starts =
                    row_of(feature, stripes[lane], codes, channel, row, column);
                const uint32_t slot = states[lane] & (TOTAL - 1);
                uint32_t low = 0, high = stripes[lane]->levels, state;
                /* starts[low] <= slot < starts[high] */
                while (high - low > 1) {
                    const uint32_t middle = (low + high) / 2;
                    if (starts[middle] <= slot) {
                        low = middle;
                    } else {
                        high = middle;
                    }
                }
                state = (uint32_t)(starts[low + 1] - starts[low]) *
                            (states[lane] >> PROBABILITY_BITS) + slot - starts[low];
                if (state < LOWEST) {
                    if (end - words < 2) {
                        return NULL;
                    }
                    state = state << 16 | (uint32_t)words[0] | (uint32_t)words[1] << 8;
                    words += 2;
                }
                states[lane] = state;
                codes[channel * plane + (size_t)row * feature->columns + column] = (uint8_t)low;
            }
        }
    }
    return words;
}

static const uint8_t *decode_feature(const split_codec *codec, uint32_t index, uint8_t *codes,
                                     uint32_t *states, const uint8_t *words, const uint8_t *end)
{
    const split_feature *feature = &codec->features[index];
    const uint32_t lanes = feature->lanes;
    uint32_t first;
#ifdef SPLIT_FAST
    if (codec->fast != NULL && codec->fast->features[index].rows != NULL) {
        return split_fast_decode(feature, &codec->fast->features[index], codes, states, words, end);
    }
#endif
    for (first = 0; words != NULL && first < feature->channels; first += lanes) {
        const uint32_t rest = feature->channels - first;
        words = decode_group(feature, codes, first, rest < lanes ? rest : lanes, states, words, end);
    }
    return words;
}

/* Returns whether the payload is whole: it has just the words that the codes need, and the states
 * end where the writer began. */
static int read_rans(const split_codec *codec, const uint8_t *data, size_t bytes, uint32_t samples,
                     uint8_t *codes)
{
    uint32_t states[SPLIT_LARGEST_LANES] = {0};
    const size_t head = 4 * (size_t)codec->lanes;
    const uint8_t *words = data + head, *end = data + bytes;
    uint32_t n, f, lane;
    if (bytes < head || (bytes - head) % 2 != 0) {
        return 0;
    }
    for (lane = 0; lane < codec->lanes; lane++) {
        states[lane] = get_u32(data + 4 * lane);
        if (states[lane] < LOWEST) {
            return 0;
        }
    }
    for (n = 0; n < samples; n++) {
        for (f = 0; f < codec->feature_count; f++) {
            words = decode_feature(codec, f, codes, states, words, end);
            if (words == NULL) {
                return 0;
            }
            codes += (size_t)codec->features[f].channels * plane_of(&codec->features[f]);
        }
    }
    for (lane = 0; lane < codec->lanes; lane++) {
        if (states[lane] != LOWEST) {
            return 0;
        }
    }
    return words == end;
}

static int read_payload(const split_codec *codec, const uint8_t *data, size_t bytes,
                        uint32_t samples, uint8_t *codes)
{
    if (codec->coding == SPLIT_RANS) {
        return read_rans(codec, data, bytes, samples, codes);
    }
    if (bytes != split_payload_bytes(codec, samples)) {
        return 0;
    }
    if (codec->coding == SPLIT_RAW) {
        memcpy(codes, data, bytes);
    } else if (!read_packed(codec, data, samples, codes)) {
        return 0;
    }
    return codes_fit(codec, codes, samples);
}

int32_t split_read_frame(const split_codec *codec, const uint8_t *frame, size_t size,
                         uint32_t largest_samples, uint32_t *kind, uint32_t *samples,
                         uint8_t *codes, int8_t *ranges)
{
    uint32_t count, bytes;
    size_t side, end;
    if (size < SPLIT_HEADER_BYTES + SPLIT_CRC_BYTES) {
        return SPLIT_TOO_SHORT;
    }
    if (frame[0] != 0x49 || frame[1] != 0x46) {
        return SPLIT_MAGIC;
    }
    if (frame[2] != VERSION) {
        return SPLIT_VERSION;
    }
    if ((frame[3] & 15) > SPLIT_CONTROL) {
        return SPLIT_BAD_KIND;
    }
    if (frame[3] >> 4 != codec->coding) {
        return SPLIT_BAD_CODING;
    }
    if (get_u32(frame + 4) != codec->session) {
        return SPLIT_SESSION;
    }
    count = (uint32_t)frame[8] | (uint32_t)frame[9] << 8;
    if (count == 0 || count > largest_samples) {
        return SPLIT_SAMPLES;
    }
    bytes = get_u32(frame + 10);
    if (bytes > split_payload_bytes(codec, count)) {
        return SPLIT_PAYLOAD_SIZE;
    }
    if (size != SPLIT_HEADER_BYTES + (uint64_t)codec->side_bytes * count + bytes + SPLIT_CRC_BYTES) {
        return SPLIT_LENGTH;
    }
    end = size - SPLIT_CRC_BYTES;
    if (get_u32(frame + end) != split_crc(codec->crc_tables, frame, end)) {
        return SPLIT_CRC;
    }
    side = (size_t)codec->side_bytes * count;
    if (!read_payload(codec, frame + SPLIT_HEADER_BYTES + side, bytes, count, codes)) {
        return SPLIT_PAYLOAD;
    }
    if (side > 0) {
        memcpy(ranges, frame + SPLIT_HEADER_BYTES, side);
        if (!ranges_fit(ranges, side)) {
            return SPLIT_RANGE;
        }
    }
    *kind = frame[3] & 15;
    *samples = count;
    return 0;
}

#endif
