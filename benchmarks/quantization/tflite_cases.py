"""Cases of float ``.tflite`` models: channels are last, and the peer is AI Edge Quantizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.common import existing
from benchmarks.quantization import datasets, speech_features
from benchmarks.quantization.cases import Case, TestSet, pick
from benchmarks.quantization.datasets import FloatArray

# Pictures of the calibration draws; the others are for scoring.
_FOR_CALIBRATION = 100
# The whole crop and four of 192×192, left and top.
_CORNERS = ((0, 0), (32, 0), (0, 32), (32, 32))
# MobileNet's classes begin with one for the background.
_BACKGROUND = 1


def tflite_cases(zoo: Path, data: Path) -> dict[str, Callable[[], Case]]:
    """Name to case; opening one raises MissingDataError where its data is not there."""
    return {
        "tflite_mobilenet": lambda: _mobilenet(zoo, data),
        "tflite_resnet8": lambda: _resnet8(zoo, data),
        "tflite_mnist": lambda: _mnist(zoo, data),
        "tflite_vww": lambda: _vww(zoo, data),
        "tflite_kws": lambda: _kws(zoo, data),
        "tflite_ultraface": lambda: _ultraface(zoo, data),
        "tflite_selfie": lambda: _selfie(zoo, data),
    }


def _mobilenet(zoo: Path, data: Path) -> Case:
    files = datasets.image_files(data / "imagenet_crops", "*.jpg")

    def scaled(pictures: Sequence[Image.Image]) -> FloatArray:
        values = np.stack([_pixels(picture, (224, 224)) for picture in pictures])
        return np.asarray(values / np.float32(127.5) - 1, np.float32)

    def tests() -> list[TestSet]:
        pictures = [datasets.read_rgb(path) for path in files[_FOR_CALIBRATION:]]
        labels = np.array([int(path.name[:4]) for path in files[_FOR_CALIBRATION:]]) + _BACKGROUND
        whole = scaled(pictures)
        corners = [p.crop((x, y, x + 192, y + 192)) for p in pictures for x, y in _CORNERS]
        samples = np.concatenate([whole, scaled(corners)])
        repeated = np.concatenate([labels, np.repeat(labels, len(_CORNERS))])
        return [
            TestSet("ImageNet crops, five of each picture", samples, "top1", repeated),
            TestSet("ImageNet crops, whole", whole, "top1", labels),
        ]

    return Case(
        name="tflite_mobilenet",
        title="MobileNetV1 0.25 224, ImageNet (.tflite)",
        model=existing(zoo / "mobilenet_v1_0.25_224_float.tflite"),
        input="input",
        calibration="100 random crops, one of each of 100 pictures",
        draw=lambda seed: scaled(_random_crops(files, 1, seed)),
        tests=tests,
    )


def _resnet8(zoo: Path, data: Path) -> Case:
    train, _ = datasets.read_cifar(data / "cifar10", "train")
    test, labels = datasets.read_cifar(data / "cifar10", "test")

    def nhwc(pictures: NDArray[np.uint8]) -> FloatArray:
        return np.ascontiguousarray(pictures.transpose(0, 2, 3, 1), np.float32)

    return Case(
        name="tflite_resnet8",
        title="ResNet8, MLPerf Tiny (.tflite)",
        model=existing(zoo / "ic_resnet8_float.tflite"),
        input="input_1",
        calibration="200 of 2,000 training pictures",
        draw=lambda seed: nhwc(train[pick(len(train), 200, seed)]),
        tests=lambda: [TestSet("CIFAR-10 test", nhwc(test), "top1", labels, limit=0.3)],
    )


def _mnist(zoo: Path, data: Path) -> Case:
    images, labels = datasets.read_mnist(data / "mnist", "t10k")
    samples = _unit(images[..., None])

    def drawn(seed: int) -> NDArray[np.int64]:
        return pick(1000, 200, seed)

    return Case(
        name="tflite_mnist",
        title="MNIST CNN of emlearn (.tflite)",
        model=existing(zoo / "emlearn_mnist_cnn_fp32.tflite"),
        input="input",
        calibration="200 of the first 1,000 test pictures (no training pictures at hand)",
        draw=lambda seed: samples[drawn(seed)],
        tests=lambda: [
            TestSet("MNIST test", samples, "top1", labels, limit=0.3),
            TestSet("MNIST test, not drawn", samples, "top1", labels, limit=0.3, drop=drawn),
        ],
    )


def _vww(zoo: Path, data: Path) -> Case:
    files = datasets.image_files(data / "imagenet_crops", "*.jpg")

    def scaled(pictures: Sequence[Image.Image]) -> FloatArray:
        return _unit(np.stack([_pixels(picture, (96, 96)) for picture in pictures]))

    def tests() -> list[TestSet]:
        pictures = [datasets.read_rgb(path) for path in files[_FOR_CALIBRATION:]]
        places = ((16, 16), *_CORNERS)
        crops = [p.crop((x, y, x + 192, y + 192)) for p in pictures for x, y in places]
        return [TestSet("ImageNet crops, no labels", scaled(crops), "sqnr")]

    return Case(
        name="tflite_vww",
        title="MobileNetV1 0.25 96, visual wake words (.tflite)",
        model=existing(zoo / "vww_96_float.tflite"),
        input="input_1",
        calibration="200 random crops of 100 pictures",
        draw=lambda seed: scaled(_random_crops(files, 2, seed)),
        tests=tests,
    )


def _kws(zoo: Path, data: Path) -> Case:
    files = datasets.image_files(data / "fsdd" / "recordings", "*.wav")
    takes = np.array([int(path.stem.split("_")[2]) for path in files])

    def features(indices: NDArray[np.int64]) -> FloatArray:
        return np.stack(
            [speech_features.mfcc(speech_features.read_second(files[i])) for i in indices]
        )

    def draw(seed: int) -> FloatArray:
        chosen = np.flatnonzero(takes >= 25)
        return features(chosen[pick(len(chosen), 200, seed)])

    return Case(
        name="tflite_kws",
        title="Keyword spotting of Qualcomm, MLPerf Tiny (.tflite)",
        model=existing(zoo / "qualcomm_kws_saved_model_float.tflite"),
        input="input",
        calibration="200 of 1,500 spoken digits",
        draw=draw,
        tests=lambda: [
            TestSet("spoken digits, no labels", features(np.flatnonzero(takes < 25)), "sqnr")
        ],
    )


def _ultraface(zoo: Path, data: Path) -> Case:
    files = datasets.image_files(data / "imagenet_crops", "*.jpg")

    def read(path: Path) -> FloatArray:
        pixels = _pixels(datasets.read_rgb(path), (240, 320))
        return np.asarray((pixels - 127) / np.float32(128), np.float32)

    return Case(
        name="tflite_ultraface",
        title="UltraFace RFB-320 (.tflite)",
        model=existing(zoo / "ultraface_RFB-320_nopost.tflite"),
        input="input",
        calibration="50 of 100 pictures",
        draw=lambda seed: np.stack([read(files[i]) for i in pick(_FOR_CALIBRATION, 50, seed)]),
        tests=lambda: [
            TestSet(
                "ImageNet crops, no labels", np.stack([read(f) for f in files[100:200]]), "sqnr"
            )
        ],
        classes=False,
    )


def _selfie(zoo: Path, data: Path) -> Case:
    files = datasets.image_files(data / "imagenet_crops", "*.jpg")

    def read(path: Path) -> FloatArray:
        return _unit(_pixels(datasets.read_rgb(path), (256, 256)))

    return Case(
        name="tflite_selfie",
        title="Selfie segmentation of MediaPipe (.tflite)",
        model=existing(zoo / "selfie_segmentation.tflite"),
        input="input_1",
        calibration="50 of 100 pictures",
        draw=lambda seed: np.stack([read(files[i]) for i in pick(_FOR_CALIBRATION, 50, seed)]),
        tests=lambda: [
            TestSet(
                "ImageNet crops, no labels", np.stack([read(f) for f in files[100:200]]), "sqnr"
            )
        ],
        classes=False,
    )


def _unlabeled(samples: FloatArray) -> TestSet:
    return TestSet("ImageNet crops, no labels", samples, "sqnr")


def _unit(values: NDArray[Any]) -> FloatArray:
    """0..255 to 0..1."""
    return np.asarray(values / np.float32(255), np.float32)


def _pixels(picture: Image.Image, size: tuple[int, int]) -> FloatArray:
    """H×W×3, 0..255."""
    return np.asarray(datasets.as_chw(picture, size).transpose(1, 2, 0), np.float32)


def _random_crops(files: Sequence[Path], each: int, seed: int) -> list[Image.Image]:
    """Square crops of 160 to 224 pixels of the calibration pictures, half of them mirrored."""
    generator = np.random.default_rng(seed)
    crops = []
    for path in [*files[:_FOR_CALIBRATION]] * each:
        side = int(generator.integers(160, 225))
        left, top = (int(v) for v in generator.integers(225 - side, size=2))
        crop = datasets.read_rgb(path).crop((left, top, left + side, top + side))
        mirrored = generator.integers(2)
        crops.append(crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else crop)
    return crops
