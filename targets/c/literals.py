"""Numbers as C text."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_WIDTH = 96


def c_type(dtype: str) -> str:
    """C name of an integer type, or ``float``."""
    return "float" if dtype == "float32" else f"{dtype}_t"


def number(value: int) -> str:
    """An integer literal; the smallest of 32 and 64 bits have none of their own."""
    if value == -(1 << 31):
        return "(-2147483647 - 1)"
    if value == -(1 << 63):
        return "(-INT64_C(9223372036854775807) - 1)"
    if -(1 << 31) < value < 1 << 31:
        return str(value)
    return f"INT64_C({value})" if value < 1 << 63 else f"UINT64_C({value})"


def rows(data: NDArray[Any]) -> str:
    """The numbers of an array, flat, in lines of equal width; one zero for an empty array."""
    flat = np.ascontiguousarray(data).reshape(-1)
    if not flat.size:
        return "    0"
    if flat.dtype == np.uint32:
        texts = [f"{value}u" for value in flat.tolist()]
    elif flat.dtype.itemsize == 8 or flat.min() == -(1 << 31):
        texts = list(map(number, flat.tolist()))
    else:
        texts = list(map(str, flat.tolist()))
    wide = max(map(len, texts))
    count = max(1, _WIDTH // (wide + 2))
    lines = (
        ", ".join(text.rjust(wide) for text in texts[at : at + count])
        for at in range(0, len(texts), count)
    )
    return ",\n".join(f"    {line}" for line in lines)
