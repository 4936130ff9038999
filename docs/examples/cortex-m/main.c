/* Reads the stored picture of a digit, and prints which digit it is. */
#include "digits.h"
#include "picture.h"

#define PIXELS ((int)sizeof picture)
#define CLASSES ((int)DIGITS_OUTPUT_BYTES)

/* In start.c, or whatever your board prints with. */
void print(const char *text);

/*
 * All the memory that the model needs. It may be used for other things between two inferences, and
 * lie on the stack if that is large enough.
 */
static uint8_t arena[DIGITS_ARENA_BYTES] __attribute__((aligned(16)));

int main(void)
{
    static const char *const shades[] = {" ", ".", "+", "#"};
    int8_t input[DIGITS_INPUT_BYTES];
    int8_t output[DIGITS_OUTPUT_BYTES];
    char answer[] = "digit ?\n";
    int best = 0;
    int i;

    /*
     * A pixel of 0 to 255 stands for 0 to 1, and one step of the input is 1/255: adding the zero
     * point is all that is needed. Other models: round(real / INPUT_SCALE) + INPUT_ZERO_POINT.
     */
    for (i = 0; i < PIXELS; i++) {
        input[i] = (int8_t)(picture[i] + DIGITS_INPUT_ZERO_POINT);
        print(shades[picture[i] / 64]);
        if (i % 8 == 7) {
            print("\n");
        }
    }

    if (digits_run(input, sizeof input, output, sizeof output, arena, sizeof arena) != DIGITS_OK) {
        print("the model refused\n");
        return 1;
    }

    /* Outputs share one scale, so the largest integer is the largest logit. */
    for (i = 1; i < CLASSES; i++) {
        if (output[i] > output[best]) {
            best = i;
        }
    }
    answer[6] = (char)('0' + best);
    print(answer);
    return 0;
}
