"""What the scripts of the two table networks share: pictures in, a fitted network out."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import intaglio

#: Where the pictures lie in the data folder.
FOLDERS = ("T91", "BSDS500")
VALIDATIONS = "validations=10"


def train(description: str, file: Path, steps: int, settings: Sequence[str], **task: Any) -> None:
    """Fits a network of preset ``medium`` and puts it in its place.

    Args:
        description: Of the script.
        file: The sample model to write.
        steps: Steps of the run.
        settings: Changes of the preset.
        task: What it shall restore: arguments of :func:`intaglio.fit`.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="folder with T91 and BSDS500")
    parser.add_argument("--steps", type=int, default=steps, help="steps of the run")
    parser.add_argument("--out", type=Path, help="keep the run's folder here, report included")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = chosen.out or Path(temporary) / "run"
        report = intaglio.fit(
            [chosen.data / folder for folder in FOLDERS],
            out,
            preset="medium",
            steps=chosen.steps,
            threads=1,
            settings=(*settings, VALIDATIONS),
            resume=out.exists(),
            **task,
        )
        if report.interrupted:
            raise SystemExit(130)
        shutil.copyfile(out / "model.onnx", file)
