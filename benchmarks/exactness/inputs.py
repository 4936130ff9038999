"""Inputs of the published int8 models: random integers, and features of real data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from intaglio.targets.base import TensorSpec
from intaglio.transforms.scales import TensorQuantization
from numpy.typing import NDArray
from PIL import Image

from benchmarks.quantization import datasets

RealInputs = Callable[[Path, tuple[int, ...], int], NDArray[np.float64]]


def random_integers(spec: TensorSpec, count: int, seed: int = 0) -> NDArray[np.integer]:
    """``count`` inputs, uniform over the whole integer type; the first axis counts them."""
    limits = np.iinfo(spec.dtype)
    shape = [1 if isinstance(d, str) else d for d in spec.shape]
    generator = np.random.default_rng(seed)
    drawn = generator.integers(limits.min, limits.max, [count, *shape], endpoint=True)
    return drawn.astype(spec.dtype)


def quantized(values: NDArray[np.floating], spec: TensorSpec) -> NDArray[np.integer]:
    """Real values as the integers that ``spec`` takes."""
    quantization = TensorQuantization(spec.dtype, (spec.scale or 1.0,), (spec.zero_point or 0,))
    return quantization.quantize(values)


def pictures(data: Path, shape: tuple[int, ...], count: int) -> NDArray[np.float64]:
    """Pictures 0 to 1, resized to NHWC ``shape``; grey where it has one channel."""
    files = datasets.image_files(data / "imagenet_crops", "*.jpg")[:count]
    found = []
    for path in files:
        picture = datasets.read_rgb(path)
        picture = picture.convert("L") if shape[3] == 1 else picture
        resized = picture.resize((shape[2], shape[1]), Image.Resampling.BILINEAR)
        found.append(np.asarray(resized, np.float64).reshape(shape) / 255)
    return np.stack(found)


def centered_pictures(data: Path, shape: tuple[int, ...], count: int) -> NDArray[np.float64]:
    """Pictures -1 to 1."""
    return 2 * pictures(data, shape, count) - 1


def byte_pictures(data: Path, shape: tuple[int, ...], count: int) -> NDArray[np.float64]:
    """CIFAR-10 test pictures 0 to 255, NHWC."""
    test, _ = datasets.read_cifar(data / "cifar10", "test")
    return test[:count].transpose(0, 2, 3, 1).reshape(count, *shape).astype(np.float64)


def digits(data: Path, shape: tuple[int, ...], count: int) -> NDArray[np.float64]:
    """MNIST test images 0 to 1."""
    images, _ = datasets.read_mnist(data / "mnist", "t10k")
    return images[:count].reshape(count, *shape) / 255.0


def angles(data: Path, shape: tuple[int, ...], count: int) -> NDArray[np.float64]:
    """Numbers 0 to two pi, evenly spaced."""
    return np.linspace(0, 2 * np.pi, count).reshape(count, *shape)


def speech_cepstra(data: Path, shape: tuple[int, ...], count: int) -> NDArray[np.float64]:
    """Ten cepstral coefficients of 49 frames of spoken digits, NHWC."""
    cepstra = []
    for mel in _log_mel(data, count):
        steps = np.arange(mel.shape[0])
        basis = np.cos(np.pi / len(steps) * (steps + 0.5) * np.arange(shape[2])[:, None])
        cepstra.append((basis @ mel).T * np.sqrt(2 / len(steps)) * np.log(10) / 10)
    return np.stack([_frames(c, shape[1]) for c in cepstra]).reshape(count, *shape)


def speech_spectra(data: Path, shape: tuple[int, ...], count: int) -> NDArray[np.float64]:
    """Log spectra of spoken digits, 40 bands of 49 frames, 0 to 26 as the model takes them."""
    spectra = []
    for mel in _log_mel(data, count):
        bands = np.linspace(0, mel.shape[0] - 1, 40)
        wide = np.stack([np.interp(bands, np.arange(mel.shape[0]), frame) for frame in mel.T])
        spectra.append(np.clip((wide + 80) / 80 * 26, 0, 26))
    return np.stack([_frames(s, 49) for s in spectra]).reshape(count, *shape)


def _log_mel(data: Path, count: int) -> list[NDArray[np.float64]]:
    from sample_models.spoken_digits import features

    files = datasets.image_files(data / "fsdd" / "recordings", "*.wav")
    chosen = files[:: max(1, len(files) // count)][:count]
    return [features.log_mel_db(features.read_wav(path)) for path in chosen]


def _frames(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """``count`` rows, by linear interpolation in time."""
    places = np.linspace(0, len(values) - 1, count)
    low = np.floor(places).astype(int)
    high = np.minimum(low + 1, len(values) - 1)
    part = (places - low)[:, None]
    return values[low] * (1 - part) + values[high] * part


#: The published int8 models of the zoo, and what real inputs of each are.
PUBLISHED: dict[str, RealInputs] = {
    "emlearn_mnist_cnn_int8": digits,
    "hello_world_int8": angles,
    "ic_resnet8_int8": byte_pictures,
    "kws_ref_model_int8": speech_cepstra,
    "micro_speech_quantized": speech_spectra,
    "person_detect_qdim_fixed": centered_pictures,
    "vww_96_int8": pictures,
}
