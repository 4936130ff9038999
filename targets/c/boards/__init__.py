"""Emulated Cortex-M boards: what emitted C needs there in instructions, memory and stack.

An image is built of the emitted files and a small bare-metal frame, and run in QEMU; nothing of a
vendor is needed, and the figures do not depend on this machine.
"""

from intaglio.targets.c.boards.board import BOARDS, Board, get_board
from intaglio.targets.c.boards.image import BuildOptions, Sizes
from intaglio.targets.c.boards.measuring import BoardRun, LayerCount, measure
from intaglio.targets.c.boards.running import BoardResult, run
from intaglio.targets.c.boards.toolchain import missing_packages, require_toolchain
from intaglio.targets.c.boards.training import TrainingRun, train_on_board

__all__ = [
    "BOARDS",
    "Board",
    "BoardResult",
    "BoardRun",
    "BuildOptions",
    "LayerCount",
    "Sizes",
    "TrainingRun",
    "get_board",
    "measure",
    "missing_packages",
    "require_toolchain",
    "run",
    "train_on_board",
]
