"""The emitted C as a shared library of this machine, called through ctypes.

The files are compiled unchanged, with a small file beside them that defines the tap: it copies the
output of each layer that is asked for.
"""

from __future__ import annotations

import ctypes
import platform
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InternalError, ToolError
from intaglio.targets.c.compiler import compile_files, require_compiler
from intaglio.targets.c.literals import c_type

_RUNNER = """\
/* Calls {name}: pointers come in tables, and outputs of layers are copied where asked for. */
#define _POSIX_C_SOURCE 199309L
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

static void *const *runner_taps;

#define {upper}_TAP(index, output, bytes) \\
    if (runner_taps != NULL && runner_taps[index] != NULL) {{ \\
        memcpy(runner_taps[index], output, bytes); \\
    }}
#include "{name}.c"

static int call(void *const *tensors, const size_t *sizes, void *arena, size_t arena_bytes)
{{
    return {name}_run({arguments}, arena, arena_bytes);
}}

int runner_call(void *const *tensors, const size_t *sizes, void *arena, size_t arena_bytes,
               void *const *wanted)
{{
    int code;
    runner_taps = wanted;
    code = call(tensors, sizes, arena, arena_bytes);
    runner_taps = NULL;
    return code;
}}

size_t runner_arena_bytes(void)
{{
    return {upper}_ARENA_BYTES;
}}

/* Nanoseconds of processor time that so many inferences take; negative if one fails. */
int64_t runner_time(void *const *tensors, const size_t *sizes, void *arena, size_t arena_bytes,
                    int count)
{{
    struct timespec before, after;
    int i;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    for (i = 0; i < count; i++) {{
        if (call(tensors, sizes, arena, arena_bytes) != 0) {{
            return -1;
        }}
    }}
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
    return (int64_t)(after.tv_sec - before.tv_sec) * 1000000000 + (after.tv_nsec - before.tv_nsec);
}}
"""

#: What a program for this machine is compiled with.
NATIVE = ("-O3", "-march=native")


class Port:
    """An input, an output or an inner tensor of a library.

    Args:
        name: Its name.
        shape: Its sizes.
        dtype: numpy name of its type.
    """

    def __init__(self, name: str, shape: Sequence[int], dtype: str) -> None:
        self.name = name
        self.shape = tuple(shape)
        self.dtype = dtype

    def empty(self) -> NDArray[Any]:
        """An array for it."""
        return np.zeros(self.shape, self.dtype)


class Library:
    """A compiled model.

    Args:
        sources: Folder of the emitted files.
        name: Their prefix.
        inputs: Inputs of the model's function, in order.
        outputs: Outputs likewise.
        layers: Output of each layer, in order.
        build: Folder to compile in, which must outlive the library.
        flags: Arguments for the compiler.
        compiler: The compiler; None for the system's.

    Raises:
        ToolError: There is no compiler, or it failed.
    """

    def __init__(
        self,
        sources: Path,
        name: str,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        layers: Sequence[Port],
        build: Path,
        flags: Sequence[str] = NATIVE,
        compiler: str | None = None,
    ) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.layers = tuple(layers)
        self._library = load_library(
            _compile(sources, name, self._border(), build, flags, compiler)
        )
        self._library.runner_arena_bytes.restype = ctypes.c_size_t
        self._library.runner_time.restype = ctypes.c_int64
        self.arena_bytes = int(self._library.runner_arena_bytes())
        # One arena and one table of taps: calls from several threads take turns.
        self._turn = threading.Lock()
        # numpy aligns large arrays to 16 bytes at least on common systems, but does not promise it.
        self._memory = np.zeros(self.arena_bytes + 64, np.uint8)
        self._arena = self._memory.ctypes.data + -self._memory.ctypes.data % 64

    def _border(self) -> list[tuple[Port, bool]]:
        return [*((port, True) for port in self.inputs), *((port, False) for port in self.outputs)]

    def run(
        self, inputs: Mapping[str, NDArray[Any]], inner: Collection[str] = ()
    ) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """Runs one inference.

        Args:
            inputs: Array by name, of the right shape and type.
            inner: Names of layers' outputs to return too.

        Returns:
            Outputs by name, and the inner tensors by name.

        Raises:
            InternalError: The function refused.
        """
        given = [np.ascontiguousarray(inputs[port.name]) for port in self.inputs]
        made = [port.empty() for port in self.outputs]
        wanted = {
            place: port.empty() for place, port in enumerate(self.layers) if port.name in inner
        }
        taps = (ctypes.c_void_p * max(1, len(self.layers)))()
        for place, array in wanted.items():
            taps[place] = array.ctypes.data
        # The tap writes whole tensors, so the arena is poisoned: nothing may lean on zeros there.
        with self._turn:
            self._memory.fill(0xA5)
            code = self._library.runner_call(*self._arguments([*given, *made]), taps)
        if code:
            raise InternalError(f"the emitted C refused its arguments with code {code}")
        outputs = {port.name: array for port, array in zip(self.outputs, made, strict=True)}
        return outputs, {self.layers[place].name: array for place, array in wanted.items()}

    def seconds(self, inputs: Mapping[str, NDArray[Any]], count: int) -> float:
        """Processor time of one inference, averaged over ``count`` of them."""
        given = [np.ascontiguousarray(inputs[port.name]) for port in self.inputs]
        made = [port.empty() for port in self.outputs]
        with self._turn:
            taken = int(self._library.runner_time(*self._arguments([*given, *made]), count))
        if taken < 0:
            raise InternalError("the emitted C refused its arguments")
        return taken / count / 1e9

    def _arguments(self, arrays: Sequence[NDArray[Any]]) -> tuple[Any, ...]:
        count = len(arrays)
        tensors = (ctypes.c_void_p * count)(*(array.ctypes.data for array in arrays))
        sizes = (ctypes.c_size_t * count)(*(array.nbytes for array in arrays))
        return tensors, sizes, ctypes.c_void_p(self._arena), ctypes.c_size_t(self.arena_bytes)


def _compile(
    sources: Path,
    name: str,
    border: Sequence[tuple[Port, bool]],
    build: Path,
    flags: Sequence[str],
    compiler: str | None,
) -> Path:
    sources = sources.resolve()
    arguments = ", ".join(
        f"({'const ' if is_input else ''}{c_type(port.dtype)} *)tensors[{place}], sizes[{place}]"
        for place, (port, is_input) in enumerate(border)
    )
    text = _RUNNER.format(name=name, upper=name.upper(), arguments=arguments)
    (build / "emitted__runner.c").write_text(text, encoding="utf-8")
    target = build / library_name("runner")
    command = [
        *((compiler,) if compiler else require_compiler()), "-std=c99", "-shared", "-fPIC", *flags,
        f"-I{sources}", "emitted__runner.c", str(sources / f"{name}_weights.c"), "-o", str(target),
    ]  # fmt: skip
    compile_files(command, build)
    return target


def library_name(stem: str) -> str:
    """File name of a shared library here."""
    return f"{stem}.dll" if platform.system() == "Windows" else f"{stem}.so"


def load_library(path: Path) -> ctypes.CDLL:
    """Loads a shared library.

    Raises:
        ToolError: It cannot be loaded.
    """
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise ToolError(
            f"the compiled model cannot be loaded: {error}",
            command=(str(path),),
            remedy="check that the compiler builds for this machine (CC)",
        ) from error
