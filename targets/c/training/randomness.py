"""The counter hash and the perturbations in C; see transforms/forward_gradient/randomness.py."""

from __future__ import annotations

from intaglio.transforms.forward_gradient.randomness import (
    COUNTER_FACTOR,
    FIRST_FACTOR,
    SECOND_FACTOR,
    Law,
)

HASH = f"""\
/* The hash of a counter: mix(index * {COUNTER_FACTOR:#x} + seed). */
static inline uint32_t mix(uint32_t x)
{{
    x ^= x >> 16;
    x *= {FIRST_FACTOR:#x}u;
    x ^= x >> 15;
    x *= {SECOND_FACTOR:#x}u;
    return x ^ x >> 16;
}}

/* Seed of one tensor's random numbers. */
static uint32_t stream(uint32_t seed, uint32_t probe, uint32_t number)
{{
    return mix(mix(seed + probe) + number);
}}"""

_RADEMACHER = """\
/* The perturbation z in units of 1/32: 32 or -32. */
static inline int32_t draw(uint32_t hash)
{
    return hash & 1u ? -32 : 32;
}"""

_BINOMIAL = """\
/* Ones among the lowest 16 bits less their mean of 8: -8 to 8. */
static inline int32_t half_draw(uint32_t hash)
{
    uint32_t ones = hash & 0xffffu;
    ones -= ones >> 1 & 0x5555u;
    ones = (ones & 0x3333u) + (ones >> 2 & 0x3333u);
    ones = (ones + (ones >> 4)) & 0x0f0fu;
    return (int32_t)((ones + (ones >> 8)) & 0x1fu) - 8;
}

/* The perturbation z in units of 1/32. */
static inline int32_t draw(uint32_t hash)
{
    return 16 * half_draw(hash);
}"""

_STEPS = {
    (Law.RADEMACHER, "int16"): """\
/* How far a number moves; z is 1 or -1. */
static inline int32_t displaced_int16(uint32_t hash, int32_t distance)
{
    return hash & 1u ? -distance : distance;
}""",
    (Law.RADEMACHER, "int32"): """\
/* How far a number moves; z is 1 or -1. Modulo 2^32. */
static inline uint32_t displaced_int32(uint32_t hash, uint32_t distance)
{
    return hash & 1u ? 0u - distance : distance;
}""",
    (Law.BINOMIAL, "int16"): """\
/* How far a number moves: distance * z to nearest, ties away from zero. */
static inline int32_t displaced_int16(uint32_t hash, int32_t distance)
{
    const int32_t product = distance * half_draw(hash);
    return product < 0 ? -((1 - product) >> 1) : (1 + product) >> 1;
}""",
    (Law.BINOMIAL, "int32"): """\
/* How far a number moves: distance * z to nearest, ties away from zero. */
static inline int64_t displaced_int32(uint32_t hash, int32_t distance)
{
    const int64_t product = (int64_t)distance * half_draw(hash);
    return product < 0 ? -((1 - product) >> 1) : (1 + product) >> 1;
}""",
}


def drawing(law: Law) -> str:
    """Function ``draw``: z from a hash."""
    return _RADEMACHER if law is Law.RADEMACHER else _BINOMIAL


def displacing(law: Law, dtype: str) -> str:
    """Function ``displaced_<dtype>``: how far a probe moves a number."""
    return _STEPS[law, dtype]
