"""The boards that QEMU emulates and we build images for."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

from intaglio.errors import RecipeError


@dataclasses.dataclass(frozen=True)
class Board:
    """One emulated board.

    Attributes:
        name: As in ``bench --board``.
        title: In words.
        machine: Name in QEMU.
        flags: Arguments that make the compiler build for its processor.
        memories: Name of the linker script with its memories.
        instructions_per_tick: Instructions that run, one a nanosecond, in a tick of SysTick, which
            the emulator clocks like the processor: 25 MHz on MPS2 and 32 MHz on AN547.
        variant: The kernels that its processor gets.
    """

    name: str
    title: str
    machine: str
    flags: tuple[str, ...]
    memories: str
    instructions_per_tick: Fraction
    variant: str


#: Boards by name.
BOARDS = {
    board.name: board
    for board in (
        Board(
            "cortex-m4",
            "Cortex-M4 with FPU (MPS2 with AN386)",
            "mps2-an386",
            ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", "-mthumb"),
            "mps2.ld",
            Fraction(40),
            "dsp",
        ),
        Board(
            "cortex-m7",
            "Cortex-M7 with FPU (MPS2 with AN500)",
            "mps2-an500",
            ("-mcpu=cortex-m7", "-mfpu=fpv5-d16", "-mfloat-abi=hard", "-mthumb"),
            "mps2.ld",
            Fraction(40),
            "dsp",
        ),
        Board(
            "cortex-m55",
            "Cortex-M55 with Helium (MPS3 with AN547)",
            "mps3-an547",
            ("-mcpu=cortex-m55", "-mfloat-abi=hard", "-mthumb"),
            "mps3.ld",
            Fraction(125, 4),
            "mve",
        ),
    )
}


def get_board(name: str) -> Board:
    """The board called ``name``.

    Raises:
        RecipeError: There is none.
    """
    if name not in BOARDS:
        raise RecipeError(f"there is no board '{name}'", remedy=f"known: {', '.join(BOARDS)}")
    return BOARDS[name]
