"""The bytes of a model file, and what is wrong where there are none."""

from __future__ import annotations

from pathlib import Path

from intaglio.errors import InputError

#: Neither protobuf nor flatbuffers can be larger.
_MAX_BYTES = 2**31 - 1


def read_model_bytes(path: Path, kinds: str, too_large: str, remedy: str) -> bytes:
    """Reads a whole model file.

    Args:
        path: The file.
        kinds: What to pass, for messages, such as ``.tflite``.
        too_large: What more than 2 GiB are more than.
        remedy: What to do about that.

    Raises:
        InputError: It is missing, no file, too large, or cannot be read.
    """
    if not path.exists():
        raise InputError(f"there is no file {path}", remedy="check the path")
    if not path.is_file():
        raise InputError(f"{path} is not a file", remedy=f"pass the {kinds} file itself")
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise InputError(f"{path} is {size} bytes, more than {too_large}", remedy=remedy)
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}", remedy="check its permissions"
        ) from error
