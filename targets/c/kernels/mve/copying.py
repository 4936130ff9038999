"""Copies and fills of bytes, 16 at a time, the last ones predicated."""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.mve.assembly import assembly

_COPY = assembly(
    [
        "wlstp.8 lr, %2, 2f",
        "1:",
        "vldrb.u8 q0, [%1], #16",
        "vstrb.8 q0, [%0], #16",
        "letp lr, 1b",
        "2:",
    ],
    ': "+r"(to), "+r"(from) : "r"(bytes) : "lr", "d0", "d1", "memory"',
)

_FILL = assembly(
    [
        "vdup.8 q0, %1",
        "wlstp.8 lr, %2, 2f",
        "1:",
        "vstrb.8 q0, [%0], #16",
        "letp lr, 1b",
        "2:",
    ],
    ': "+r"(to) : "r"(value), "r"(bytes) : "lr", "d0", "d1", "memory"',
)

COPY = Function(
    "mve_copy",
    f"""\
static inline void mve_copy(int8_t *to, const int8_t *from, int32_t bytes)
{{
{_COPY}
}}""",
)

FILL = Function(
    "mve_fill",
    f"""\
static inline void mve_fill(int8_t *to, int32_t value, int32_t bytes)
{{
{_FILL}
}}""",
)
