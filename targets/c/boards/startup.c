/*
 * Start of a bare-metal image on an emulated Cortex-M: vectors, FPU, memory, then main().
 * Registers are written by address, so no vendor headers are needed.
 */
#include "board.h"

extern uint32_t stack_top, bss_start, bss_end, data_start, data_end, data_load;

int main(void);
void reset_handler(void);
void board_tick(void);

/* Access to coprocessors, and why the processor stopped. */
#define CPACR (*(volatile uint32_t *)0xE000ED88)
#define CFSR (*(volatile uint32_t *)0xE000ED28)

static void fault(void)
{
    board_print_number("fault", CFSR);
    board_exit(BOARD_FAULT);
}

void reset_handler(void)
{
    uint32_t *to;
    const uint32_t *from = &data_load;

    /* Coprocessors 10 and 11 are the FPU and Helium. */
    CPACR |= 0xFu << 20;
    __asm volatile("dsb\n\tisb" ::: "memory");
    for (to = &data_start; to < &data_end; to++) {
        *to = *from++;
    }
    for (to = &bss_start; to < &bss_end; to++) {
        *to = 0;
    }
    board_exit(main());
}

typedef void (*handler)(void);

__attribute__((section(".vectors"), used)) static const handler vectors[16] = {
    (handler)(void *)&stack_top, reset_handler, fault, fault, fault, fault, fault, fault,
    0, 0, 0, fault, fault, 0, fault, board_tick,
};
