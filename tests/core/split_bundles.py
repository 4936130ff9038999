"""Split bundles of the digits model, small and quickly made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import intaglio
from intaglio.bundle import Bundle

DIGITS = Path(__file__).parents[2] / "sample_models" / "digits"

#: A cut with planes, in front of the pooling of an odd model.
AT = "pool.out"

#: Steps that take long and that nothing here depends on.
QUICK = {
    "calibrate.equalize_channels.enabled": False,
    "calibrate.fit_channels.enabled": False,
    "calibrate.round_weights.enabled": False,
    "calibrate.fit_codec.samples": 64,
}


def split_digits(out: Path, *, targets: list[str] | None = None, **sets: Any) -> Bundle:
    """Converts the digits model with recipe split, cut at ``AT`` unless ``at`` says otherwise.

    Args:
        out: Where.
        targets: The targets; onnx-integer alone by default.
        sets: Options of ``calibrate.fit_codec``, and ``at``.
    """
    options = {"calibrate.choose_cut.at": sets.pop("at", AT)}
    options |= {f"calibrate.fit_codec.{name}": value for name, value in sets.items()}
    return intaglio.convert(
        DIGITS / "digits.onnx",
        recipe="split",
        targets=["onnx-integer"] if targets is None else targets,
        calibration=DIGITS / "calibration.npz",
        out=out,
        sets={**QUICK, **options},
    )
