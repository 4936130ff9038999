"""Writing a bundle's folder: all of it or nothing, and the same bytes for the same input."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError, OutputError

_EARLIER = "earlier"

# Disk full, quota used up, file larger than allowed. Windows has no quota error.
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)


@contextlib.contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A temporary folder beside ``out`` that takes its place if the block succeeds.

    Whatever stops the block (an error, an interrupt, a full disk) leaves what was at ``out`` as it
    was and removes the temporary folder.

    Args:
        out: Where the folder is to stand; see :func:`check_output`.

    Yields:
        The folder to write to.

    Raises:
        OutputError: It cannot be written.
    """
    out = Path(os.path.realpath(out))
    made: list[Path] = []
    holder: Path | None = None
    try:
        _make_parents(out.parent, made)
        holder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        # Inside, the folder has its final name: what is written may mention it.
        work = holder / out.name
        work.mkdir()
        yield work
        _swap(work, out, holder / _EARLIER)
        made.clear()
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        # Should putting the earlier bundle back have failed, it must not be deleted.
        if holder is not None and (out.exists() or not (holder / _EARLIER).exists()):
            shutil.rmtree(holder, ignore_errors=True)
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a bundle.

    Raises:
        InputError: The file is missing, damaged or holds no object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read: {error}", remedy="convert the model again"
        ) from error
    if not isinstance(data, dict):
        raise InputError(f"{path} is damaged", remedy="convert the model again")
    return data


def write_json(path: Path, data: Any) -> None:
    """Writes JSON with sorted keys: the same data gives the same bytes."""
    text = json.dumps(jsonable(data), indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def write_samples(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes an ``.npz`` whose bytes depend on the arrays only, not on the time."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as stream:
                np.lib.format.write_array(
                    stream, np.ascontiguousarray(arrays[name]), allow_pickle=False
                )


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def list_files(folder: Path) -> list[str]:
    """Paths of all files below ``folder``, relative, with forward slashes, sorted."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    )


def jsonable(data: Any) -> Any:
    """Data for JSON: arrays and tuples as lists, numbers that are not finite as null."""
    if isinstance(data, Mapping):
        return {str(key): jsonable(value) for key, value in data.items()}
    if isinstance(data, (list, tuple, set, frozenset)):
        items = sorted(data) if isinstance(data, (set, frozenset)) else data
        return [jsonable(item) for item in items]
    if isinstance(data, np.ndarray):
        return jsonable(data.tolist())
    if isinstance(data, np.generic):
        return jsonable(data.item())
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if data is None or isinstance(data, (bool, int, str)):
        return data
    return str(data)


def _make_parents(folder: Path, made: list[Path]) -> None:
    for path in reversed([p for p in (folder, *folder.parents) if not p.exists()]):
        path.mkdir()
        made.append(path)


def _swap(work: Path, out: Path, aside: Path) -> None:
    """Renames ``work`` to ``out``; what was there goes ``aside``, to be deleted after that."""
    if not out.exists():
        work.rename(out)
        return
    try:
        out.rename(aside)
        work.rename(out)
    finally:
        # Between the two renames an interrupt may strike: put the earlier bundle back.
        if not out.exists():
            aside.rename(out)


def cannot_write(out: Path, error: OSError) -> OutputError:
    """The error to raise when something cannot be written at ``out``."""
    if error.errno in _FULL:
        remedy = "free some space or choose another --out; what was there before is untouched"
        return OutputError(f"cannot write {out}: {error.strerror}", remedy=remedy)
    where = f" ({error.filename})" if error.filename else ""
    return OutputError(
        f"cannot write {out}: {error.strerror or error}{where}",
        remedy="check the permissions or choose another --out; what was there before is untouched",
    )
