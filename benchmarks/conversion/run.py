"""What ``intaglio convert`` costs: time, and memory that must not grow with the calibration set.

    python -m benchmarks.conversion.run [--shared DIR] [--samples 200 2000] [--repeats 1]

Converts the visual wake words MobileNet (96×96×3) in a child process, once for each number of
calibration samples, and reads wall time and peak memory of that process from the system; then the
MobileNetV1 0.25 of a TFLite file (224×224×3) with 100 samples. Also the time of
``intaglio --help``, the best of five.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import (
    MissingDataError,
    default_shared,
    environment,
    existing,
    markdown_table,
    write_json,
)
from benchmarks.quantization import datasets

RESULTS = Path(__file__).resolve().parent / "results"
METER = Path(__file__).resolve().parent / "meter.py"

SECONDS_ALLOWED = 60.0
GROWTH_ALLOWED = 0.10
HELP_SECONDS_ALLOWED = 0.5

_SIZE = 96
_LARGE_SIZE, _LARGE_SAMPLES = 224, 100


def write_samples(folder: Path, count: int, out: Path) -> None:
    """Writes random crops of the pictures of a folder, mirrored or not, as an npz file.

    Args:
        folder: The pictures.
        count: Number of crops.
        out: The file; its array is count×3×96×96, float32, 0 to 1.
    """
    pictures = [datasets.read_rgb(path) for path in datasets.image_files(folder, "*.jpg")]
    generator = np.random.default_rng(0)
    crops = np.empty((count, 3, _SIZE, _SIZE), np.float32)
    for row in range(count):
        picture = pictures[int(generator.integers(len(pictures)))]
        side = int(generator.integers(120, min(picture.size) + 1))
        left, top = (int(generator.integers(length - side + 1)) for length in picture.size)
        crop = picture.crop((left, top, left + side, top + side))
        values = datasets.as_chw(crop, (_SIZE, _SIZE))
        crops[row] = values[:, :, ::-1] if generator.integers(2) else values
    np.savez(out, input_1=crops / np.float32(255))


def run_child(command: Sequence[str]) -> dict[str, float]:
    """Runs a command; returns its wall time and the peak memory that the system counted.

    Args:
        command: Program (a path) and arguments.

    Returns:
        ``seconds``, ``processor_seconds`` and ``peak_memory_mb`` (10^6 bytes).

    Raises:
        RuntimeError: The command failed; its output is in the message.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        done = subprocess.run(
            [sys.executable, str(METER), str(out), *command],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        figures: dict[str, float] = json.loads(out.read_text(encoding="utf-8"))
    return figures


def intaglio_command(*arguments: str) -> list[str]:
    """The command line of this environment's intaglio."""
    script = Path(sys.executable).with_name("intaglio")
    start = [str(script)] if script.exists() else [sys.executable, "-m", "intaglio.cli.app"]
    return [*start, *arguments]


def measure_conversion(
    model: Path, pictures: Path, samples: Sequence[int], repeats: int
) -> list[dict[str, Any]]:
    """Converts with each number of samples; of several runs the fastest counts."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for count in samples:
            data = work / f"samples_{count}.npz"
            write_samples(pictures, count, data)
            command = intaglio_command(
                "convert", str(model), "--recipe", "int8", "--calibration", str(data)
            )
            command += ["--target", "onnx-qdq", "--target", "onnx-integer"]
            command += ["--out", str(work / f"bundle_{count}")]
            runs = [run_child(command) for _ in range(repeats)]
            best = min(runs, key=lambda run: run["seconds"])
            best["peak_memory_mb"] = max(run["peak_memory_mb"] for run in runs)
            rows.append({"samples": count, "data_mb": round(data.stat().st_size / 1e6, 1), **best})
            data.unlink()
    return rows


def measure_tflite(model: Path, pictures: Path, repeats: int) -> dict[str, float]:
    """Converts the TFLite file to ``onnx-integer`` and ``tflite``; the fastest run counts."""
    files = datasets.image_files(pictures, "*.jpg")[:_LARGE_SAMPLES]
    planes = [
        datasets.as_chw(datasets.read_rgb(path), (_LARGE_SIZE, _LARGE_SIZE)) for path in files
    ]
    samples = np.stack(planes).transpose(0, 2, 3, 1) / np.float32(127.5) - np.float32(1)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "samples.npz"
        np.savez(data, samples=samples)
        command = intaglio_command("convert", str(model), "--calibration", str(data))
        command += ["--target", "onnx-integer", "--target", "tflite"]
        command += ["--out", str(Path(folder) / "bundle")]
        return min((run_child(command) for _ in range(repeats)), key=lambda run: run["seconds"])


def measure_help(repeats: int = 5) -> float:
    """Seconds of ``intaglio --help``, the best of several."""
    return min(run_child(intaglio_command("--help"))["seconds"] for _ in range(repeats))


def table(data: dict[str, Any]) -> str:
    """The results in Markdown, with what is asked of them."""
    rows = data["conversions"]
    first, last = rows[0], rows[-1]
    lines = [
        markdown_table(
            ["calibration samples", "MB of data", "wall s", "processor s", "peak MB"],
            [
                [
                    f"{row['samples']:,}",
                    f"{row['data_mb']:,.1f}",
                    f"{row['seconds']:.1f}",
                    f"{row['processor_seconds']:.1f}",
                    f"{row['peak_memory_mb']:.0f}",
                ]
                for row in rows
            ],
        ),
        "",
    ]
    growth = last["peak_memory_mb"] / first["peak_memory_mb"] - 1
    large = data["tflite"]
    for ok, words in (
        (
            large["seconds"] < SECONDS_ALLOWED,
            f"{large['model']}, {large['samples']} samples: {large['seconds']:.1f} s of "
            f"{SECONDS_ALLOWED:.0f} s ({large['processor_seconds']:.1f} s of processor, "
            f"{large['peak_memory_mb']:.0f} MB)",
        ),
        (
            first["seconds"] < SECONDS_ALLOWED,
            f"{first['samples']} samples: {first['seconds']:.1f} s of {SECONDS_ALLOWED:.0f} s",
        ),
        (
            growth <= GROWTH_ALLOWED,
            f"peak memory with {last['samples']:,} samples: {growth:+.1%} of ±10 %",
        ),
        (
            data["help_seconds"] < HELP_SECONDS_ALLOWED,
            f"`intaglio --help`: {data['help_seconds']:.2f} s of {HELP_SECONDS_ALLOWED:g} s",
        ),
    ):
        lines.append(f"- {'✓' if ok else '✗'} {words}")
    env = data["environment"]
    lines += ["", f"{env['date']}, {env['processor']}, {env['cores']} cores."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures, writes the results, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=default_shared())
    parser.add_argument("--samples", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    try:
        model = existing(args.shared / "zoo" / "vww_96_float.onnx")
        large = existing(args.shared / "zoo" / "mobilenet_v1_0.25_224_float.tflite")
        pictures = existing(args.shared / "data" / "imagenet_crops")
    except MissingDataError as error:
        parser.error(str(error))
    data = {
        "model": model.name,
        "conversions": measure_conversion(model, pictures, args.samples, args.repeats),
        "tflite": {
            "model": large.name,
            "samples": _LARGE_SAMPLES,
            **measure_tflite(large, pictures, args.repeats),
        },
        "help_seconds": measure_help(),
        "environment": environment(),
    }
    write_json(args.out / "conversion.json", data)
    text = table(data)
    (args.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
