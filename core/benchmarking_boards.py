"""``bench --board``: what the emitted C of a bundle takes on an emulated Cortex-M.

Instructions are counted, which gives the same figure on every machine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import RecipeError
from intaglio.preparing import TRAIN_STEP
from intaglio.progress import Progress, silent
from intaglio.targets.base import Artifact, Tensors, TensorSpec
from intaglio.timing_contestants import random_inputs

if TYPE_CHECKING:
    from intaglio.bundle import Bundle
    from intaglio.targets.c.boards import BoardRun

_C, _INTEGER = "c", "onnx-integer"

# Where the axes of one layout are in the other.
_REORDER = {("NHWC", "NCHW"): (0, 3, 1, 2), ("NCHW", "NHWC"): (0, 2, 3, 1)}


@dataclasses.dataclass(frozen=True)
class BoardBench:
    """What a C artifact takes on one board.

    Attributes:
        artifact: Path in the bundle.
        run: The figures.
        compared_with: Target whose outputs were expected; None where the bundle does not have it.
        layers: Names of the layers, by index.
    """

    artifact: str
    run: BoardRun
    compared_with: str | None
    layers: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON-friendly data, without the outputs."""
        run = self.run
        return {
            "artifact": self.artifact,
            "board": run.board,
            "instructions": run.mean_instructions,
            "instructions_of_each_input": list(run.instructions),
            "resolution": run.resolution,
            "modelled_cycles": run.cycles,
            "flash_bytes": run.image.text + run.image.data,
            "code_bytes": run.code_bytes,
            "constant_bytes": run.weight_bytes,
            "arena_bytes": run.arena_bytes,
            "stack_bytes": run.stack_bytes,
            "compared_with": self.compared_with,
            "differing_values": run.differing,
            "layers": [
                {"name": self.layers[layer.index], "instructions": layer.instructions}
                for layer in run.layers
            ],
            "compiler": run.compiler,
            "optimization": run.options.optimization,
            "emulator": run.emulator,
        }


def bench_boards(
    bundle: Bundle, boards: Sequence[str], *, runs: int = 3, progress: Progress = silent
) -> list[BoardBench]:
    """Counts the instructions of a bundle's C on emulated boards.

    Args:
        bundle: The bundle.
        boards: Names of the boards.
        runs: Random inputs to run on each; outputs are compared with those of ``onnx-integer``.
        progress: Told how many boards are done.

    Returns:
        The figures of every artifact on every board.

    Raises:
        RecipeError: There is no such board, or the bundle has no C.
        ToolError: The toolchain is missing or fails.
    """
    from intaglio.targets.c.boards import get_board, measure, require_toolchain

    chosen = [get_board(name) for name in boards]
    # A training step takes weights and labels besides samples.
    artifacts = [a for a in bundle.artifacts if a.target == _C and a.role != TRAIN_STEP]
    if not artifacts:
        raise RecipeError(
            f"bundle {bundle.folder} has no C, and boards run nothing else",
            remedy="convert the model with --target c, and onnx-integer to compare with",
        )
    require_toolchain()
    found: list[BoardBench] = []
    total = len(artifacts) * len(chosen)
    for artifact in artifacts:
        samples = [random_inputs(artifact.inputs, seed) for seed in range(runs)]
        expected = expected_outputs(bundle, artifact, samples)
        report = bundle.opener(artifact).report(artifact, bundle.folder)
        source = bundle.folder / artifact.path
        for board in chosen:
            progress("boards", len(found), total)
            run = measure(
                board,
                source.parent,
                source.stem,
                [[sample[spec.name] for spec in artifact.inputs] for sample in samples],
                artifact.outputs,
                expected=expected,
                layers=True,
            )
            names = tuple(str(layer["name"]) for layer in report["layers"])
            compared = None if expected is None else _INTEGER
            found.append(BoardBench(artifact.path, run, compared, names))
    progress("boards", total, total)
    return found


def expected_outputs(
    bundle: Bundle, artifact: Artifact, samples: Sequence[Tensors]
) -> list[list[NDArray[Any]]] | None:
    """What ``onnx-integer`` gives for inputs of a C artifact, in the C's own layout.

    Args:
        bundle: The bundle.
        artifact: The C artifact.
        samples: Its inputs.

    Returns:
        Outputs of each sample in order, or None where the bundle has no such artifact, or where
        that takes other types.
    """
    other = next(
        (a for a in bundle.artifacts if (a.target, a.role) == (_INTEGER, artifact.role)), None
    )
    if other is None or not _same_types(artifact, other):
        return None
    session = bundle.session(_INTEGER, artifact.role)
    theirs = {spec.name: spec for spec in (*other.inputs, *other.outputs)}
    found = []
    for sample in samples:
        fed = {
            spec.name: _reordered(sample[spec.name], spec, theirs[spec.name])
            for spec in artifact.inputs
        }
        outputs = session.run(fed)
        found.append(
            [_reordered(outputs[spec.name], theirs[spec.name], spec) for spec in artifact.outputs]
        )
    return found


def _same_types(one: Artifact, other: Artifact) -> bool:
    types = [
        {spec.name: spec.dtype for spec in (*each.inputs, *each.outputs)} for each in (one, other)
    ]
    return types[0] == types[1]


def _reordered(array: NDArray[Any], has: TensorSpec, wants: TensorSpec) -> NDArray[Any]:
    axes = _REORDER.get((has.layout, wants.layout))
    if axes is None or array.ndim != len(axes):
        return array
    return np.ascontiguousarray(array.transpose(axes))
