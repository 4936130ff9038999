"""AI Edge Quantizer's static int8, on float ``.tflite`` models.

Its recipe ``static_wi8_ai8`` (int8 activations, int8 weights per channel), with its default
calibration, which follows the extremes of each sample by a moving average, and with the plain
minimum and maximum over all samples, which it has as an update rule for callers to choose.
Everything else is left at its defaults. It is no dependency of the project: where it is not
installed, its rows say so.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quantization.tflite_files import is_tflite, modernized

PEERS = ("aeq-default", "aeq-minmax")


def installed() -> bool:
    """Whether AI Edge Quantizer is there."""
    return importlib.util.find_spec("ai_edge_quantizer") is not None


def versions(model: Path) -> dict[str, str]:
    """Versions of the quantizer and the runtime, for the results of a ``.tflite`` model."""
    if not is_tflite(model):
        return {}
    names = ("ai-edge-quantizer", "ai-edge-litert") if installed() else ("ai-edge-litert",)
    return {name: version(name) for name in names}


def quantize(method: str, model: Path, samples: NDArray[np.float32], out: Path) -> Path:
    """Quantizes a model with AI Edge Quantizer.

    Args:
        method: One of :data:`PEERS`.
        model: The float ``.tflite`` model.
        samples: Calibration samples, samples first; given one by one.
        out: File to write.

    Returns:
        ``out``.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    if not installed():
        raise ModuleNotFoundError("ai-edge-quantizer is not installed")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _quiet():
        from ai_edge_quantizer import calibrator, quantizer, recipe
        from ai_edge_quantizer.utils import qsv_utils

        content, name = modernized(model.read_bytes())
        tool = quantizer.Quantizer(bytearray(content), recipe.static_wi8_ai8())
        options: dict[str, Any] = {}
        if method == "aeq-minmax":
            options["qsv_update_func"] = qsv_utils.min_max_update
        calibration = calibrator.Calibrator(bytes(content), num_threads=1, **options)
        key = calibration.get_signature_list()
        manager = tool._recipe_manager
        calibration.calibrate({next(iter(key)): _feeds(name, samples)}, manager)
        result = tool.quantize(calibration.get_model_qsvs())
    out.write_bytes(bytes(result.quantized_model))
    return out


def _feeds(name: str, samples: NDArray[np.float32]) -> list[dict[str, Any]]:
    return [{name: sample[None]} for sample in samples]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps its progress bars, notes and warnings off the tables."""
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
