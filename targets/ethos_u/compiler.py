"""A ``.tflite`` file in, Vela's file and a report of it out."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from intaglio.targets.ethos_u.compiled import CompileReport, place, read_operators
from intaglio.targets.ethos_u.options import EthosUConfig
from intaglio.targets.ethos_u.reports import read_costs, read_reasons, read_summary
from intaglio.targets.ethos_u.vela import compile_file, vela_version


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What Vela made of a file: its bytes, and what became of every operator."""

    data: bytes
    report: CompileReport


def compile_tflite(data: bytes, config: EthosUConfig, name: str = "model") -> Compiled:
    """Compiles a TFLite file with Vela in a child process.

    Args:
        data: The file.
        config: The NPU and how to compile for it.
        name: What Vela is to call the file, without a suffix.

    Returns:
        The compiled file; the same bytes for the same input, options and version of Vela.

    Raises:
        ToolError: Vela is missing, too old, fails, crashes or takes too long; its log is kept.
    """
    version = vela_version()
    with tempfile.TemporaryDirectory(prefix="intaglio-vela-") as place_to_work:
        folder = Path(place_to_work)
        source = folder / f"{name}.tflite"
        source.write_bytes(data)
        log = compile_file(source, folder, config)
        compiled = (folder / f"{name}_vela.tflite").read_bytes()
        before = read_operators(data)
        operators = place(
            before,
            read_operators(compiled),
            read_costs(folder, name, [each.outputs for each in before]),
            read_reasons(log),
        )
        summary = read_summary(folder, name)
    options = config.model_dump(mode="json", exclude={"timeout"})
    return Compiled(compiled, CompileReport(version, options, summary, operators))
