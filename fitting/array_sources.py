"""Arrays of samples, read a few rows at a time.

numpy loads a member of an ``.npz`` whole; here its header is read from the zip stream and then
only the rows that are asked for, so memory does not depend on the number of samples.
"""

from __future__ import annotations

import abc
import contextlib
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError

_REWRITE = "write it again with numpy.savez or numpy.save"

# What reading a damaged, truncated, encrypted or oddly compressed file can raise.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
    NotImplementedError,
)


class ArraySource(abc.ABC):
    """Samples along the first axis of something that can be read again and again.

    Attributes:
        label: What to call it in messages.
        shape: Shape with the sample axis first; None stands for an axis that differs.
        dtype: Element type.
    """

    label: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return int(self.shape[0] or 0)

    @abc.abstractmethod
    def chunks(self, size: int, limit: int) -> Iterator[NDArray[Any]]:
        """The first ``limit`` samples, in arrays of ``size`` samples (the last may be shorter).

        Raises:
            InputError: The file is damaged.
        """

    def whole(self) -> NDArray[Any]:
        """All samples in one array."""
        return np.concatenate(list(self.chunks(max(1, len(self)), len(self))))


class MemoryArray(ArraySource):
    """An array in memory."""

    def __init__(self, label: str, array: NDArray[Any]) -> None:
        self.label = label
        self.shape = tuple(array.shape)
        self.dtype = array.dtype
        self._array = array

    def chunks(self, size: int, limit: int) -> Iterator[NDArray[Any]]:
        """See :meth:`ArraySource.chunks`."""
        for start in range(0, limit, size):
            yield np.asarray(self._array[start : min(start + size, limit)])


class StreamedArray(ArraySource):
    """An array in an ``.npy`` file or inside an ``.npz``, streamed.

    Not memory-mapped: mapped pages count as memory of the process.

    Args:
        path: The file.
        member: Name inside the zip; None for an ``.npy``.

    Raises:
        InputError: It is damaged.
    """

    def __init__(self, path: Path, member: str | None = None) -> None:
        self.label = f"'{member.removesuffix('.npy')}' of {path}" if member else str(path)
        self._path = path
        self._member = member
        with self._stream() as (_, shape, fortran, dtype):
            self.shape = shape
            self.dtype = dtype
            self._fortran = fortran and len(shape) > 1

    @contextlib.contextmanager
    def _stream(self) -> Iterator[tuple[IO[bytes], tuple[int, ...], bool, np.dtype[Any]]]:
        try:
            with contextlib.ExitStack() as stack:
                if self._member is None:
                    stream: IO[bytes] = stack.enter_context(self._path.open("rb"))
                else:
                    archive = stack.enter_context(zipfile.ZipFile(self._path))
                    stream = stack.enter_context(archive.open(self._member))
                yield stream, *_read_header(stream)
        except _DAMAGE as error:
            raise InputError(f"{self.label} is damaged: {error}", remedy=_REWRITE) from error

    def chunks(self, size: int, limit: int) -> Iterator[NDArray[Any]]:
        """See :meth:`ArraySource.chunks`."""
        if self._fortran:
            # Column-major rows lie scattered over the whole member: it cannot be streamed.
            yield from MemoryArray(self.label, self._load()).chunks(size, limit)
            return
        row_shape = tuple(int(d or 0) for d in self.shape[1:])
        row_bytes = math.prod(row_shape) * self.dtype.itemsize
        with self._stream() as (stream, *_):
            for start in range(0, limit, size):
                rows = min(size, limit - start)
                data = stream.read(rows * row_bytes)
                if len(data) != rows * row_bytes:
                    raise EOFError("it ends early")
                yield np.frombuffer(data, self.dtype).reshape(rows, *row_shape)

    def _load(self) -> NDArray[Any]:
        with self._stream() as (stream, shape, _, dtype):
            count = math.prod(shape)
            data = stream.read(count * dtype.itemsize)
            if len(data) != count * dtype.itemsize:
                raise EOFError("it ends early")
            return np.frombuffer(data, dtype, count).reshape(shape, order="F")


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"npy format {version} is not for plain arrays")
    return shape, fortran, dtype


def open_arrays(source: Path | Mapping[str, NDArray[Any]]) -> dict[str, ArraySource]:
    """The arrays of an ``.npz`` or ``.npy`` file or of a mapping, by key.

    The only array of an ``.npy`` has the key ``""``.

    Raises:
        InputError: The file is damaged, or holds objects instead of numbers.
    """
    found: dict[str, ArraySource]
    if isinstance(source, Mapping):
        found = {key: MemoryArray(f"'{key}'", np.asarray(a)) for key, a in source.items()}
    elif source.suffix.lower() == ".npz":
        found = _open_npz(source)
    else:
        found = {"": StreamedArray(source)}
    for array in found.values():
        if array.dtype.hasobject:
            raise InputError(
                f"{array.label} holds Python objects, not numbers",
                remedy="stack the samples to one array of numbers",
            )
    return found


def _open_npz(path: Path) -> dict[str, ArraySource]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(".npy")]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise InputError(f"{path} is not an .npz file: {error}", remedy=_REWRITE) from error
    return {name.removesuffix(".npy"): StreamedArray(path, name) for name in members}
