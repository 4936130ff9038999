/* Semihosting: a breakpoint with a number, which the emulator answers. */
#include "board.h"

#include <string.h>

enum {
    SYS_OPEN = 0x01,
    SYS_WRITE0 = 0x04,
    SYS_WRITE = 0x05,
    SYS_READ = 0x06,
    SYS_EXIT_EXTENDED = 0x20,
    READ_BINARY = 1,
    WRITE_BINARY = 5,
    APPLICATION_EXIT = 0x20026
};

static int ask(int operation, const void *argument)
{
    register int number __asm("r0") = operation;
    register const void *block __asm("r1") = argument;
    __asm volatile("bkpt 0xab" : "+r"(number) : "r"(block) : "memory");
    return number;
}

void board_exit(int code)
{
    const uint32_t block[2] = {APPLICATION_EXIT, (uint32_t)code};
    ask(SYS_EXIT_EXTENDED, block);
    for (;;) {
    }
}

void board_print(const char *text)
{
    ask(SYS_WRITE0, text);
}

void board_print_number(const char *word, uint64_t number)
{
    char text[24];
    size_t place = sizeof text;
    text[--place] = '\0';
    text[--place] = '\n';
    do {
        text[--place] = (char)('0' + (int)(number % 10u));
        number /= 10u;
    } while (number != 0);
    board_print(word);
    board_print(" ");
    board_print(text + place);
}

int board_open(const char *name, int for_writing)
{
    const uint32_t mode = for_writing ? WRITE_BINARY : READ_BINARY;
    const uint32_t block[3] = {(uint32_t)(uintptr_t)name, mode, (uint32_t)strlen(name)};
    const int file = ask(SYS_OPEN, block);
    if (file < 0) {
        board_exit(BOARD_NO_FILE);
    }
    return file;
}

static void transfer(int operation, int file, const void *data, size_t bytes)
{
    const uint32_t block[3] = {(uint32_t)file, (uint32_t)(uintptr_t)data, (uint32_t)bytes};
    /* The answer is how many bytes are left. */
    if (ask(operation, block) != 0) {
        board_exit(BOARD_NO_FILE);
    }
}

void board_read(int file, void *data, size_t bytes)
{
    transfer(SYS_READ, file, data, bytes);
}

void board_write(int file, const void *data, size_t bytes)
{
    transfer(SYS_WRITE, file, data, bytes);
}
