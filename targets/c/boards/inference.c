/*
 * Runs a model on inputs from a file of the host, writes its outputs to another, and marks the
 * beginning and the end of every inference. border.h, which is written for the model, gives
 * RUN_MODEL, BYTES_OF_INPUTS, BYTES_OF_OUTPUTS, BYTES_OF_ARENA and NUMBER_OF_SAMPLES; also
 * WANTED_LAYERS where nothing is measured, and layers.c writes inner tensors.
 */
#include "board.h"
#include "border.h"

#include <string.h>

#define GUARD 64
#define GUARD_BYTE 0xC3

static uint8_t input[BYTES_OF_INPUTS] __attribute__((aligned(16)));

/* Nothing may be written beside the arena and the outputs. */
static struct {
    uint8_t before[GUARD];
    uint8_t arena[BYTES_OF_ARENA] __attribute__((aligned(16)));
    uint8_t between[GUARD];
    uint8_t output[BYTES_OF_OUTPUTS] __attribute__((aligned(16)));
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

/* Inferences that are done. */
static int done;

#ifdef NUMBER_OF_TAPS

/* Which layers the marks of an inference stand behind. */
static int taps[NUMBER_OF_TAPS];
static int tapped;

void board_tap(int index);
void board_tap(int index)
{
    board_mark();
    if (done == 0 && tapped < NUMBER_OF_TAPS) {
        taps[tapped++] = index;
    }
}

static void print_taps(void)
{
    int i;
    for (i = 0; i < tapped; i++) {
        board_print_number("tap", (uint64_t)taps[i]);
    }
}

#elif !defined(WANTED_LAYERS)

/* Tells how much stack a call takes. */
static void measure_stack(void)
{
    uint32_t from, used;
    __asm volatile("mov %0, sp" : "=r"(from));
    board_paint_stack();
    (void)RUN_MODEL(input, memory.output, memory.arena);
    used = board_stack_used(from);
    if (used == 0) {
        board_print("deep\n");
        board_exit(1);
    }
    board_print_number("stack", used);
}

#endif

int main(void)
{
    const int inputs = board_open("inputs.bin", 0);
    const int outputs = board_open("outputs.bin", 1);
    int code;

    memset(&memory, GUARD_BYTE, sizeof memory);
    for (done = 0; done < NUMBER_OF_SAMPLES; done++) {
        board_read(inputs, input, sizeof input);
        if (done == 0) {
#if !defined(NUMBER_OF_TAPS) && !defined(WANTED_LAYERS)
            measure_stack();
            board_print_number("arena", BYTES_OF_ARENA);
#endif
            board_start_counting();
            board_mark();
            board_mark();
        }
        /* What an earlier inference left in the arena must not matter. */
        memset(memory.arena, 0x5A + done, sizeof memory.arena);
        board_mark();
        code = RUN_MODEL(input, memory.output, memory.arena);
        board_mark();
        if (code != 0) {
            board_print_number("refused", (uint64_t)(int64_t)code);
            return 1;
        }
        if (!is_intact(memory.before) || !is_intact(memory.between) || !is_intact(memory.after)) {
            board_print("overflow\n");
            return 1;
        }
        board_write(outputs, memory.output, sizeof memory.output);
    }
#ifdef NUMBER_OF_TAPS
    print_taps();
#endif
    board_print_marks();
    return 0;
}
