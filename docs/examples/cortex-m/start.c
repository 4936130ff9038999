/*
 * Start-up for the emulated MPS2 board with a Cortex-M4 (QEMU's mps2-an386). A real board comes with
 * a start-up file and a linker script of its maker: use those instead of this file and board.ld.
 */
#include <stdint.h>

extern uint32_t stack_top, data_start, data_end, data_load, bss_start, bss_end;

int main(void);
void print(const char *text);
void reset_handler(void);

/* Semihosting: asks the emulator, or a debugger, to do something. */
static int ask(int operation, const void *argument)
{
    register int number __asm("r0") = operation;
    register const void *block __asm("r1") = argument;
    __asm volatile("bkpt 0xab" : "+r"(number) : "r"(block) : "memory");
    return number;
}

void print(const char *text)
{
    ask(0x04, text);
}

static void leave(int code)
{
    const uint32_t block[2] = {0x20026, (uint32_t)code};
    ask(0x20, block);
    for (;;) {
    }
}

static void fault(void)
{
    print("fault\n");
    leave(1);
}

void reset_handler(void)
{
    const uint32_t *from = &data_load;
    uint32_t *to;

    /* Lets the program use the FPU, whose registers the compiler may use for moves. */
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20;
    __asm volatile("dsb\n\tisb" ::: "memory");
    for (to = &data_start; to < &data_end; to++) {
        *to = *from++;
    }
    for (to = &bss_start; to < &bss_end; to++) {
        *to = 0;
    }
    leave(main());
}

typedef void (*handler)(void);

__attribute__((section(".vectors"), used)) static const handler vectors[16] = {
    (handler)(void *)&stack_top, reset_handler, fault, fault, fault, fault, fault,
};
