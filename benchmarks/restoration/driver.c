/* Runs an emitted table network on one picture many times, with threads that share its rows.

   Compiled with -DNETWORK=name and -DNETWORK_HEADER="name.h". Threads are started anew for every
   picture: a program that enlarges one picture now and then pays for that too. */
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include NETWORK_HEADER

#define MOST_THREADS 16
#define JOINED(name, part) name##part
#define PART_OF(name, part) JOINED(name, part)

struct band {
    const uint8_t *picture;
    uint8_t *result;
    void *scratch;
    int width, height, result_width, first, end;
};

static void *run_band(void *given)
{
    const struct band *b = given;
    PART_OF(NETWORK, _run_band)(b->picture, b->width, b->width, b->height, b->result,
                                b->result_width, b->first, b->end, b->scratch);
    return NULL;
}

size_t driver_scratch_bytes(int width)
{
    return (PART_OF(NETWORK, _scratch_bytes)(width) + 63) & ~(size_t)63;
}

/* `scratch` has driver_scratch_bytes for each thread; -1 where a thread cannot be started. */
int driver_run(const uint8_t *picture, int width, int height, uint8_t *result, int result_width,
               int cell_rows, int threads, int64_t count, uint8_t *scratch)
{
    struct band bands[MOST_THREADS];
    pthread_t started[MOST_THREADS];
    int64_t i;
    int t;
    for (t = 0; t < threads; t++) {
        struct band *b = &bands[t];
        b->picture = picture;
        b->result = result;
        b->scratch = scratch + (size_t)t * driver_scratch_bytes(width);
        b->width = width;
        b->height = height;
        b->result_width = result_width;
        b->first = (int)((int64_t)cell_rows * t / threads);
        b->end = (int)((int64_t)cell_rows * (t + 1) / threads);
    }
    for (i = 0; i < count; i++) {
        int running = 1, failed = 0;
        for (; running < threads && !failed; running++) {
            failed = pthread_create(&started[running], NULL, run_band, &bands[running]);
        }
        run_band(&bands[0]);
        for (t = 1; t < running - (failed != 0); t++) {
            pthread_join(started[t], NULL);
        }
        if (failed) {
            return -1;
        }
    }
    return 0;
}
