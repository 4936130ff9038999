"""Messages between a session and its child process: a JSON header and raw arrays.

Nothing is unpickled: what a child sends back may come from a heap that a bad file has corrupted.

A frame is ``<I`` length of the header, the header (UTF-8 JSON; its key ``arrays`` lists dtype and
shape of each array), then the arrays' bytes in C order, one after the other.
"""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LENGTH = struct.Struct("<I")
_LONGEST_HEADER = 1 << 24
_JOIN_BELOW = 1 << 16


class FrameError(Exception):
    """A message that is cut off or makes no sense."""


def write_frame(
    stream: io.RawIOBase, header: Mapping[str, Any], arrays: Sequence[NDArray[Any]] = ()
) -> None:
    """Writes one message.

    Args:
        stream: An unbuffered binary stream.
        header: JSON-friendly data; the key ``arrays`` is taken.
        arrays: Arrays of any dtype without Python objects.

    Raises:
        OSError: The other end is gone.
    """
    solid = [np.asarray(array, order="C") for array in arrays]
    listed = [[array.dtype.str, array.shape] for array in solid]
    text = json.dumps({**header, "arrays": listed}).encode()
    parts: list[Any] = [_LENGTH.pack(len(text)), text]
    parts += [array.reshape(-1).view(np.uint8).data for array in solid if array.size]
    if sum(len(part) for part in parts) <= _JOIN_BELOW:
        parts = [b"".join(parts)]
    for part in parts:
        _write_all(stream, memoryview(part))


def read_frame(stream: io.RawIOBase) -> tuple[dict[str, Any], list[NDArray[Any]]] | None:
    """Reads one message.

    Args:
        stream: An unbuffered binary stream.

    Returns:
        Header and arrays (writable); None where the stream ended before the message began.

    Raises:
        FrameError: The message is cut off or makes no sense.
    """
    start = _read(stream, _LENGTH.size)
    if not start:
        return None
    if len(start) < _LENGTH.size:
        raise FrameError("the message is cut off")
    (length,) = _LENGTH.unpack(start)
    if length > _LONGEST_HEADER:
        raise FrameError(f"a header of {length} bytes")
    try:
        header = json.loads(bytes(_read_all(stream, length)))
        arrays = [_read_array(stream, dtype, shape) for dtype, shape in header.pop("arrays")]
    except (ValueError, TypeError, KeyError, AttributeError, MemoryError) as error:
        raise FrameError(f"the message makes no sense: {error}") from error
    return header, arrays


def _read_array(stream: io.RawIOBase, dtype: str, shape: Sequence[int]) -> NDArray[Any]:
    kind = np.dtype(dtype)
    if kind.hasobject or any(dim < 0 for dim in shape):
        raise ValueError(f"an array {dtype}{list(shape)}")
    data = _read_all(stream, math.prod(shape) * kind.itemsize)
    return np.frombuffer(data, dtype=kind).reshape(shape)


def _write_all(stream: io.RawIOBase, data: memoryview) -> None:
    while len(data):
        written = stream.write(data)
        data = data[written or 0 :]


def _read_all(stream: io.RawIOBase, size: int) -> bytearray:
    data = _read(stream, size)
    if len(data) < size:
        raise FrameError("the message is cut off")
    return data


def _read(stream: io.RawIOBase, size: int) -> bytearray:
    """Up to ``size`` bytes; fewer only where the stream ends."""
    data = bytearray(size)
    view = memoryview(data)
    filled = 0
    while filled < size:
        count = stream.readinto(view[filled:])
        if not count:
            view.release()
            del data[filled:]
            break
        filled += count
    return data
