"""What all benchmarks share: where data is found, sessions, and how results are written."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

# onnxruntime's own chatter is not part of a result.
_QUIET, _SILENT = 3, 4


class MissingDataError(Exception):
    """Something that a measurement needs is not on this machine."""


def default_shared() -> Path:
    """The folder with third-party models (``zoo``) and data sets (``data``).

    Returns:
        ``INTAGLIO_SHARED``, or ``../shared`` beside the checkout; it need not exist.
    """
    return Path(os.environ.get("INTAGLIO_SHARED", ROOT.parent / "shared"))


def existing(path: Path) -> Path:
    """``path``, if there is something.

    Raises:
        MissingDataError: There is nothing.
    """
    if not path.exists():
        raise MissingDataError(f"{path.name} is not in {path.parent}")
    return path


def open_session(
    model: Path | bytes, *, optimize: bool = True, threads: int = 1, silent: bool = False
) -> Any:
    """An onnxruntime CPU session.

    Args:
        model: A file or a serialized model.
        optimize: Whether onnxruntime may rewrite the graph.
        threads: Threads within an operator.
        silent: Whether onnxruntime's messages about errors are unwanted too.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = _SILENT if silent else _QUIET
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = str(model) if isinstance(model, Path) else model
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def environment() -> dict[str, Any]:
    """Date, processor and versions: what a figure depends on."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("intaglio", "onnxruntime", "onnx", "numpy")},
    }


def processor() -> str:
    """Name of the processor and whether it has 8-bit dot products."""
    name, flags = platform.machine(), ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() == "flags":
                flags = value
                break
    return f"{name}, {'with' if 'avx512_vnni' in flags or 'avx_vnni' in flags else 'no'} VNNI"


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Writes results, readable in a diff."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; all columns but the first are numbers and stand on the right."""
    lines = ["| " + " | ".join(head) + " |"]
    lines.append("|" + "|".join("---" if i == 0 else "---:" for i in range(len(head))) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)
