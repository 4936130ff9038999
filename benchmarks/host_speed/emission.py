"""How long does it take to write the C of a model, and to compile it?

python -m benchmarks.host_speed.emission [--shared DIR]
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from intaglio.passes.layout.to_channels_last import ToChannelsLast
from intaglio.passes.lower.shift_unsigned import ShiftUnsigned
from intaglio.passes.lower.to_integer import ToInteger
from intaglio.targets.c.compiler import require_compiler
from intaglio.targets.c.grouping import read_network
from intaglio.targets.c.host import host_variants
from intaglio.targets.c.source import write_sources
from intaglio.targets.reading import read_model

from benchmarks.common import default_shared, environment, existing, markdown_table, write_json

RESULTS = Path(__file__).resolve().parent / "results"
MODELS = ("ic_resnet8_int8", "kws_ref_model_int8", "vww_96_int8")


def measure(path: Path, folder: Path) -> dict[str, Any]:
    """Seconds to emit all variants, and to compile each that this machine runs with -O3."""
    model = read_model(path)
    for step in (ShiftUnsigned(), ToInteger(), ToChannelsLast()):
        model = step(model).model
    start = time.perf_counter()
    network = read_network(model, "tflm", path.stem).network
    if network is None:
        raise SystemExit(f"{path} is refused")
    written = write_sources(network)
    emitted = time.perf_counter() - start
    for name, text in written.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    compiled = {}
    for variant in host_variants():
        portable = variant.name == "portable"
        flags = [f"-D{network.name.upper()}_PORTABLE"] if portable else list(variant.flags)
        start = time.perf_counter()
        for file in (f"{network.name}.c", f"{network.name}_weights.c"):
            command = [*require_compiler(), "-std=c99", "-O3", *flags, "-c", file]
            subprocess.run(command, cwd=folder, check=True)
        compiled[variant.name] = round(time.perf_counter() - start, 2)
    return {"model": path.stem, "emit_seconds": round(emitted, 2), "compile_seconds": compiled}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=default_shared())
    shared = parser.parse_args().shared
    rows = []
    for name in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(existing(shared / "zoo" / f"{name}.tflite"), Path(folder)))
    variants = list(rows[0]["compile_seconds"])
    head = ["seconds", "emit, all variants", *(f"cc -O3, {name}" for name in variants)]
    lines = [
        [row["model"], str(row["emit_seconds"]), *map(str, row["compile_seconds"].values())]
        for row in rows
    ]
    text = markdown_table(head, lines)
    print(text)
    write_json(RESULTS / "emission.json", {"environment": environment(), "rows": rows})
    (RESULTS / "emission.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
