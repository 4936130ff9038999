"""Trains the `superres_lut` sample model.

Run from the repository root::

    python -m sample_models.superres_lut.train --data DIR

where `DIR` holds the folders `T91` and `BSDS500`.
"""

from __future__ import annotations

from pathlib import Path

from sample_models.table_networks import train

FILE = Path(__file__).resolve().parent / "superres_lut.onnx"

if __name__ == "__main__":
    train(
        __doc__ or "",
        FILE,
        22_000,
        ("shares=0.4,0.2,0.4",),
        task="superres",
        scale=4,
    )
