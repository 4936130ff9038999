"""Frames of a split model by the compiled C coder: as ``transforms.split.frames``, but fast."""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.split.compiled import codec_library
from intaglio.targets.c.split.structures import FilledCodec
from intaglio.transforms.split.frames import (
    LARGEST_SAMPLES,
    Frame,
    FrameError,
    FrameFault,
)
from intaglio.transforms.split.specification import CodecSpecification

#: Faults of the writer alone.
_CAPACITY, _BAD_CODE = 100, 101
_SAMPLES_AT = 8


def open_library() -> ctypes.CDLL:
    """The compiled functions of ``split_codec.h``; compiled at the first call and kept on disk.

    Raises:
        ToolError: There is no C compiler, or it failed.
    """
    return codec_library()


class Coder:
    """Writes and reads frames of one codec; several threads may use it.

    Args:
        specification: The codec.
        fast: Whether prepared tables are used; the bytes are the same without.

    Raises:
        ToolError: There is no C compiler, or it failed.
    """

    def __init__(self, specification: CodecSpecification, *, fast: bool = True) -> None:
        self._library = open_library()
        self._codes = specification.codes
        self._side_bytes = specification.side_bytes
        self._codec = FilledCodec(specification, fast)
        self._address = ctypes.addressof(self._codec.structure)
        # One buffer for all frames that are written: it grows to the largest and stays.
        self._buffer = np.empty(0, np.uint8)
        self._turn = threading.Lock()

    def write_frame(
        self, codes: NDArray[np.uint8], ranges: NDArray[np.int8] | None = None, kind: int = 0
    ) -> bytes:
        """The frame of a batch.

        Args:
            codes: uint8 [samples, codes]; int8 with the same bytes will do.
            ranges: int8 [samples, side_bytes]; None where ranges are static.
            kind: What the frame carries.

        Raises:
            ValueError: Shapes or types are wrong, or a code or range is none of this codec.
        """
        given = self._batch(codes, self._codes, "codes", (np.uint8, np.int8))
        samples = len(given)
        if not 1 <= samples <= LARGEST_SAMPLES:
            raise ValueError(f"a frame has 1 to {LARGEST_SAMPLES} samples, not {samples}")
        if ranges is None:
            ranges = np.empty((samples, 0), np.int8)
        side = self._batch(ranges, self._side_bytes, "ranges", (np.int8,))
        if len(side) != samples:
            raise ValueError(f"there are ranges of {len(side)} samples, but codes of {samples}")
        with self._turn:
            most = int(self._library.split_frame_bytes(self._address, samples))
            if most > self._buffer.size:
                self._buffer = np.empty(most, np.uint8)
            size = self._library.split_write_frame(
                self._address, kind, given.ctypes.data, side.ctypes.data, samples,
                self._buffer.ctypes.data, self._buffer.size,
            )  # fmt: skip
            if size < 0:
                raise ValueError(_refusal(-size, kind))
            return self._buffer[:size].tobytes()

    def read_frame(
        self, data: bytes | bytearray | memoryview, largest_samples: int = LARGEST_SAMPLES
    ) -> Frame:
        """What a frame from anybody says; all of it is checked.

        Args:
            data: The frame, all of it and nothing else.
            largest_samples: More samples are refused; no more memory is taken than for so many.

        Raises:
            FrameError: It is no frame of this codec.
        """
        given = np.frombuffer(data, np.uint8)
        claimed = int.from_bytes(given[_SAMPLES_AT : _SAMPLES_AT + 2].tobytes(), "little")
        samples = max(0, min(claimed, largest_samples, LARGEST_SAMPLES))
        codes = np.empty((samples, self._codes), np.uint8)
        ranges = np.empty((samples, self._side_bytes), np.int8)
        kind, count = ctypes.c_uint32(), ctypes.c_uint32()
        fault = self._library.split_read_frame(
            self._address, given.ctypes.data, given.size, samples, ctypes.byref(kind),
            ctypes.byref(count), codes.ctypes.data, ranges.ctypes.data,
        )  # fmt: skip
        if fault:
            raise FrameError(FrameFault(fault))
        return Frame(kind=kind.value, samples=count.value, codes=codes, ranges=ranges)

    @staticmethod
    def _batch(
        array: NDArray[Any], columns: int, what: str, dtypes: tuple[type[np.generic], ...]
    ) -> NDArray[Any]:
        """The array with rows side by side in memory.

        Raises:
            ValueError: It has another shape or type.
        """
        if array.ndim != 2 or array.shape[1] != columns or array.dtype.type not in dtypes:
            names = " or ".join(np.dtype(dtype).name for dtype in dtypes)
            raise ValueError(
                f"{what} must be {names} [samples, {columns}], "
                f"not {array.dtype.name} {list(array.shape)}"
            )
        return np.ascontiguousarray(array)


def _refusal(fault: int, kind: int) -> str:
    """Why the writer refused."""
    if fault == FrameFault.KIND:
        return f"there is no kind {kind} of frames"
    if fault == FrameFault.RANGE:
        return "a range ends below its begin"
    if fault == FrameFault.PAYLOAD_SIZE:
        return "the payload could be above 4 GiB: write fewer samples at once"
    if fault == _BAD_CODE:
        return "a code is not below its stripe's number of levels"
    return f"the frame was not written (fault {fault})"
