"""The emitted C on AArch64, without a board: cross-compiled, and run by QEMU's user mode.

The files are compiled unchanged into a static program whose ``main`` reads raw inputs from stdin
and writes raw outputs to stdout, inference after inference until there is no more input. It tells
nothing about time: :meth:`Emulated.count_instructions` counts instructions, not cycles.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError, InternalError, ToolError
from intaglio.targets.c.boards.toolchain import run_tool, tool_version
from intaglio.targets.c.compiler import compile_files, require_compiler
from intaglio.targets.c.library import Port
from intaglio.targets.c.literals import c_type
from intaglio.targets.processes import signal_name

COMPILER = "aarch64-linux-gnu-gcc"
EMULATOR = "qemu-aarch64"
_SYMBOLS = "aarch64-linux-gnu-nm"
_PLUGIN = Path(__file__).resolve().parent / "boards" / "counter.c"

#: What selects each variant, with the speed that a release build would have.
FLAGS: Mapping[str, tuple[str, ...]] = {
    "dotprod": ("-O2", "-march=armv8.2-a+dotprod"),
    "neon": ("-O2", "-march=armv8-a"),
    "portable": ("-O2", "-march=armv8-a"),
}

_PACKAGES = {
    COMPILER: "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    EMULATOR: "qemu-user",
}
_SECONDS = 300

_MAIN = Template("""\
/* Runs ${name}: raw inputs from stdin, raw outputs and layers to stdout, until stdin ends. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ${upper}_TAP(index, output, bytes) \\
    if (wanted[index]) { fwrite(output, 1, bytes, stdout); }
static const char wanted[] = {${wanted}};
#include "${name}.c"

#define GUARD 0x5A
#define GUARDS 16

/* Memory that ends where no access is allowed, with guard bytes before it. */
static uint8_t *place(size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t size = (bytes + GUARDS + page - 1) / page * page;
    uint8_t *start = (uint8_t *)mmap(
        NULL, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == (uint8_t *)MAP_FAILED || mprotect(start + size, page, PROT_NONE) != 0) {
        exit(98);
    }
    memset(start, GUARD, size);
    return start + size - bytes;
}

static int is_guarded(const uint8_t *from)
{
    size_t i;
    for (i = 1; i <= GUARDS && from[-(ptrdiff_t)i] == GUARD; i++) {
    }
    return i > GUARDS;
}

/* What the plugin that counts instructions watches. */
static __attribute__((noinline)) void mark(void)
{
    __asm__ volatile("" ::: "memory");
}

int main(void)
{
    uint8_t *const arena = place(${upper}_ARENA_BYTES);
${places}
    for (;;) {
        int code;
        memset(arena, 0xA5, ${upper}_ARENA_BYTES);
${prepare}
        mark();
        code = ${name}_run(${arguments}, arena, ${upper}_ARENA_BYTES);
        mark();
        if (code != 0) {
            return 100 + code;
        }
        if (!is_guarded(arena)${guarded}) {
            return 99;
        }
${finish}
    }
}
""")


def missing_packages() -> list[str]:
    """Debian's packages that are not installed here and without which nothing is emulated."""
    return [packages for tool, packages in _PACKAGES.items() if shutil.which(tool) is None]


