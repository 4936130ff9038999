"""The transcript on disk, written after every step, so that a kill at any moment loses none."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np

from intaglio.fitting.run_folder import cannot_write
from intaglio.transforms.forward_gradient.transcript import (
    HALVINGS_OFFSET,
    HEADER_BYTES,
    Transcript,
    decode,
    encode,
    pack_signs,
)


class Journal:
    """A transcript that grows by a step at a time.

    A step is one write of the bytes its codes lie in; bits that were zero are set. Should a kill
    tear a write that spans two bytes, the step is not whole, and reading drops it.

    Args:
        path: The file.
        transcript: What it holds so far; written out anew.

    Raises:
        OutputError: It cannot be written, here or later.
    """

    def __init__(self, path: Path, transcript: Transcript) -> None:
        self._path = path
        whole = path.with_suffix(".new")
        try:
            whole.write_bytes(encode(transcript))
            whole.replace(path)
            self._file = path.open("r+b", buffering=0)
        except OSError as error:
            with contextlib.suppress(OSError):
                whole.unlink()
            raise cannot_write(path, error) from error
        self._probes = transcript.probes
        self._codes = transcript.signs.size
        self._halvings = len(transcript.halvings)
        self._last = encode(transcript)[-1] if self._codes % 4 else 0

    @staticmethod
    def read(path: Path) -> Transcript:
        """The whole steps in a file.

        Raises:
            ValueError: It is damaged.
            OSError: It cannot be read.
        """
        return decode(path.read_bytes())

    def add(self, signs: tuple[int, ...]) -> None:
        """Appends a step."""
        used = self._codes % 4
        # Signs that fill up a byte stand behind as many places that are written already.
        packed = bytearray(pack_signs(np.array([*[0] * used, *signs], np.int8)))
        packed[0] = packed[0] & (0xFF << 2 * used) & 0xFF | self._last
        self._write_at(HEADER_BYTES + self._codes // 4, packed)
        self._codes += len(signs)
        self._last = packed[-1] if self._codes % 4 else 0

    def halve(self, step: int) -> None:
        """Notes that the step is halved once more from ``step`` on."""
        self._write_at(HALVINGS_OFFSET + 4 * self._halvings, step.to_bytes(4, "little"))
        self._halvings += 1

    def sync(self) -> None:
        """Makes sure that what was written survives a loss of power."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _write_at(self, place: int, data: bytes | bytearray) -> None:
        try:
            self._file.seek(place)
            self._file.write(data)
        except OSError as error:
            raise cannot_write(self._path, error) from error
