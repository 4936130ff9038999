"""What the scripts of the two table networks share: pictures in, a fitted network out."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import intaglio

#: Where the pictures lie in the data folder, and how many steps.
FOLDERS = ("T91", "BSDS500")
STEPS = 22_000
#: A third less of the crops at small batches than the default: as the committed files were made.
SETTINGS = ("batches=8,16,32", "shares=0.4,0.2,0.4", "validations=10")


def train(description: str, file: Path, **task: Any) -> None:
    """Fits a network of preset ``medium`` and puts it in its place.

    Args:
        description: Of the script.
        file: The sample model to write.
        task: What it shall restore: arguments of :func:`intaglio.fit`.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="folder with T91 and BSDS500")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of the run")
    parser.add_argument("--out", type=Path, help="keep the run's folder here, report included")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = chosen.out or Path(temporary) / "run"
        intaglio.fit(
            [chosen.data / folder for folder in FOLDERS],
            out,
            preset="medium",
            steps=chosen.steps,
            threads=1,
            settings=SETTINGS,
            resume=out.exists(),
            **task,
        )
        shutil.copyfile(out / "model.onnx", file)
