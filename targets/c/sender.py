"""The emitted function that sends, compiled for this machine and called through ctypes."""

from __future__ import annotations

import ctypes
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from intaglio.errors import InputError, InternalError
from intaglio.targets.base import Artifact, Tensors
from intaglio.targets.c.compiler import compile_files, require_compiler
from intaglio.targets.c.library import library_name, load_library

_SIZES = """\
/* Sizes of {name} that are macros. */
#include "{name}_send.h"

size_t sender_frame_bytes(void) {{ return {upper}_SEND_FRAME_BYTES; }}
size_t sender_work_bytes(void) {{ return {upper}_SEND_WORK_BYTES; }}
"""

_FLAGS = ("-std=c99", "-O2", "-shared", "-fPIC", "-DSPLIT_WRITER_ONLY")
_ALIGNMENT = 64


class Sender:
    """``NAME_send`` of a device's artifact.

    Args:
        artifact: The artifact of target ``c`` with role ``device``.
        folder: The bundle's folder.
        flags: Further arguments for the compiler.

    Raises:
        InputError: A file is missing.
        ToolError: There is no compiler, or it failed.
    """

    def __init__(self, artifact: Artifact, folder: Path, flags: Sequence[str] = ()) -> None:
        source = (folder / artifact.path).resolve()
        name = source.stem
        files = [f"{name}.c", f"{name}_weights.c", f"{name}_codec.c", f"{name}_send.c"]
        files.append("split_codec.c")
        for file in files:
            if not (source.parent / file).is_file():
                raise InputError(
                    f"{source.parent / file} is missing from the bundle",
                    remedy="convert the model again",
                )
        self._inputs = artifact.inputs
        with tempfile.TemporaryDirectory(prefix="intaglio-", ignore_cleanup_errors=True) as build:
            sizes = Path(build) / "emitted__sizes.c"
            sizes.write_text(_SIZES.format(name=name, upper=name.upper()), encoding="utf-8")
            target = Path(build) / library_name("sender")
            command = [
                *require_compiler(), *_FLAGS, *flags, f"-I{source.parent}", str(sizes),
                *(str(source.parent / file) for file in files), "-o", str(target),
            ]  # fmt: skip
            compile_files(command, Path(build))
            library = load_library(target)
        for function in (library.sender_frame_bytes, library.sender_work_bytes):
            function.restype = ctypes.c_size_t
        self._send = getattr(library, f"{name}_send")
        self._send.restype = ctypes.c_int32
        self.frame_bytes = int(library.sender_frame_bytes())
        self.work_bytes = int(library.sender_work_bytes())
        self._frame = np.zeros(self.frame_bytes, np.uint8)
        # Nothing may lean on zeros there.
        self._memory = np.full(self.work_bytes + _ALIGNMENT, 0xA5, np.uint8)
        self._turn = threading.Lock()

    def call(
        self, inputs: Tensors, frame_bytes: int | None = None, work_bytes: int | None = None
    ) -> tuple[int, bytes]:
        """One call, with less memory than it may need where that is asked for.

        Args:
            inputs: Array by input name, in the artifact's type, shape and layout.
            frame_bytes: Memory for the frame; None for what always suffices.
            work_bytes: Working memory that is claimed; likewise.

        Returns:
            What the function returned, and the frame (empty where it failed).

        Raises:
            InputError: An input is missing, or has another shape or type.
        """
        arguments: list[object] = []
        arrays = []
        for spec in self._inputs:
            array = np.ascontiguousarray(inputs.get(spec.name, np.zeros(0)))
            if array.shape != spec.shape or array.dtype.name != spec.dtype:
                raise InputError(
                    f"input '{spec.name}' is {array.dtype} {list(array.shape)}",
                    remedy=f"give {spec.dtype} {list(spec.shape)}",
                )
            arrays.append(array)
            arguments += [ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)]
        room = self.frame_bytes if frame_bytes is None else min(frame_bytes, self.frame_bytes)
        work = self.work_bytes if work_bytes is None else min(work_bytes, self.work_bytes)
        start = self._memory.ctypes.data + -self._memory.ctypes.data % _ALIGNMENT
        memory = ctypes.c_void_p(start), ctypes.c_size_t(work)
        with self._turn:
            frame = ctypes.c_void_p(self._frame.ctypes.data), ctypes.c_size_t(room)
            result = int(self._send(*arguments, *frame, *memory))
            return result, self._frame[: max(result, 0)].tobytes()

    def send(self, inputs: Tensors) -> bytes:
        """The frame of an input.

        Raises:
            InputError: The input does not fit the model.
            InternalError: The function failed.
        """
        result, frame = self.call(inputs)
        if result <= 0:
            raise InternalError(f"the emitted function to send failed with {result}")
        return frame
