"""How many instructions does the emitted C take on Cortex-M, beside TFLite Micro with CMSIS-NN?

    python -m benchmarks.microcontrollers.run [--board NAME ...] [--network NAME ...] [--shared DIR]

The published int8 file of each network is converted to target ``c``, built for an emulated board
and run there on random inputs. Every output must have the bits of ``onnx-integer``. Needs the
Debian packages gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import intaglio
from intaglio.benchmarking_boards import expected_outputs
from intaglio.bundle import Bundle
from intaglio.errors import IntaglioError
from intaglio.targets.c.boards import (
    BOARDS,
    Board,
    BoardRun,
    BuildOptions,
    measure,
    require_toolchain,
)
from intaglio.timing_contestants import random_inputs

from benchmarks.common import (
    MissingDataError,
    default_shared,
    environment,
    existing,
    write_json,
)
from benchmarks.microcontrollers import figure, tables
from benchmarks.microcontrollers.peers import NETWORKS

RESULTS = Path(__file__).resolve().parent / "results"

FILES = {
    "ResNet8": "ic_resnet8_int8.tflite",
    "VWW": "vww_96_int8.tflite",
    "KWS": "kws_ref_model_int8.tflite",
}

SAMPLES = 5


@dataclasses.dataclass(frozen=True)
class Layer:
    """Instructions of one layer, averaged over the inputs."""

    name: str
    kind: str
    macs: int
    instructions: float


@dataclasses.dataclass(frozen=True)
class Row:
    """What one network did on one board.

    Attributes:
        network: The network.
        board: The board.
        instructions: Of one inference, averaged over the inputs.
        least: Fewest of any input.
        most: Most of any input.
        cycles: By the model of a Cortex-M4; None on other boards.
        flash_bytes: Code and constants of the whole image, the frame that runs it included.
        code_bytes: Code of the emitted files alone.
        weight_bytes: Constants of the weights file alone.
        arena_bytes: Working memory.
        stack_bytes: Stack of an inference.
        values: Output values that were compared.
        differing: Those that have other bits than in onnx-integer.
        layers: Layer by layer.
    """

    network: str
    board: str
    instructions: float
    least: int
    most: int
    cycles: int | None
    flash_bytes: int
    code_bytes: int
    weight_bytes: int
    arena_bytes: int
    stack_bytes: int
    values: int
    differing: int
    layers: tuple[Layer, ...]


def convert(path: Path, folder: Path) -> Bundle:
    """A bundle with the emitted C and the integer graph that it must agree with."""
    return intaglio.convert(path, targets=["onnx-integer", "c"], out=folder)


def measure_network(bundle: Bundle, board: Board, optimization: str) -> BoardRun:
    """Runs the emitted C on random inputs.

    Raises:
        ToolError: The toolchain is missing, or something fails.
    """
    artifact = bundle.artifact("c")
    samples = [random_inputs(artifact.inputs, seed) for seed in range(SAMPLES)]
    source = bundle.folder / artifact.path
    return measure(
        board,
        source.parent,
        source.stem,
        [[sample[spec.name] for spec in artifact.inputs] for sample in samples],
        artifact.outputs,
        expected=expected_outputs(bundle, artifact, samples),
        layers=True,
        options=BuildOptions(optimization, nano=True),
    )


def row(network: str, bundle: Bundle, run: BoardRun) -> Row:
    """The figures of a run."""
    report = bundle.opener(bundle.artifact("c")).report(bundle.artifact("c"), bundle.folder)
    names = report["layers"]
    return Row(
        network=network,
        board=run.board,
        instructions=run.mean_instructions,
        least=min(run.instructions),
        most=max(run.instructions),
        cycles=run.cycles,
        flash_bytes=run.image.text + run.image.data,
        code_bytes=run.code_bytes,
        weight_bytes=run.weight_bytes,
        arena_bytes=run.arena_bytes,
        stack_bytes=run.stack_bytes,
        values=sum(array.size for sample in run.outputs for array in sample),
        differing=run.differing or 0,
        layers=tuple(
            Layer(
                names[layer.index]["name"],
                names[layer.index]["kind"],
                names[layer.index]["macs"],
                round(layer.instructions, 1),
            )
            for layer in run.layers
        ),
    )


def main() -> None:
    """Measures, writes the results, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--board", action="append", choices=sorted(BOARDS))
    parser.add_argument("--network", action="append", choices=NETWORKS)
    parser.add_argument("--optimization", default="-O2", help="of the emitted files")
    parser.add_argument("--shared", type=Path, default=default_shared())
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--tables", action="store_true", help="draw again what is in the results")
    args = parser.parse_args()
    if args.tables:
        data = json.loads((args.out / "microcontrollers.json").read_text(encoding="utf-8"))
    else:
        data = _measure(args)
        write_json(args.out / "microcontrollers.json", data)
    text = tables.table(data)
    (args.out / "table.md").write_text(text, encoding="utf-8")
    (args.out / "layers.md").write_text(tables.layers(data), encoding="utf-8")
    figure.write(data, args.out / "instructions.png")
    print(text)


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    require_toolchain()
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    programs: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        for network in args.network or NETWORKS:
            try:
                source = existing(args.shared / "zoo" / FILES[network])
                bundle = convert(source, Path(name) / network)
            except (MissingDataError, IntaglioError) as error:
                left_out[network] = str(error).splitlines()[0]
                continue
            for board in args.board or BOARDS:
                try:
                    run = measure_network(bundle, BOARDS[board], args.optimization)
                except IntaglioError as error:
                    left_out[f"{network} on {board}"] = str(error).splitlines()[0]
                    continue
                rows.append(row(network, bundle, run))
                programs = {"compiler": run.compiler, "emulator": run.emulator}
                print(f"done: {network} on {board}, {run.differing} differ", flush=True)
    return {
        "rows": [dataclasses.asdict(each) for each in rows],
        "optimization": args.optimization,
        "samples": SAMPLES,
        **programs,
        "left_out": left_out,
        "environment": environment(),
    }


if __name__ == "__main__":
    main()
