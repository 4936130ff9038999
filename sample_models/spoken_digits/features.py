"""The log-mel front end of the `spoken_digits` sample model, in numpy.

A recording becomes a picture of 32 mel bands by 40 frames, in six steps:

1. The samples are divided by the largest magnitude in the recording, so that the level of the
   microphone does not matter.
2. The recording is padded with zeros, or cropped, to 6496 samples (0.812 s) about its middle.
3. 40 frames of 256 samples (32 ms), 160 samples (20 ms) apart, are multiplied by a periodic Hann
   window; frame `t` covers samples ``160 t`` to ``160 t + 255``. There is no padding at the ends.
4. The power spectrum of each frame (FFT of 256, 129 bins 31.25 Hz apart) is divided by the squared
   sum of the window, so that a full-scale sine has a power of 0.25 in its bin.
5. 32 triangular filters, evenly spaced on the mel scale ``2595 log10(1 + f / 700)`` between 60 Hz
   and 3800 Hz and of height 1, sum the power of the bins.
6. The sums become decibels, no less than -80 dB, and are normalised by two constants, the rounded
   mean and standard deviation over the training set: ``(dB - MEAN_DB) / STD_DB``. Silence, such as
   the padding, is therefore ``(-80 + 63) / 19``, and nothing is above about 3.
"""

from __future__ import annotations

import functools
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 8000
WINDOW = 256
HOP = 160
N_FFT = 256
FRAMES = 40
LENGTH = (FRAMES - 1) * HOP + WINDOW
MELS = 32
LOW_HZ = 60.0
HIGH_HZ = 3800.0
FLOOR_DB = -80.0
MEAN_DB = -63.0
STD_DB = 19.0

FloatArray = npt.NDArray[np.float32]


def read_wav(path: Path) -> FloatArray:
    """Reads a mono 16-bit 8 kHz wav file.

    Args:
        path: The file.

    Returns:
        The samples, between -1 and 1.

    Raises:
        ValueError: If the file has another rate, width or number of channels.
    """
    with wave.open(str(path), "rb") as file:
        found = (file.getframerate(), file.getsampwidth(), file.getnchannels())
        if found != (SAMPLE_RATE, 2, 1):
            raise ValueError(f"{path.name}: not mono 16-bit audio of {SAMPLE_RATE} Hz: {found}")
        data = file.readframes(file.getnframes())
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)


def fit_length(samples: npt.NDArray[np.floating], length: int = LENGTH) -> npt.NDArray[np.float64]:
    """Pads with zeros, or crops, about the middle.

    Args:
        samples: One recording.
        length: The wanted number of samples.

    Returns:
        Exactly `length` samples. If an odd number has to be added or taken away, the larger half
        is at the end.
    """
    samples = np.asarray(samples, dtype=np.float64)
    excess = len(samples) - length
    if excess >= 0:
        return samples[excess // 2 : excess // 2 + length]
    return np.pad(samples, (-excess // 2, -excess - (-excess // 2)))


@functools.cache
def mel_filters() -> npt.NDArray[np.float64]:
    """Makes the triangular filters.

    Returns:
        MELS x (N_FFT / 2 + 1) weights between 0 and 1.
    """
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (LOW_HZ, HIGH_HZ))
    corners = 700 * (10 ** (np.linspace(low, high, MELS + 2) / 2595) - 1)
    bins = np.arange(N_FFT // 2 + 1) * SAMPLE_RATE / N_FFT
    left, centre, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising = (bins - left) / (centre - left)
    falling = (right - bins) / (right - centre)
    return np.clip(np.minimum(rising, falling), 0, None)


def log_mel_db(samples: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Computes steps 1 to 5 and the decibels of step 6, before normalisation.

    Args:
        samples: One recording of at least one sample, of any level.

    Returns:
        MELS x FRAMES decibels, no less than FLOOR_DB.
    """
    peak = float(np.abs(samples).max())
    fitted = fit_length(np.asarray(samples, dtype=np.float64) / (peak or 1.0))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    frames = np.lib.stride_tricks.sliding_window_view(fitted, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * window, N_FFT)) ** 2 / window.sum() ** 2
    mel = mel_filters() @ power.T
    return 10 * np.log10(np.maximum(mel, 10 ** (FLOOR_DB / 10)))


def log_mel(samples: npt.NDArray[np.floating]) -> FloatArray:
    """Computes the input of the model for one recording.

    Args:
        samples: One recording at SAMPLE_RATE, of at least one sample and of any level.

    Returns:
        1 x MELS x FRAMES, ready to be stacked along a new first axis.
    """
    return ((log_mel_db(samples) - MEAN_DB) / STD_DB).astype(np.float32)[None]
