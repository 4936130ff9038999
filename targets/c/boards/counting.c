/*
 * Executed instructions at marked moments. Either the emulator's plugin watches the address of
 * board_mark(), or (MARKS_BY_TIMER) each mark reads SysTick: the emulator runs with one nanosecond
 * an instruction, so ticks of the processor clock are instructions, to the length of a tick.
 */
#include "board.h"

#ifdef MARKS_BY_TIMER

#define SYST_CSR (*(volatile uint32_t *)0xE000E010)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018)
#define RELOAD 0xFFFFFFu

static volatile uint32_t wraps;
static uint64_t marks[MARKS_BY_TIMER];
static uint32_t marked;

void board_tick(void);
void board_tick(void)
{
    wraps++;
}

void board_start_counting(void)
{
    SYST_CSR = 0;
    SYST_RVR = RELOAD;
    SYST_CVR = 0;
    wraps = 0;
    /* Enabled, with an interrupt, on the processor's clock; the first tick loads the value. */
    SYST_CSR = 7;
    while (SYST_CVR == 0) {
    }
}

__attribute__((noinline)) void board_mark(void)
{
    uint32_t before, value;
    do {
        before = wraps;
        value = SYST_CVR;
    } while (before != wraps);
    if (marked < MARKS_BY_TIMER) {
        marks[marked++] = (uint64_t)before * (RELOAD + 1u) + (RELOAD - value);
    }
}

void board_print_marks(void)
{
    uint32_t i;
    for (i = 0; i < marked; i++) {
        board_print_number("mark", marks[i]);
    }
}

#else

void board_tick(void);
void board_tick(void)
{
}

void board_start_counting(void)
{
}

__attribute__((noinline)) void board_mark(void)
{
    __asm volatile("" ::: "memory");
}

void board_print_marks(void)
{
}

#endif

extern uint32_t stack_limit;

#define PATTERN 0xA5A5A5A5u
/* Words below this function's own frame that are left alone; so many are taken for used. */
#define MARGIN 4

static uint32_t *painted;

__attribute__((noinline)) void board_paint_stack(void)
{
    uint32_t *word;
    __asm volatile("mov %0, sp" : "=r"(painted));
    for (word = &stack_limit; word < painted - MARGIN; word++) {
        *word = PATTERN;
    }
}

__attribute__((noinline)) uint32_t board_stack_used(uint32_t from)
{
    const uint32_t *word = &stack_limit;
    while (word < painted && *word == PATTERN) {
        word++;
    }
    return word == &stack_limit ? 0u : from - (uint32_t)(uintptr_t)word;
}
