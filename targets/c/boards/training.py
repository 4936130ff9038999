"""Training steps of emitted C on an emulated board: their results, and what they cost."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InternalError, ToolError
from intaglio.targets.c.boards.board import Board
from intaglio.targets.c.boards.cycles import modelled_cycles
from intaglio.targets.c.boards.emulator import Emulation, build_plugin, run
from intaglio.targets.c.boards.image import BuildOptions, Image, Sizes, link
from intaglio.targets.c.boards.measuring import CYCLES_OF, by_function, gaps_between
from intaglio.targets.c.boards.toolchain import GCC, QEMU, require_toolchain, tool_version
from intaglio.targets.c.literals import c_type
from intaglio.transforms.forward_gradient.step import StepResult

_FRAME = ("startup.c", "semihosting.c", "counting.c", "training.c")
_ALIGNMENT = 16

#: Inputs of a step, then its targets.
Batch = tuple[Sequence[NDArray[Any]], NDArray[Any]]


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """What training steps did on a board.

    Attributes:
        board: Name of the board.
        results: Losses and signs of each step.
        weights: The weights behind the last, as they lie in memory.
        instructions: Executed instructions of each step, the call included.
        resolution: The figures above are right to so many instructions; 1 with the plugin.
        functions: Instructions of each C function, averaged over the steps; empty without the
            plugin.
        cycles: Cycles by the model of a Cortex-M4, averaged; None on other boards, or without the
            plugin.
        image: Sizes of the whole image.
        code_bytes: Code of the emitted files.
        weight_bytes: Constants of the weights file, initial weights among them.
        arena_bytes: Working memory that the header asks for.
        stack_bytes: Stack of a step.
        compiler: The compiler's name and version.
        emulator: The emulator's.
    """

    board: str
    results: tuple[StepResult, ...]
    weights: bytes
    instructions: tuple[int, ...]
    resolution: float
    functions: Mapping[str, float]
    cycles: int | None
    image: Sizes
    code_bytes: int
    weight_bytes: int
    arena_bytes: int
    stack_bytes: int
    compiler: str
    emulator: str

    @property
    def mean_instructions(self) -> float:
        """Instructions of a step, averaged."""
        return sum(self.instructions) / len(self.instructions)


def train_on_board(
    board: Board,
    sources: Path,
    prefix: str,
    batches: Sequence[Batch],
    probes: int,
    first_seed: int,
    *,
    exact: bool = True,
    options: BuildOptions | None = None,
    seconds: float = 600.0,
) -> TrainingRun:
    """Builds an image of the emitted files and makes a training step on each batch.

    The weights begin as the initial ones; seeds count on from step to step as a host's do.

    Args:
        board: The board.
        sources: Folder of the emitted files.
        prefix: Their prefix.
        batches: Inputs, in order, and targets of each step; all of the same shapes.
        probes: Losses of a step on either side.
        first_seed: Seed of the first step.
        exact: Whether to count with the plugin where it can be built, not with the timer.
        options: How to compile.
        seconds: Time that a run may take.

    Raises:
        ToolError: The toolchain is missing or fails, the image does not fit the board, or the
            step does there what it must not.
    """
    require_toolchain()
    options = options or BuildOptions()
    packed = [_packed(batch) for batch in batches]
    with tempfile.TemporaryDirectory(prefix="intaglio-board-") as name:
        folder = Path(name)
        (folder / "batches.bin").write_bytes(b"".join(packed))
        header = _header(prefix, batches[0], len(batches), first_seed, probes)
        (folder / "steps.h").write_text(header, encoding="utf-8")
        work = _Work(board, sources.resolve(), prefix, options, folder, seconds, len(batches))
        image, counted, by_plugin = work.count(exact)
        scale = 1.0 if by_plugin else float(board.instructions_per_tick)
        gaps = gaps_between(counted.marks, 2, len(batches))
        cycles = None
        if counted.executed and board.name == CYCLES_OF:
            cycles = round(modelled_cycles(image.path, counted.executed) / len(batches))
        results = (folder / "results.bin").read_bytes()
        return TrainingRun(
            board=board.name,
            results=_results(results, probes, len(batches)),
            weights=(folder / "weights.bin").read_bytes(),
            instructions=tuple(round(scale * gap[0]) for gap in gaps),
            resolution=scale,
            functions=by_function(image, counted.executed, len(batches)),
            cycles=cycles,
            image=image.sizes,
            code_bytes=image.code.text + image.code.data,
            weight_bytes=image.weights.text + image.weights.data,
            arena_bytes=counted.said["arena"][0],
            stack_bytes=counted.said["stack"][0],
            compiler=tool_version(GCC, folder),
            emulator=tool_version(QEMU, folder),
        )


@dataclasses.dataclass(frozen=True)
class _Work:
    """Builds and runs images in one folder."""

    board: Board
    sources: Path
    prefix: str
    options: BuildOptions
    folder: Path
    seconds: float
    steps: int

    def count(self, exact: bool) -> tuple[Image, Emulation, bool]:
        """Runs the steps; says too whether the plugin counted."""
        plugin = build_plugin(self.folder) if exact else None
        if plugin is not None:
            image = self._build(())
            try:
                return image, self._run(image, plugin), True
            except ToolError as error:
                # A QEMU that was built without plugins, or that wants another interface.
                if "plugin" not in error.message.lower():
                    raise
        image = self._build((f"-DMARKS_BY_TIMER={2 + 2 * self.steps}",))
        return image, self._run(image, None), False

    def _build(self, defines: Sequence[str]) -> Image:
        return link(
            self.board, self.sources, self.prefix, _FRAME, self.options, self.folder,
            defines=defines,
        )  # fmt: skip

    def _run(self, image: Image, plugin: Path | None) -> Emulation:
        return run(self.board, image, plugin, self.folder, self.seconds)


def _packed(batch: Batch) -> bytes:
    """Inputs and targets one behind the other, each filled up to 16 bytes."""
    inputs, targets = batch
    parts = [np.ascontiguousarray(array).tobytes() for array in inputs]
    parts.append(np.ascontiguousarray(targets, "<i4").tobytes())
    return b"".join(part.ljust(_filled(len(part)), b"\0") for part in parts)


def _header(prefix: str, batch: Batch, steps: int, first_seed: int, probes: int) -> str:
    """Text of ``steps.h``, which tells the frame how to call the step."""
    upper = prefix.upper()
    inputs, targets = batch
    count, offset, arguments = len(targets), 0, []
    for array in inputs:
        kind = f"const {c_type(array.dtype.name)} *"
        arguments.append(f"({kind})(const void *)((batch) + {offset}), {array.nbytes}u")
        offset += _filled(array.nbytes)
    size = int(np.asarray(targets).size) * 4
    arguments.append(f"(const int32_t *)(const void *)((batch) + {offset}), {count}u")
    total = offset + _filled(size)
    return f"""\
