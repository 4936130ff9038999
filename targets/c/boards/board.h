/* What an image on an emulated board can do: print, read and write files of the host, count. */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

/* Exit codes: the processor stopped the image; something it asked the emulator for failed. */
#define BOARD_FAULT 99
#define BOARD_NO_FILE 98

/* Ends the emulator. */
void board_exit(int code) __attribute__((noreturn));

void board_print(const char *text);

/* Prints a word and a number in decimal, and ends the line. */
void board_print_number(const char *word, uint64_t number);

/* Files of the host, in the folder that the emulator runs in. What fails ends the emulator. */
int board_open(const char *name, int for_writing);
void board_read(int file, void *data, size_t bytes);
void board_write(int file, const void *data, size_t bytes);

/* Starts the timer, where marks read it. */
void board_start_counting(void);

/* A moment at which the number of executed instructions is wanted. */
void board_mark(void);

/* Prints the marks, where they read the timer. */
void board_print_marks(void);

/*
 * Fills the free stack with a pattern; then says how many bytes below `from` are overwritten, or 0
 * where all of it is.
 */
void board_paint_stack(void);
uint32_t board_stack_used(uint32_t from);

#endif
