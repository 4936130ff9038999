"""Building an image of the emitted files and the frame that runs them on a board."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from intaglio.errors import ToolError
from intaglio.targets.c.boards.board import Board
from intaglio.targets.c.boards.toolchain import GCC, run_tool
from intaglio.targets.c.literals import c_type

_HERE = Path(__file__).resolve().parent
_FRAME = ("startup.c", "semihosting.c", "counting.c", "inference.c")
_LAYERS = "layers.c"
_ALIGNMENT = 16
#: Taps of one inference that there is room for.
_MOST_TAPS = 512


class Border(Protocol):
    """An input or output: what is needed of its description."""

    @property
    def shape(self) -> Sequence[int | str]:
        """Sizes; all of them numbers here."""

    @property
    def dtype(self) -> str:
        """Name of its type in numpy."""


@dataclasses.dataclass(frozen=True)
class BuildOptions:
    """How an image is compiled.

    Attributes:
        optimization: Of the emitted files; the frame has its own.
        nano: Whether to link newlib-nano, whose memcpy is short and slow.
        flags: Further arguments for the emitted files, such as ``-DDIGITS_PORTABLE``.
    """

    optimization: str = "-O2"
    nano: bool = False
    flags: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Bytes of sections: code and constants, initialized variables, other memory."""

    text: int
    data: int
    bss: int


