"""A ``.tflite`` or ``.tosa`` file in, Vela's file and a report of it out."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from intaglio.targets.ethos_u.compiled import CompileReport, place
from intaglio.targets.ethos_u.files import FileOperator, read_operators, read_tosa_operators
from intaglio.targets.ethos_u.options import EthosUConfig
from intaglio.targets.ethos_u.reports import read_costs, read_reasons, read_summary
from intaglio.targets.ethos_u.vela import OLDEST, OLDEST_OF_TOSA, compile_file, vela_version


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What Vela made of a file: its bytes, and what became of every operator."""

    data: bytes
    report: CompileReport


def compile_tflite(
    data: bytes,
    config: EthosUConfig,
    name: str = "model",
    nodes: Mapping[str, str] | None = None,
) -> Compiled:
    """Compiles a TFLite file with Vela in a child process.

    Args:
        data: The file.
        config: The NPU and how to compile for it.
        name: What Vela is to call the file, without a suffix.
        nodes: Source nodes, as :func:`.layers.source_nodes` gives them; None where not known.

    Returns:
        The compiled file; the same bytes for the same input, options and version of Vela.

    Raises:
        ToolError: Vela is missing, too old, fails, crashes or takes too long; its log is kept.
    """
    version = vela_version(OLDEST)
    return _compile(data, config, f"{name}.tflite", version, read_operators(data), nodes)


def compile_tosa(
    data: bytes,
    config: EthosUConfig,
    name: str = "model",
    nodes: Mapping[str, str] | None = None,
) -> Compiled:
    """Compiles a TOSA file, as :func:`compile_tflite` does a TFLite file.

    What comes out is a ``.tflite`` file all the same: that is what the NPU's driver takes.

    Raises:
        InputError: It is no TOSA file.
        ToolError: As there; also where the NPU lacks an operator, for then there is no file.
    """
    operators = read_tosa_operators(data)
    version = vela_version(OLDEST_OF_TOSA)
    return _compile(data, config, f"{name}.tosa", version, operators, nodes)


def _compile(
    data: bytes,
    config: EthosUConfig,
    file: str,
    version: str,
    before: Sequence[FileOperator],
    nodes: Mapping[str, str] | None,
) -> Compiled:
    with tempfile.TemporaryDirectory(prefix="intaglio-vela-") as place_to_work:
        folder = Path(place_to_work)
        source = folder / file
        source.write_bytes(data)
        log = compile_file(source, folder, config)
        compiled = (folder / f"{source.stem}_vela.tflite").read_bytes()
        operators = place(
            before,
            read_operators(compiled),
            read_costs(folder, source.stem, [each.outputs for each in before]),
            read_reasons(log),
            nodes,
        )
        summary = read_summary(folder, source.stem)
    options = config.model_dump(mode="json", exclude={"timeout"})
    via = source.suffix.removeprefix(".")
    return Compiled(compiled, CompileReport(version, options, summary, operators, via))