#include "{prefix}.h"

#define WEIGHTS {prefix}_weights
#define INITIAL_WEIGHTS {prefix}_initial_weights
#define BYTES_OF_BATCH {total}
#define BYTES_OF_ARENA {upper}_ARENA_BYTES
#define NUMBER_OF_PROBES {probes}
#define NUMBER_OF_STEPS {steps}
#define FIRST_SEED {first_seed & 0xFFFFFFFF}u
#define SEEDS_OF_A_STEP {upper}_SEEDS
#define RUN_STEP(batch, seed, weights, found, arena) \\
    {prefix}_step({", ".join(arguments)}, (weights), (seed), 0u, \\
        (found).plus, (found).minus, (found).signs, (arena), {upper}_ARENA_BYTES)
"""


def _results(data: bytes, probes: int, steps: int) -> tuple[StepResult, ...]:
    each = probes * 17
    if len(data) != each * steps:
        raise InternalError(f"the image wrote {len(data)} bytes of results")
    found = []
    for step in range(steps):
        losses = np.frombuffer(data, "<i8", 2 * probes, each * step).tolist()
        signs = np.frombuffer(data, np.int8, probes, each * step + 16 * probes).tolist()
        found.append(StepResult(tuple(losses[:probes]), tuple(losses[probes:]), tuple(signs)))
    return tuple(found)


def _filled(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
