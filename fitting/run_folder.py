"""The folder of a run: one process has it, files in it are whole, what is not its own stays.

A file is replaced as a whole, so that a kill leaves the old one or the new one. What a run appends
to may end in a torn line or number, which readers drop.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from intaglio.errors import InputError, OutputError, RecipeError

_LOCK = "lock"


class RunFolder:
    """An open folder of a run; only one process has it open.

    Args:
        path: The folder; made where it is missing.

    Raises:
        RecipeError: Another process has it.
        OutputError: It cannot be made.
    """

    #: Names of the files that a run leaves, also those it was writing when it was killed.
    ours: ClassVar[re.Pattern[str]]
    #: What a run does, as in "another process fits in this folder", and as in "fit again".
    does: ClassVar[str]
    do: ClassVar[str]
    #: The file that says what the run was told.
    told_in: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made = not path.exists()
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = _take(path / _LOCK)
        except BlockingIOError as error:
            raise RecipeError(
                f"another process {self.does} in {path}",
                remedy="wait for it, or give another --out",
            ) from error
        except OSError as error:
            raise cannot_write(path, error) from error

    def require_own(self) -> None:
        """Refuses a folder with things in it that no run left there.

        Raises:
            RecipeError: There is one.
        """
        for entry in self._entries():
            if not entry.is_file() or not self.ours.fullmatch(entry.name):
                raise RecipeError(
                    f"{self.path} is for the run, and holds {entry.name}",
                    remedy="move that away, or give another --out",
                )

    def told(self) -> dict[str, Any] | None:
        """What the run in this folder was told, or None where there is none.

        Raises:
            InputError: It is damaged.
        """
        return self.read_json(self.told_in)

    def begin(self, told: Mapping[str, Any]) -> None:
        """Notes what a new run is told; what an earlier one left is removed.

        Raises:
            RecipeError: The folder holds what no run left there.
            OutputError: It cannot be written.
        """
        self.require_own()
        for entry in self._entries():
            entry.unlink()
        self.write_json(self.told_in, told)

    def write_json(self, name: str, data: Mapping[str, Any]) -> None:
        """Writes data as a whole."""
        text = json.dumps(data, indent=1, sort_keys=True, allow_nan=False)
        self.write(name, f"{text}\n".encode())

    def write(self, name: str, data: bytes) -> None:
        """Writes a file: the old one or the new one is there at any moment.

        Raises:
            OutputError: It cannot be written; the old one is there still.
        """
        path, new = self.path / name, self.path / f"{name}.new"
        try:
            with new.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                new.unlink()
            raise cannot_write(path, error) from error

    def append_to(self, name: str, data: bytes) -> Log:
        """A file to append to, which holds these bytes."""
        self.write(name, data)
        return Log(self.path / name)

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A file of an object, or None where there is none.

        Raises:
            InputError: It is damaged.
        """
        path = self.path / name
        if not path.is_file():
            return None
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self.damaged(path, error) from error
        if not isinstance(data, dict):
            raise self.damaged(path, "it holds no object")
        return data

    def damaged(self, path: Path, reason: object) -> InputError:
        """The error to raise about a file that makes no sense."""
        return InputError(
            f"{path} is damaged: {reason}",
            remedy=f"remove {self.path} and {self.do} from the beginning",
        )

    def discard(self) -> None:
        """Takes the folder away again, where nothing is in it and it was not there before."""
        self.close()
        if self._made:
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def close(self) -> None:
        """Lets another process have it."""
        if self._lock.closed:
            return
        lock = self.path / _LOCK
        # While the lock is held, its name is this process's: nobody else's file is removed.
        with contextlib.suppress(OSError):
            if not lock.stat().st_size:
                lock.unlink()
        self._lock.close()

    def _entries(self) -> list[Path]:
        """What is in the folder, by name, without the lock; one with something in it is none."""
        return [
            entry
            for entry in sorted(self.path.iterdir())
            if entry.name != _LOCK or entry.stat().st_size
        ]


class Log:
    """A file that grows; what was appended is with the system at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        """Appends.

        Raises:
            OutputError: It cannot; a part may have been written.
        """
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> Log:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the file."""
        self.close()


def cannot_write(path: Path, error: OSError) -> OutputError:
    """The error to raise where a run cannot write."""
    return OutputError(
        f"cannot write {path}: {error.strerror or error}",
        remedy="check the path, its permissions and free space, or choose another --out; a run "
        "that had begun goes on with --resume",
    )


def _take(path: Path) -> Any:
    """Opens a file and takes its lock, which the system frees when the process ends, however.

    Raises:
        BlockingIOError: Another process has it.
    """
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        return path.open("a")
    while True:
        file = path.open("a")
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who had it may have removed the file since it was opened: then the lock is of none.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()
