"""The models that train here, and which of their layers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import intaglio
import numpy as np
from intaglio.bundle import Bundle

from benchmarks.common import ROOT

SAMPLE_MODELS = ROOT / "sample_models"

#: What trains: the last layer alone, or all of them.
SELECTIONS = ("head", "all")


@dataclasses.dataclass(frozen=True)
class Case:
    """One model and what of it trains.

    Attributes:
        model: Name of a sample model.
        layers: One of :data:`SELECTIONS`.
    """

    model: str
    layers: str

    @property
    def path(self) -> Path:
        """The model's file."""
        return SAMPLE_MODELS / self.model / f"{self.model}.onnx"

    def convert(self, out: Path, targets: tuple[str, ...] = ("onnx-integer", "c")) -> Bundle:
        """The training bundle, calibrated on the first hundred samples."""
        samples = np.load(SAMPLE_MODELS / self.model / "calibration.npz")
        name = next(name for name in samples.files if name not in ("labels", "target"))
        return intaglio.convert(
            self.path,
            "forward-gradient",
            targets=targets,
            calibration={name: samples[name][:100]},
            sets={"train.select_layers.layers": self.layers},
            out=out,
        )


CASES = tuple(
    Case(model, layers) for model in ("digits", "spoken_digits", "fashion") for layers in SELECTIONS
)
