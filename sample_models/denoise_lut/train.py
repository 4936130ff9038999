"""Trains the `denoise_lut` sample model.

Run from the repository root::

    python -m sample_models.denoise_lut.train --data DIR

where `DIR` holds the folders `T91` and `BSDS500`.
"""

from __future__ import annotations

from pathlib import Path

from sample_models.table_networks import train

FILE = Path(__file__).resolve().parent / "denoise_lut.onnx"

if __name__ == "__main__":
    train(__doc__ or "", FILE, 7_000, (), task="denoise", sigma=25)
