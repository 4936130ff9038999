"""Measuring emitted C on an emulated board."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InternalError, ToolError
from intaglio.targets.c.boards.board import Board
from intaglio.targets.c.boards.buffers import Arrays, Spec, packed, unpacked
from intaglio.targets.c.boards.cycles import modelled_cycles
from intaglio.targets.c.boards.emulator import CALIBRATION_MARKS, Emulation, build_plugin, run
from intaglio.targets.c.boards.image import (
    Border,
    BuildOptions,
    Image,
    Plan,
    Sizes,
    build,
)
from intaglio.targets.c.boards.toolchain import GCC, QEMU, require_toolchain, tool_version

#: The board that there is a model of cycles for.
CYCLES_OF = "cortex-m4"


@dataclasses.dataclass(frozen=True)
class LayerCount:
    """Instructions of one layer, averaged over the inferences.

    Attributes:
        index: Its place, as in the tap.
        instructions: How many; a few of them belong to the tap itself.
    """

    index: int
    instructions: float


@dataclasses.dataclass(frozen=True)
class BoardRun:
    """What a model did on a board.

    Attributes:
        board: Name of the board.
        outputs: Outputs of each inference, in order.
        instructions: Executed instructions of each inference, the call included.
        resolution: The figures above are right to so many instructions; 1 with the plugin.
        layers: Instructions of each layer; empty unless asked for.
        functions: Instructions of each C function, averaged; empty without the plugin.
        cycles: Cycles by the model of a Cortex-M4, averaged; None on other boards, or without the
            plugin.
        image: Sizes of the whole image; arena, buffers and 32 KiB of stack are in bss.
        code_bytes: Code of the emitted files, with its own constants.
        weight_bytes: Constants of the weights file.
        arena_bytes: Working memory that the header asks for.
        stack_bytes: Stack of an inference.
        differing: Output values that are not as expected; None where nothing was expected.
        compiler: The compiler's name and version.
        emulator: The emulator's.
        options: How the emitted files were compiled.
    """

    board: str
    outputs: tuple[tuple[NDArray[Any], ...], ...]
    instructions: tuple[int, ...]
    resolution: float
    layers: tuple[LayerCount, ...]
    functions: Mapping[str, float]
    cycles: int | None
    image: Sizes
    code_bytes: int
    weight_bytes: int
    arena_bytes: int
    stack_bytes: int
    differing: int | None
    compiler: str
    emulator: str
    options: BuildOptions

    @property
    def mean_instructions(self) -> float:
        """Instructions of an inference, averaged over the inputs."""
        return sum(self.instructions) / len(self.instructions)


def measure(
    board: Board,
    sources: Path,
    prefix: str,
    inputs: Sequence[Arrays],
    outputs: Sequence[Border],
    *,
    expected: Sequence[Arrays] | None = None,
    layers: bool = False,
    exact: bool = True,
    options: BuildOptions | None = None,
    seconds: float = 600.0,
) -> BoardRun:
    """Builds an image of the emitted files and runs one inference for each sample.

    Args:
        board: The board.
        sources: Folder of the emitted files.
        prefix: Their prefix.
        inputs: Samples: arrays for the model's inputs, in order, of the right shapes and types.
        outputs: Shape and type of the model's outputs, in order.
        expected: Outputs of each sample to compare with.
        layers: Whether to count each layer too; takes a second run.
        exact: Whether to count with the plugin where it can be built, not with the timer.
        options: How to compile.
        seconds: Time that a run may take.

    Raises:
        ToolError: The toolchain is missing or fails, the image does not fit the board, or the
            model does there what it must not.
    """
    require_toolchain()
    given = [[np.ascontiguousarray(array) for array in sample] for sample in inputs]
    plan = Plan(
        prefix, tuple(Spec.of(a) for a in given[0]), tuple(outputs), len(given), True, False
    )
    options = options or BuildOptions()
    with tempfile.TemporaryDirectory(prefix="intaglio-board-") as name:
        work = _Work(board, sources.resolve(), options, Path(name), seconds)
        (work.folder / "inputs.bin").write_bytes(b"".join(packed(sample) for sample in given))
        image, counted, by_plugin = work.count(plan, exact)
        found = unpacked((work.folder / "outputs.bin").read_bytes(), plan.outputs, len(given))
        scale = 1.0 if by_plugin else float(board.instructions_per_tick)
        gaps = gaps_between(counted.marks, 2, len(given))
        cycles = None
        if counted.executed and board.name == CYCLES_OF:
            cycles = round(modelled_cycles(image.path, counted.executed) / len(given))
        made = BoardRun(
            board=board.name,
            outputs=found,
            instructions=tuple(round(scale * gap[0]) for gap in gaps),
            resolution=scale,
            layers=(),
            functions=by_function(image, counted.executed, len(given)),
            cycles=cycles,
            image=image.sizes,
            code_bytes=image.code.text + image.code.data,
            weight_bytes=image.weights.text + image.weights.data,
            arena_bytes=counted.said["arena"][0],
            stack_bytes=counted.said["stack"][0],
            differing=None if expected is None else differing_values(found, expected),
            compiler=tool_version(GCC, work.folder),
            emulator=tool_version(QEMU, work.folder),
            options=options,
        )
        if layers:
            tapped = dataclasses.replace(plan, taps=True)
            _, counted, by_plugin = work.count(tapped, exact)
            scale = 1.0 if by_plugin else float(board.instructions_per_tick)
            made = dataclasses.replace(made, layers=_by_layer(counted, len(given), scale))
    return made


def differing_values(found: Sequence[Arrays], expected: Sequence[Arrays]) -> int:
    """How many values of all outputs of all samples are not the same.

    Raises:
        InternalError: There are not as many outputs or values.
    """
    count = 0
    for have, want in zip(found, expected, strict=True):
        for one, other in zip(have, want, strict=True):
            wanted = np.asarray(other).reshape(-1)
            if one.size != wanted.size or one.dtype != wanted.dtype:
                raise InternalError("outputs to compare have other sizes or types")
            count += int(np.count_nonzero(one.reshape(-1) != wanted))
    return count


class _Work:
    """Builds and runs images in one folder."""

    def __init__(
        self, board: Board, sources: Path, options: BuildOptions, folder: Path, seconds: float
    ) -> None:
        self.folder = folder
        self._board = board
        self._sources = sources
        self._options = options
        self._seconds = seconds

    def count(self, plan: Plan, exact: bool) -> tuple[Image, Emulation, bool]:
        """Runs what is planned; says too whether the plugin counted."""
        plugin = build_plugin(self.folder) if exact else None
        if plugin is not None:
            image = self._build(dataclasses.replace(plan, by_timer=False))
            try:
                return image, self._run(image, plugin), True
            except ToolError as error:
                # A QEMU that was built without plugins, or that wants another interface.
                if "plugin" not in error.message.lower():
                    raise
        image = self._build(dataclasses.replace(plan, by_timer=True))
        return image, self._run(image, None), False

    def _build(self, plan: Plan) -> Image:
        return build(self._board, self._sources, plan, self._options, self.folder)

    def _run(self, image: Image, plugin: Path | None) -> Emulation:
        return run(self._board, image, plugin, self.folder, self._seconds)


def gaps_between(marks: Sequence[int], each: int, samples: int) -> list[list[int]]:
    """Counts between the marks of each inference, less what a mark itself costs.

    Args:
        marks: All marks.
        each: Marks of an inference.
        samples: Inferences.
    """
    if len(marks) != CALIBRATION_MARKS + each * samples:
        raise InternalError(f"the image made {len(marks)} marks")
    own = marks[1] - marks[0]
    runs = [marks[CALIBRATION_MARKS + each * i :][:each] for i in range(samples)]
    return [[b - a - own for a, b in itertools.pairwise(run)] for run in runs]


def _by_layer(counted: Emulation, samples: int, scale: float) -> tuple[LayerCount, ...]:
    taps = counted.said.get("tap", ())
    gaps = gaps_between(counted.marks, len(taps) + 2, samples)
    return tuple(
        LayerCount(index, scale * sum(gap[place] for gap in gaps) / samples)
        for place, index in enumerate(taps)
    )


def by_function(image: Image, executed: Mapping[int, int], samples: int) -> dict[str, float]:
    """Instructions by function, the most first; what was inlined belongs to its caller."""
    starts = [address for address, _ in image.symbols]
    found: dict[str, float] = {}
    for address, count in executed.items():
        name = image.symbols[bisect.bisect_right(starts, address) - 1][1]
        found[name] = found.get(name, 0) + count / samples
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))
