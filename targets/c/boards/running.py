"""Running emitted C on an emulated board for its tensors alone: nothing is counted."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InternalError
from intaglio.targets.c.boards.board import Board
from intaglio.targets.c.boards.buffers import Arrays, Spec, array_at, packed, unpacked
from intaglio.targets.c.boards.emulator import execute
from intaglio.targets.c.boards.image import Border, BuildOptions, Plan, build
from intaglio.targets.c.boards.toolchain import require_toolchain


@dataclasses.dataclass(frozen=True)
class BoardResult:
    """Tensors of one inference.

    Attributes:
        outputs: The model's outputs, in order.
        inner: Outputs of the layers that were asked for, by their place.
    """

    outputs: tuple[NDArray[Any], ...]
    inner: Mapping[int, NDArray[Any]]


def run(
    board: Board,
    sources: Path,
    prefix: str,
    inputs: Sequence[Arrays],
    outputs: Sequence[Border],
    *,
    layers: Sequence[Border] = (),
    inner: Collection[int] = (),
    options: BuildOptions | None = None,
    seconds: float = 600.0,
) -> list[BoardResult]:
    """Builds an image of the emitted files and runs one inference for each sample.

    Args:
        board: The board.
        sources: Folder of the emitted files.
        prefix: Their prefix.
        inputs: Samples: arrays for the model's inputs, in order, of the right shapes and types.
        outputs: Shape and type of the model's outputs, in order.
        layers: Those of the output of each layer, in order, where inner tensors are wanted.
        inner: Places of the layers whose outputs to return.
        options: How to compile.
        seconds: Time that the run may take.

    Returns:
        The tensors of each sample.

    Raises:
        ToolError: The toolchain is missing or fails, the image does not fit the board, or the
            model does there what it must not.
        InternalError: The layers are not of the given sizes.
    """
    require_toolchain()
    given = [[np.ascontiguousarray(array) for array in sample] for sample in inputs]
    chosen = sorted(inner)
    plan = Plan(
        prefix,
        tuple(Spec.of(array) for array in given[0]),
        tuple(outputs),
        len(given),
        by_timer=False,
        taps=False,
        wanted=tuple(place in inner for place in range(len(layers))),
    )
    with tempfile.TemporaryDirectory(prefix="intaglio-board-") as name:
        folder = Path(name)
        (folder / "inputs.bin").write_bytes(b"".join(packed(sample) for sample in given))
        image = build(board, sources.resolve(), plan, options or BuildOptions(), folder)
        execute(board, image, folder, seconds)
        made = unpacked((folder / "outputs.bin").read_bytes(), plan.outputs, len(given))
        written = (folder / "layers.bin").read_bytes() if chosen else b""
    specs = {place: layers[place] for place in chosen}
    return [
        BoardResult(arrays, tensors)
        for arrays, tensors in zip(made, _layers(written, specs, len(given)), strict=True)
    ]


def _layers(
    data: bytes, specs: Mapping[int, Border], samples: int
) -> list[dict[int, NDArray[Any]]]:
    """Outputs of layers of each sample: they stand in ``data`` in order, without gaps."""
    found: list[dict[int, NDArray[Any]]] = []
    at = 0
    for _ in range(samples):
        arrays = {}
        for place, spec in specs.items():
            size = int(np.prod([int(d) for d in spec.shape])) * np.dtype(spec.dtype).itemsize
            if at + size > len(data):
                raise InternalError("the image wrote fewer bytes of its layers than they have")
            arrays[place] = array_at(data, at, spec)
            at += size
        found.append(arrays)
    if at != len(data):
        raise InternalError("the image wrote more bytes of its layers than they have")
    return found
