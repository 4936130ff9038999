"""Compiles and loads ``general_rows.c``, as :mod:`kernel` does for the kernel of 16 rows."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

from intaglio.fitting.tables.kernel import compile_kernel

_SOURCE = Path(__file__).with_name("general_rows.c")
_POINTER, _INT, _LONG, _FLOAT = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_float


@functools.cache
def library() -> ctypes.CDLL | None:
    """The library of this machine, or None without a compiler."""
    path = compile_kernel(source=_SOURCE)
    return None if path is None else _declared(ctypes.CDLL(str(path)))


def _declared(found: ctypes.CDLL) -> ctypes.CDLL:
    sizes = [_POINTER, _LONG, _INT, _INT, _FLOAT, _INT, _INT, _POINTER, _FLOAT, _FLOAT, _FLOAT]
    shape = [_POINTER, _INT, _INT, _INT, _INT, _FLOAT, _INT, _POINTER, _FLOAT, _FLOAT]
    functions = {
        "intaglio_rows_forward": sizes + [_POINTER] * 3,
        "intaglio_rows_backward": sizes + [_POINTER] * 6,
        "intaglio_depthwise_forward": shape + [_POINTER] * 3,
        "intaglio_depthwise_backward": shape + [_POINTER] * 6,
    }
    for name, arguments in functions.items():
        getattr(found, name).argtypes = arguments
        getattr(found, name).restype = _INT
    return found
