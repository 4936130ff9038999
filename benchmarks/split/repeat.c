/* Times the codec from C: so many calls in a row, without what a call from Python adds. */
#include <time.h>

#include "split_codec.h"

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Seconds of one `split_write_frame`; -1 where it fails. */
double repeat_write(int64_t (*write_frame)(const split_codec *, uint32_t, const uint8_t *,
                                           const int8_t *, uint32_t, uint8_t *, size_t),
                    const split_codec *codec, const uint8_t *codes, uint32_t samples,
                    uint8_t *frame, size_t capacity, uint32_t times)
{
    const double start = seconds();
    uint32_t i;
    for (i = 0; i < times; i++) {
        if (write_frame(codec, 0, codes, 0, samples, frame, capacity) < 0) {
            return -1;
        }
    }
    return (seconds() - start) / times;
}

/* Likewise of one `split_read_frame`. */
double repeat_read(int32_t (*read_frame)(const split_codec *, const uint8_t *, size_t, uint32_t,
                                         uint32_t *, uint32_t *, uint8_t *, int8_t *),
                   const split_codec *codec, const uint8_t *frame, size_t size, uint32_t samples,
                   uint8_t *codes, uint32_t times)
{
    const double start = seconds();
    uint32_t i, kind, count;
    for (i = 0; i < times; i++) {
        if (read_frame(codec, frame, size, samples, &kind, &count, codes, 0) != 0) {
            return -1;
        }
    }
    return (seconds() - start) / times;
}
