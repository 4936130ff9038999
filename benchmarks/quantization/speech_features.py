"""What the keyword models of MLPerf Tiny take: 49×10 mel-frequency cepstral coefficients.

Frames of 30 ms every 20 ms of one second at 16 kHz, magnitudes of the spectrum, 40 mel bands from
20 Hz to 4 kHz, logarithm, the first 10 coefficients of the orthogonal cosine transform, as in the
benchmark's own ``get_dataset.py`` (which calls ``tf.signal``).
"""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
_FRAME, _STEP, _FFT = 480, 320, 512
_BANDS, _LOW_HZ, _HIGH_HZ = 40, 20.0, 4000.0
_COEFFICIENTS = 10

Array = NDArray[np.float64]


def read_second(path: Path) -> Array:
    """One second of a 16-bit mono wav file at 16 kHz, scaled to a peak of 1, zeros behind it."""
    with wave.open(str(path)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float64)
    if rate != RATE:
        places = np.arange(0, len(samples) - 1, rate / RATE)
        samples = np.interp(places, np.arange(len(samples)), samples)
    samples = samples[:RATE] / max(1.0, float(np.abs(samples).max()))
    return np.pad(samples, (0, RATE - len(samples)))


def mfcc(samples: Array) -> NDArray[np.float32]:
    """The coefficients of one second.

    Args:
        samples: 16,000 values in -1..1.

    Returns:
        49×10×1.
    """
    starts = range(0, len(samples) - _FRAME + 1, _STEP)
    # Periodic, as tf.signal.hann_window is.
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FRAME) / _FRAME)
    frames = np.stack([samples[start : start + _FRAME] for start in starts]) * window
    magnitudes = np.abs(np.fft.rfft(frames, _FFT, axis=1))
    logs = np.log(magnitudes @ _mel_matrix() + 1e-6)
    return (logs @ _cosines())[:, :, None].astype(np.float32)


def _mel(hertz: Array) -> Array:
    return np.asarray(1127.0 * np.log1p(hertz / 700.0))


def _mel_matrix() -> Array:
    """Triangular bands, (bins of the spectrum, bands)."""
    bins = _mel(np.linspace(0.0, RATE / 2, _FFT // 2 + 1))
    ends = _mel(np.array([_LOW_HZ, _HIGH_HZ]))
    edges = np.linspace(ends[0], ends[1], _BANDS + 2)
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights[0] = 0.0  # the constant part belongs to no band
    return np.asarray(weights)


def _cosines() -> Array:
    """The cosine transform of ``mfccs_from_log_mel_spectrograms``, (bands, coefficients)."""
    n, k = np.arange(_BANDS)[:, None], np.arange(_COEFFICIENTS)[None]
    return np.asarray(2 * np.cos(np.pi * k * (2 * n + 1) / (2 * _BANDS)) / np.sqrt(2 * _BANDS))
