/* An 8x8 picture with pixels from 0 (paper) to 255 (ink). It shows an 8. */
#ifndef PICTURE_H
#define PICTURE_H

#include <stdint.h>

static const uint8_t picture[64] = {
    0, 0,  159, 175, 64,  0,   0,  0,
    0, 0,  159, 239, 207, 207, 16, 0,
    0, 0,  128, 175, 0,   223, 64, 0,
    0, 0,  0,   207, 239, 207, 0,  0,
    0, 16, 175, 255, 255, 0,   0,  0,
    0, 16, 239, 48,  143, 159, 0,  0,
    0, 0,  223, 96,  239, 159, 0,  0,
    0, 0,  128, 223, 112, 16,  0,  0,
};

#endif