class Emulated:
    """A model as a static AArch64 program.

    Args:
        sources: Folder of the emitted files.
        name: Their prefix.
        inputs: Inputs of the model's function, in order.
        outputs: Outputs likewise.
        build: Folder to compile in; the program stays there.
        layers: Output of each layer, in order, where inner tensors are wanted.
        inner: Names of those to return.
        flags: Arguments for the compiler; see :data:`FLAGS`.
        processor: What QEMU emulates.

    Raises:
        ToolError: A tool is not installed, or failed.
    """

    def __init__(
        self,
        sources: Path,
        name: str,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        build: Path,
        *,
        layers: Sequence[Port] = (),
        inner: Collection[str] = (),
        flags: Sequence[str] = FLAGS["dotprod"],
        processor: str = "max",
    ) -> None:
        if missing := missing_packages():
            raise ToolError(
                "what compiles and emulates AArch64 programs is not installed here",
                command=(COMPILER,),
                remedy=f"Debian: apt-get install {' '.join(missing)}",
            )
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.inner = tuple(port for port in layers if port.name in inner)
        self._processor = processor
        self.path = build / f"{name}.elf"
        text = self._main(name, layers)
        (build / "main.c").write_text(text, encoding="utf-8")
        command = [
            COMPILER, "-std=gnu99", "-static", *flags, f"-I{sources}", "main.c",
            str(sources / f"{name}_weights.c"), "-o", str(self.path),
        ]  # fmt: skip
        compile_files(command, build)

    def run(
        self, batch: Sequence[Mapping[str, NDArray[Any]]]
    ) -> list[tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]]:
        """Runs inferences.

        Args:
            batch: For each the array by name, of the right shape and type.

        Returns:
            For each the outputs by name and the inner tensors by name.

        Raises:
            InputError: An array is missing or does not fit.
            ToolError: The program or the emulator failed, or it wrote beyond its memory.
        """
        said = self._emulate(batch, ())
        found = []
        at = 0
        for _ in batch:
            made = {}
            for port in (*self.inner, *self.outputs):
                array = port.empty()
                data = said[at : at + array.nbytes]
                made[port.name] = np.frombuffer(data, port.dtype).reshape(port.shape).copy()
                at += array.nbytes
            found.append(
                (
                    {port.name: made[port.name] for port in self.outputs},
                    {port.name: made[port.name] for port in self.inner},
                )
            )
        if at != len(said):
            raise ToolError(
                f"the emulated program wrote {len(said)} bytes, not {at}",
                command=(EMULATOR, str(self.path)),
                remedy="this is an error of the emitted C, or of how it was compiled; report it",
            )
        return found

    def count_instructions(self, arrays: Mapping[str, NDArray[Any]]) -> int:
        """Instructions of one inference, counted by a plugin of QEMU: exact, the same every time.

        Args:
            arrays: Inputs by name.

        Raises:
            ToolError: The plugin cannot be built here, or the program failed.
        """
        folder = self.path.parent
        plugin, counts = _build_plugin(folder), folder / "counts.txt"
        symbols = run_tool([_SYMBOLS, str(self.path)], folder, "the list of symbols")
        mark = re.search(r"^([0-9a-f]+) \w mark$", symbols, re.MULTILINE)
        if mark is None:
            raise InternalError("the emulated program has no function 'mark'")
        words = f"file={plugin},mark={mark[1]},out={counts}"
        self._emulate([arrays], ("-plugin", words))
        text = counts.read_text(encoding="utf-8")
        before, behind = (int(n) for n in re.findall(r"^mark (\d+)$", text, re.MULTILINE))
        return behind - before

    def _main(self, name: str, layers: Sequence[Port]) -> str:
        places, prepare, arguments, guarded, finish = [], [], [], [], []
        border = [
            *((port, True) for port in self.inputs),
            *((port, False) for port in self.outputs),
        ]
        for number, (port, is_input) in enumerate(border):
            kind, bytes_, tensor = c_type(port.dtype), port.empty().nbytes, f"tensor_{number}"
            places.append(f"{kind} *const {tensor} = ({kind} *)(void *)place({bytes_});")
            arguments.append(f"{tensor}, {bytes_}u")
            if is_input:
                prepare += [
                    f"if (fread({tensor}, 1, {bytes_}, stdin) != {bytes_}) {{",
                    "    return 0;",
                    "}",
                ]
            else:
                prepare.append(f"memset({tensor}, GUARD, {bytes_});")
                guarded.append(f" || !is_guarded((const uint8_t *){tensor})")
                finish.append(f"fwrite({tensor}, 1, {bytes_}, stdout);")
        return _MAIN.substitute(
            name=name,
            upper=name.upper(),
            wanted=", ".join(str(int(port in self.inner)) for port in layers) or "0",
            places="\n".join(f"    {line}" for line in places),
            prepare="\n".join(f"        {line}" for line in prepare),
            arguments=", ".join(arguments),
            guarded="".join(guarded),
            finish="\n".join(f"        {line}" for line in finish),
        )

    def _emulate(
        self, batch: Sequence[Mapping[str, NDArray[Any]]], options: Sequence[str]
    ) -> bytes:
        given = b"".join(self._raw(arrays) for arrays in batch)
        command = [EMULATOR, "-cpu", self._processor, *options, str(self.path)]
        try:
            done = subprocess.run(
                command, input=given, capture_output=True, timeout=_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ToolError(
                f"the emulated program did not run: {error}",
                command=command,
                remedy="check the installation of qemu-user",
            ) from error
        if done.returncode:
            raise ToolError(
                f"the emulated program {_ending(done.returncode)}: "
                f"{done.stderr[-1000:].decode(errors='replace').strip()}",
                command=command,
                returncode=done.returncode,
                remedy="this is an error of the emitted C, or of how it was compiled; report it",
            )
        return done.stdout

    def _raw(self, arrays: Mapping[str, NDArray[Any]]) -> bytes:
        parts = []
        for port in self.inputs:
            array = np.asarray(arrays.get(port.name))
            if array.shape != port.shape or array.dtype.name != port.dtype:
                raise InputError(
                    f"input '{port.name}' is {array.dtype} {list(array.shape)}",
                    remedy=f"give {port.dtype} {list(port.shape)}",
                )
            parts.append(np.ascontiguousarray(array).tobytes())
        return b"".join(parts)


def run_aarch64(
    folder: Path,
    prefix: str,
    inputs: Mapping[str, NDArray[Any]],
    outputs: Sequence[Port],
    *,
    layers: Sequence[Port] = (),
    inner: Collection[str] = (),
    flags: Sequence[str] = FLAGS["dotprod"],
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Compiles emitted sources, in their folder, and runs one inference.

    Args:
        folder: Folder of the emitted files.
        prefix: Their prefix.
        inputs: Arrays by name, in the order of the model's function.
        outputs: Outputs of the model's function, in order.
        layers: Output of each layer, in order, where inner tensors are wanted.
        inner: Names of those to return.
        flags: Arguments for the compiler; see :data:`FLAGS`.

    Returns:
        Outputs by name and inner tensors by name.

    Raises:
        ToolError: A tool is not installed, or failed.
    """
    ports = [Port(name, array.shape, array.dtype.name) for name, array in inputs.items()]
    program = Emulated(
        folder, prefix, ports, outputs, folder, layers=layers, inner=inner, flags=flags
    )
    return program.run([inputs])[0]


def _build_plugin(folder: Path) -> Path:
    """Compiles the plugin that counts instructions."""
    release = re.search(r"version (\d+)", tool_version(EMULATOR, folder))
    # The functions that it uses are the same in all; 9 no longer takes plugins that say 1.
    interface = 2 if release and int(release[1]) >= 9 else 1
    target = folder / "counter.so"
    command = [*require_compiler(), "-O2", "-shared", "-fPIC", f"-DPLUGIN_VERSION={interface}"]
    run_tool([*command, str(_PLUGIN), "-o", str(target)], folder, "the compiler")
    return target


def _ending(code: int) -> str:
    if code < 0:
        return f"was ended by {signal_name(-code)}"
    if code == 99:
        return "wrote beyond its arena or its outputs"
    if 100 < code < 105:
        return f"was refused its arguments with code {code - 100}"
    return f"ended with code {code}"