@dataclasses.dataclass(frozen=True)
class Image:
    """A linked program.

    Attributes:
        path: The ELF file.
        sizes: Of the whole image; arena, buffers of inputs and outputs, and the stack are in bss.
        code: Of the emitted code alone, without the library functions that it calls.
        weights: Of the weights file alone.
        symbols: Address and name of each function, in order of address.
    """

    path: Path
    sizes: Sizes
    code: Sizes
    weights: Sizes
    symbols: tuple[tuple[int, str], ...]

    def address(self, name: str) -> int:
        """Address of a function."""
        return next(address for address, found in self.symbols if found == name)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What an image is to do.

    Attributes:
        prefix: Prefix of the emitted files.
        inputs: Inputs of the model's function, in order.
        outputs: Outputs likewise.
        samples: Number of inferences.
        by_timer: Whether marks read the timer, instead of being watched by the plugin.
        taps: Whether there is a mark behind each layer, too.
        wanted: Of each layer, whether its output is written to a file; nothing is measured then.
            None where something is.
    """

    prefix: str
    inputs: tuple[Border, ...]
    outputs: tuple[Border, ...]
    samples: int
    by_timer: bool
    taps: bool
    wanted: tuple[bool, ...] | None = None


def padded_bytes(spec: Border) -> int:
    """Bytes of a tensor in the image's buffers, where each begins at a multiple of 16."""
    return -(-_bytes(spec) // _ALIGNMENT) * _ALIGNMENT


def build(board: Board, sources: Path, plan: Plan, options: BuildOptions, folder: Path) -> Image:
    """Compiles and links.

    Args:
        board: What for.
        sources: Folder of the emitted files.
        plan: What the image does.
        options: How the emitted files are compiled.
        folder: Where to do it; files there are overwritten.

    Raises:
        ToolError: The compiler or the linker failed, or the image does not fit the board.
    """
    (folder / "border.h").write_text(_border_header(plan), encoding="utf-8")
    (folder / "taps.h").write_text(_taps_header(plan), encoding="utf-8")
    tapped = ["-include", "taps.h"] if plan.taps or plan.wanted is not None else []
    defines = [f"-DMARKS_BY_TIMER={_most_marks(plan)}"] if plan.by_timer else []
    if plan.taps:
        defines.append(f"-DNUMBER_OF_TAPS={_MOST_TAPS}")
    parts = _FRAME if plan.wanted is None else (*_FRAME, _LAYERS)
    return link(board, sources, plan.prefix, parts, options, folder, tapped, defines)


def link(
    board: Board,
    sources: Path,
    prefix: str,
    parts: Sequence[str],
    options: BuildOptions,
    folder: Path,
    tapped: Sequence[str] = (),
    defines: Sequence[str] = (),
) -> Image:
    """Compiles emitted files and parts of the frame, and links them.

    Args:
        board: What for.
        sources: Folder of the emitted files.
        prefix: Their prefix.
        parts: Files of the frame; ``folder`` has the headers that are written for the model.
        options: How the emitted files are compiled.
        folder: Where to do it.
        tapped: Further arguments for the emitted code.
        defines: Further arguments for the frame.

    Raises:
        ToolError: The compiler or the linker failed, or the image does not fit the board.
    """
    common = [GCC, *board.flags, "-std=c99", "-ffunction-sections", "-fdata-sections"]
    emitted = [*common, options.optimization, *options.flags, f"-I{sources}"]
    _compile([*emitted, *tapped, "-c", str(sources / f"{prefix}.c"), "-o", "code.o"], folder)
    weights = str(sources / f"{prefix}_weights.c")
    _compile([*emitted, "-c", weights, "-o", "weights.o"], folder)
    # The frame must see the variant that the emitted files are compiled for: arenas may differ.
    frame = [*common, "-O1", f"-I{_HERE}", f"-I{sources}", "-I.", *defines, *options.flags]
    for name in parts:
        _compile([*frame, "-c", str(_HERE / name), "-o", f"{Path(name).stem}.o"], folder)
    objects = ["code.o", "weights.o", *(f"{Path(name).stem}.o" for name in parts)]
    scripts = ["-T", str(_HERE / board.memories), "-T", str(_HERE / "image.ld")]
    link = [GCC, *board.flags, "-nostartfiles", *scripts, "-Wl,--gc-sections", *objects]
    _compile([*link, *(["-specs=nano.specs"] if options.nano else []), "-o", "image.elf"], folder)
    code, constants, whole = _sizes(["code.o", "weights.o", "image.elf"], folder)
    return Image(folder / "image.elf", whole, code, constants, _functions("image.elf", folder))


def _most_marks(plan: Plan) -> int:
    """Marks that an image makes at most."""
    return 2 + plan.samples * (2 + (_MOST_TAPS if plan.taps else 0))


def _compile(command: Sequence[str], folder: Path) -> None:
    try:
        run_tool(command, folder, "the compiler for the board")
    except ToolError as error:
        if "will not fit in region" in error.message or "overflowed by" in error.message:
            lines = [line for line in error.message.splitlines() if "region" in line]
            raise ToolError(
                f"the image is too large for the board: {lines[0].strip()}",
                command=command,
                returncode=error.returncode,
                remedy="the model does not fit the emulated memories",
            ) from error
        raise


def _border_header(plan: Plan) -> str:
    """Text of ``border.h``, which tells the frame how to call the model."""
    upper = plan.prefix.upper()
    arguments = []
    totals = []
    for specs, base, constant in (
        (plan.inputs, "inputs", "const "),
        (plan.outputs, "outputs", ""),
    ):
        offset = 0
        for spec in specs:
            kind = f"{constant}{c_type(spec.dtype)} *"
            arguments.append(f"({kind})({constant}void *)(({base}) + {offset}), {_bytes(spec)}u")
            offset += padded_bytes(spec)
        totals.append(offset)
    layers = ""
    if plan.wanted is not None:
        flags = ", ".join(str(int(is_wanted)) for is_wanted in plan.wanted) or "0"
        layers = f"#define WANTED_LAYERS {flags}\n"
    return f"""\
#include "{plan.prefix}.h"

#define BYTES_OF_INPUTS {totals[0]}
#define BYTES_OF_OUTPUTS {totals[1]}
#define BYTES_OF_ARENA {upper}_ARENA_BYTES
#define NUMBER_OF_SAMPLES {plan.samples}
#define RUN_MODEL(inputs, outputs, arena) \\
    {plan.prefix}_run({", ".join(arguments)}, (arena), {upper}_ARENA_BYTES)
{layers}"""


def _taps_header(plan: Plan) -> str:
    """Text of ``taps.h``, which stands before the emitted code."""
    tap = f"{plan.prefix.upper()}_TAP(index, output, bytes)"
    if plan.wanted is not None:
        return (
            "void board_write_layer(unsigned index, const void *output, unsigned bytes);\n"
            f"#define {tap} board_write_layer(index, output, bytes);\n"
        )
    return f"void board_tap(int index);\n#define {tap} board_tap(index);\n"


def _bytes(spec: Border) -> int:
    size = _ITEM_BYTES[spec.dtype]
    for dimension in spec.shape:
        size *= int(dimension)
    return size


_ITEM_BYTES = {"int8": 1, "uint8": 1, "int16": 2, "int32": 4, "float32": 4}


def _sizes(names: Sequence[str], folder: Path) -> list[Sizes]:
    """Sizes of object files, by the linker's companion ``size``."""
    said = run_tool(["arm-none-eabi-size", *names], folder, "arm-none-eabi-size")
    rows = [line.split() for line in said.splitlines()[1:]]
    return [Sizes(*(int(number) for number in row[:3])) for row in rows]


def _functions(name: str, folder: Path) -> tuple[tuple[int, str], ...]:
    said = run_tool(["arm-none-eabi-nm", "--defined-only", name], folder, "arm-none-eabi-nm")
    found = re.findall(r"^([0-9a-f]+) [tTwW] ([A-Za-z_].*)$", said, re.MULTILINE)
    return tuple(sorted((int(address, 16) & ~1, symbol) for address, symbol in found))
