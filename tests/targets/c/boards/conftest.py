from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from intaglio.targets.c.boards import missing_packages, require_toolchain

# What the emitter writes, by hand: a layer that doubles, and a dense one. Macros make it misbehave,
# or execute a known number of instructions.
_HEADER = """\
#ifndef TOY_H
#define TOY_H
#include <stddef.h>
#include <stdint.h>
#define TOY_ARENA_BYTES 128
int toy_run(const int8_t *input, size_t input_bytes, int16_t *output, size_t output_bytes,
            int8_t *low, size_t low_bytes, void *arena, size_t arena_bytes);
#endif
"""

_WEIGHTS = """\
#include "toy.h"
extern const int8_t toy_weights[10];
const int8_t toy_weights[10] = {1, -2, 3, -4, 5, -6, 7, -8, 9, -10};
"""

_CODE = """\
#include "toy.h"
extern const int8_t toy_weights[10];
#ifndef TOY_TAP
#define TOY_TAP(index, output, bytes)
#endif
static void twice(const int8_t *x, int16_t *y)
{
    int i;
    for (i = 0; i < 64; i++) {
        y[i] = (int16_t)(x[i] * 2);
    }
}
static void dense(const int16_t *x, int16_t *y, int8_t *low)
{
    int o, i;
    for (o = 0; o < 10; o++) {
        int32_t sum = 0;
        for (i = 0; i < 64; i++) {
            sum += x[i] * toy_weights[(i + o) % 10];
        }
        y[o] = (int16_t)(sum / 8);
        low[o] = (int8_t)(sum / 8 % 100);
    }
}
int toy_run(const int8_t *input, size_t input_bytes, int16_t *output, size_t output_bytes,
            int8_t *low, size_t low_bytes, void *arena, size_t arena_bytes)
{
    int16_t *inner = (int16_t *)arena;
    if (input_bytes != 64 || output_bytes != 20 || low_bytes != 10 || arena_bytes < 128) {
        return 2;
    }
#ifdef TOY_LOOPS
    {
        int n = TOY_LOOPS;
        __asm volatile("1: nop\\n subs %0, %0, #1\\n bne 1b\\n" : "+r"(n)::"cc");
    }
#endif
#ifdef TOY_FAULT
    *(volatile uint32_t *)0xF0000000 = 1;
#endif
#ifdef TOY_REFUSE
    return 3;
#endif
#ifdef TOY_OVERFLOW
    ((volatile int8_t *)arena)[128] = 1;
#endif
#ifdef TOY_STACK
    {
        volatile uint8_t deep[TOY_STACK];
        size_t i;
        for (i = sizeof deep; i-- > 0;) {
            deep[i] = 1;
        }
    }
#endif
    twice(input, inner);
    TOY_TAP(0, inner, 128)
    dense(inner, output, low);
    TOY_TAP(1, output, 20)
    return 0;
}
"""


@dataclasses.dataclass(frozen=True)
class Output:
    """Shape and type of an output."""

    shape: tuple[int, ...]
    dtype: str


OUTPUTS = (Output((10,), "int16"), Output((2, 5), "int8"))


def expected(x):
    """What the hand-written model computes, in numpy."""
    weights = np.array([1, -2, 3, -4, 5, -6, 7, -8, 9, -10])
    rolled = np.array([[weights[(i + o) % 10] for i in range(64)] for o in range(10)])
    eighth = np.trunc(rolled @ (2 * x.astype(np.int64)) / 8).astype(np.int64)
    low = np.fmod(eighth, 100)
    return [eighth.astype(np.int16), low.astype(np.int8).reshape(2, 5)]


@pytest.fixture(scope="session")
def toolchain():
    """What builds and runs images; the test is skipped where it is not installed."""
    missing = missing_packages()
    if missing:
        pytest.skip(f"needs the Debian packages {' '.join(missing)}")
    require_toolchain()


@pytest.fixture(scope="session")
def toy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    for name, text in (("toy.h", _HEADER), ("toy_weights.c", _WEIGHTS), ("toy.c", _CODE)):
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="session")
def samples():
    rng = np.random.default_rng(5)
    return [rng.integers(-128, 128, 64).astype(np.int8) for _ in range(3)]
