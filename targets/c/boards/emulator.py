"""Running an image in QEMU, and what it tells: marks, taps, outputs.

Where the host has a C compiler, a plugin counts instructions exactly. Otherwise QEMU runs with one
instruction a nanosecond (``-icount shift=0``) and the image reads SysTick, whose tick is some 40
instructions long. Neither depends on the speed of this machine.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from intaglio.errors import ToolError
from intaglio.targets.c.boards.board import Board
from intaglio.targets.c.boards.image import Image
from intaglio.targets.c.boards.toolchain import QEMU, run_tool, tool_version
from intaglio.targets.c.compiler import find_compiler

_PLUGIN = Path(__file__).resolve().parent / "counter.c"
_COUNTS = "counts.txt"

#: Two marks with nothing between them come first: what a mark itself costs.
CALIBRATION_MARKS = 2


@dataclasses.dataclass(frozen=True)
class Emulation:
    """What a run of an image gave.

    Attributes:
        marks: Instructions executed at each mark, or ticks of the timer.
        said: Numbers that the image printed, by word, in order.
        executed: How often each instruction ran within the inferences, by address; empty without
            the plugin.
    """

    marks: tuple[int, ...]
    said: Mapping[str, tuple[int, ...]]
    executed: Mapping[int, int]


def build_plugin(folder: Path) -> Path | None:
    """Compiles the plugin.

    Args:
        folder: Where.

    Returns:
        The plugin, or None where that cannot be done here: the timer counts then.
    """
    compiler = find_compiler()
    if compiler is None:
        return None
    release = re.search(r"version (\d+)", tool_version(QEMU, folder))
    # The functions that we use are the same in all; 9 no longer takes plugins that say 1.
    interface = 2 if release and int(release[1]) >= 9 else 1
    command = [*compiler, "-O2", "-shared", "-fPIC", f"-DPLUGIN_VERSION={interface}", str(_PLUGIN)]
    try:
        run_tool([*command, "-o", "counter.so"], folder, "the compiler")
    except ToolError:
        return None
    return folder / "counter.so"


def run(board: Board, image: Image, plugin: Path | None, folder: Path, seconds: float) -> Emulation:
    """Runs an image to its end.

    Args:
        board: The board.
        image: The image, built for it.
        plugin: The plugin; None for an image whose marks read the timer.
        folder: Where the image finds its inputs and writes its outputs.
        seconds: Time it may take.

    Raises:
        ToolError: QEMU failed, the processor faulted, the model refused its arguments or wrote
            beyond its memory, or time is up.
    """
    if plugin is None:
        counting = ["-icount", "shift=0"]
    else:
        mark = f"mark={image.address('board_mark'):x}"
        skip = f"skip={CALIBRATION_MARKS}"
        counting = ["-plugin", f"file={plugin},{mark},out={_COUNTS},{skip}"]
    said = execute(board, image, folder, seconds, counting)
    words: dict[str, list[int]] = {}
    for word, number in re.findall(r"^(\w+) (\d+)$", said, re.MULTILINE):
        words.setdefault(word, []).append(int(number))
    marks = words.pop("mark", [])
    executed: dict[int, int] = {}
    if plugin is not None:
        counts = (folder / _COUNTS).read_text(encoding="utf-8")
        marks = [int(number) for number in re.findall(r"^mark (\d+)$", counts, re.MULTILINE)]
        for address, count in re.findall(r"^at ([0-9a-f]+) (\d+)$", counts, re.MULTILINE):
            place = int(address, 16)
            executed[place] = executed.get(place, 0) + int(count)
    return Emulation(tuple(marks), {w: tuple(n) for w, n in words.items()}, executed)


def execute(
    board: Board, image: Image, folder: Path, seconds: float, further: Sequence[str] = ()
) -> str:
    """Runs an image to its end, and counts nothing unless ``further`` tells QEMU to.

    Args:
        board: The board.
        image: The image, built for it.
        folder: Where the image finds its inputs and writes its outputs.
        seconds: Time it may take.
        further: More arguments for QEMU.

    Returns:
        What the image printed.

    Raises:
        ToolError: As in :func:`run`.
    """
    command = [QEMU, "-machine", board.machine, "-display", "none", "-monitor", "none"]
    command += ["-serial", "null", "-chardev", "stdio,id=said"]
    command += ["-semihosting-config", "enable=on,target=native,chardev=said"]
    command += ["-kernel", str(image.path), *further]
    try:
        return run_tool(command, folder, "the emulated board", seconds)
    except ToolError as error:
        raise _explained(error) from error


#: What an image, or QEMU, prints before it ends in an error, in words.
_ENDINGS = {
    "fault": "the processor stopped with a fault (CFSR {number})",
    "refused": "the model's function returned {number}",
    "overflow": "the model wrote beyond its arena or its outputs",
    "deep": "an inference takes more than the 32 KiB of stack",
    "Lockup": "the processor locked up, as it does where the stack is too small",
}


def _explained(error: ToolError) -> ToolError:
    for word, text in _ENDINGS.items():
        found = re.search(rf"\b{word}\b(?: (\d+))?", error.message)
        if found:
            return ToolError(
                f"on the emulated board, {text.format(number=found[1])}",
                command=error.command,
                returncode=error.returncode,
                remedy="this is an error of the emitted C, or of how it was compiled; report it",
            )
    return error
