/*
 * Makes training steps on batches from a file of the host, and marks the beginning and the end of
 * each. Losses and signs of every step go to another file, the weights behind the last to a third.
 * steps.h, which is written for the model, gives RUN_STEP, struct weights, BYTES_OF_BATCH (inputs
 * and targets of a step), BYTES_OF_ARENA, NUMBER_OF_PROBES and NUMBER_OF_STEPS.
 */
#include "board.h"
#include "steps.h"

#include <string.h>

#define GUARD 64
#define GUARD_BYTE 0xC3

static uint8_t batch[BYTES_OF_BATCH] __attribute__((aligned(16)));

/* What a step found. */
static struct {
    int64_t plus[NUMBER_OF_PROBES], minus[NUMBER_OF_PROBES];
    int8_t signs[NUMBER_OF_PROBES];
} found;

/* Nothing may be written beside the arena and the weights. */
static struct {
    uint8_t before[GUARD];
    uint8_t arena[BYTES_OF_ARENA] __attribute__((aligned(16)));
    uint8_t between[GUARD];
    struct WEIGHTS weights __attribute__((aligned(16)));
    uint8_t after[GUARD];
} memory __attribute__((section(".arena"), aligned(16)));

static int is_intact(const uint8_t *guard)
{
    int i;
    for (i = 0; i < GUARD; i++) {
        if (guard[i] != GUARD_BYTE) {
            return 0;
        }
    }
    return 1;
}

/* Tells how much stack a step takes; the weights are then as before. */
static void measure_stack(void)
{
    const struct WEIGHTS *initial = &INITIAL_WEIGHTS;
    uint32_t from, used;
    __asm volatile("mov %0, sp" : "=r"(from));
    board_paint_stack();
    (void)RUN_STEP(batch, 0u, &memory.weights, found, memory.arena);
    used = board_stack_used(from);
    memcpy(&memory.weights, initial, sizeof memory.weights);
    if (used == 0) {
        board_print("deep\n");
        board_exit(1);
    }
    board_print_number("stack", used);
}

int main(void)
{
    const int batches = board_open("batches.bin", 0);
    const int results = board_open("results.bin", 1);
    const int weights = board_open("weights.bin", 1);
    uint32_t seed = FIRST_SEED;
    int step, code;

    memset(&memory, GUARD_BYTE, sizeof memory);
    memcpy(&memory.weights, &INITIAL_WEIGHTS, sizeof memory.weights);
    for (step = 0; step < NUMBER_OF_STEPS; step++) {
        board_read(batches, batch, sizeof batch);
        if (step == 0) {
            measure_stack();
            board_print_number("arena", BYTES_OF_ARENA);
            board_start_counting();
            board_mark();
            board_mark();
        }
        /* What an earlier step left in the arena must not matter. */
        memset(memory.arena, 0x5A + step, sizeof memory.arena);
        board_mark();
        code = RUN_STEP(batch, seed, &memory.weights, found, memory.arena);
        board_mark();
        if (code != 0) {
            board_print_number("refused", (uint64_t)(int64_t)code);
            return 1;
        }
        if (!is_intact(memory.before) || !is_intact(memory.between) || !is_intact(memory.after)) {
            board_print("overflow\n");
            return 1;
        }
        board_write(results, found.plus, sizeof found.plus);
        board_write(results, found.minus, sizeof found.minus);
        board_write(results, found.signs, sizeof found.signs);
        seed += SEEDS_OF_A_STEP;
    }
    board_write(weights, &memory.weights, sizeof memory.weights);
    board_print_marks();
    return 0;
}
