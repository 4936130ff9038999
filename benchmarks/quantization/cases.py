"""The models that are measured: where inputs come from, how an output is scored, the limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import ROOT, existing
from benchmarks.quantization import datasets
from benchmarks.quantization.datasets import FloatArray

Metric = Literal["top1", "psnr", "sqnr"]


@dataclasses.dataclass(frozen=True)
class TestSet:
    """Inputs to score on.

    Attributes:
        name: What the tables call it.
        samples: One array with the samples on the first axis, or a list of batches of one.
        metric: ``top1`` (percent), ``psnr`` (dB, of ``targets``) or ``sqnr`` (dB against the float
            model, nothing else being known).
        labels: Class of each sample, for ``top1``.
        targets: True planes (H×W, 0..255), for ``psnr``.
        border: Pixels left out on each side, for ``psnr``.
        limit: Largest loss allowed, in points or dB.
        drop: For a score without the samples drawn for calibration: their indices, by seed.
    """

    name: str
    samples: FloatArray | Sequence[FloatArray]
    metric: Metric
    labels: NDArray[np.int64] | None = None
    targets: Sequence[FloatArray] | None = None
    border: int = 0
    limit: float | None = None
    drop: Callable[[int], NDArray[np.int64]] | None = None

    __test__ = False  # not for pytest, whatever its name

    def head(self, count: int | None) -> TestSet:
        """The first ``count`` samples."""
        if count is None or len(self.samples) <= count:
            return self
        return dataclasses.replace(
            self,
            name=f"{self.name} (first {count})",
            samples=self.samples[:count],
            labels=None if self.labels is None else self.labels[:count],
            targets=None if self.targets is None else self.targets[:count],
        )


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and its data.

    Attributes:
        name: Short name, for ``--model`` and file names.
        title: For tables.
        model: The float model, ``.onnx`` or ``.tflite``.
        input: Name of its input.
        calibration: In words: what a draw is.
        draw: Calibration samples of a seed, samples first.
        tests: What to score on.
        classes: Whether the output decides among classes, so that agreement means something.
    """

    name: str
    title: str
    model: Path
    input: str
    calibration: str
    draw: Callable[[int], FloatArray]
    tests: Callable[[], list[TestSet]]
    classes: bool = True


def all_cases(shared: Path) -> dict[str, Callable[[], Case]]:
    """Name to case; opening one raises MissingDataError where its data is not there."""
    # Imported here: those cases are made of what stands in this module.
    from benchmarks.quantization.tflite_cases import tflite_cases

    zoo, data = shared / "zoo", shared / "data"
    return {
        "resnet8": lambda: _resnet8(zoo, data),
        "mnist": lambda: _mnist(zoo, data),
        "vww": lambda: _vww(zoo, data),
        "cifar_tutorial": lambda: _cifar_tutorial(zoo, data),
        "fsrcnn_small_x2": lambda: _enlarger(
            zoo, data, "FSRCNN-small_x2", 2, limits={"Set12": 0.15}
        ),
        "fsrcnn_x4": lambda: _enlarger(
            zoo, data, "FSRCNN_x4", 4, limits={"Set12": 0.2, "Set5": 0.2}
        ),
        "espcn_x2": lambda: _enlarger(zoo, data, "ESPCN_x2", 2, limits={}),
        "yunet": lambda: _detector(zoo, data, "yunet_n_320_320", (320, 320), _bgr),
        "ultraface": lambda: _detector(
            zoo, data, "ultraface_RFB-320_nopost", (240, 320), _centered
        ),
        "digits": _digits,
        "fashion": lambda: _fashion(data),
        "spoken_digits": lambda: _spoken_digits(data),
        "superres": lambda: _superres(data),
        **tflite_cases(zoo, data),
    }


def pick(count: int, size: int, seed: int) -> NDArray[np.int64]:
    """``size`` different indices below ``count``, ascending."""
    generator = np.random.default_rng(seed)
    return np.sort(generator.permutation(count)[:size]).astype(np.int64)


def _resnet8(zoo: Path, data: Path) -> Case:
    train, _ = datasets.read_cifar(data / "cifar10", "train")
    test, labels = datasets.read_cifar(data / "cifar10", "test")
    samples = np.ascontiguousarray(test, np.float32)
    return Case(
        name="resnet8",
        title="ResNet8 (MLPerf Tiny)",
        model=existing(zoo / "ic_resnet8_float.onnx"),
        input="input_1",
        calibration="200 of 2,000 training pictures",
        draw=lambda seed: np.ascontiguousarray(train[pick(len(train), 200, seed)], np.float32),
        tests=lambda: [TestSet("CIFAR-10 test", samples, "top1", labels, limit=0.3)],
    )


def _mnist(zoo: Path, data: Path) -> Case:
    images, labels = datasets.read_mnist(data / "mnist", "t10k")
    samples = np.ascontiguousarray(images[:, None], np.float32)

    def drawn(seed: int) -> NDArray[np.int64]:
        return pick(1000, 200, seed)

    return Case(
        name="mnist",
        title="MNIST CNN (CNTK)",
        model=existing(zoo / "mnist8_cntk.onnx"),
        input="Input3",
        calibration="200 of the first 1,000 test pictures (no training pictures at hand)",
        draw=lambda seed: samples[drawn(seed)],
        tests=lambda: [
            TestSet("MNIST test", samples, "top1", labels, limit=0.1),
            TestSet("MNIST test, not drawn", samples, "top1", labels, limit=0.1, drop=drawn),
        ],
    )


def _vww(zoo: Path, data: Path) -> Case:
    files = datasets.image_files(data / "imagenet_crops", "*.jpg")
    pictures = [datasets.read_rgb(path) for path in files]

    def draw(seed: int) -> FloatArray:
        generator = np.random.default_rng(seed)
        crops = []
        for picture in (*pictures[:100], *pictures[:100]):
            side = int(generator.integers(160, 225))
            left, top = (int(v) for v in generator.integers(225 - side, size=2))
            crop = picture.crop((left, top, left + side, top + side))
            values = datasets.as_chw(crop, (96, 96))
            crops.append(values[:, :, ::-1] if generator.integers(2) else values)
        return _unit(np.stack(crops))

    def tests() -> list[TestSet]:
        crops = []
        for picture in pictures[100:]:
            for left, top in ((16, 16), (0, 0), (32, 0), (0, 32), (32, 32)):
                crop = picture.crop((left, top, left + 192, top + 192))
                crops.append(datasets.as_chw(crop, (96, 96)))
        samples = _unit(np.stack(crops))
        return [TestSet("ImageNet crops, no labels", samples, "sqnr")]

    return Case(
        name="vww",
        title="MobileNetV1 0.25, visual wake words (MLPerf Tiny)",
        model=existing(zoo / "vww_96_float.onnx"),
        input="input_1",
        calibration="200 random crops of 100 pictures",
        draw=draw,
        tests=tests,
    )


def _cifar_tutorial(zoo: Path, data: Path) -> Case:
    train, _ = datasets.read_cifar(data / "cifar10", "train")
    test, labels = datasets.read_cifar(data / "cifar10", "test")
    return Case(
        name="cifar_tutorial",
        title="CNN of a PyTorch tutorial",
        model=existing(zoo / "cifar10_pytorch_tutorial.onnx"),
        input="modelInput",
        calibration="200 of 2,000 training pictures",
        draw=lambda seed: _plus_minus_one(train[pick(len(train), 200, seed)]),
        tests=lambda: [TestSet("CIFAR-10 test", _plus_minus_one(test), "top1", labels)],
    )


def _enlarger(zoo: Path, data: Path, name: str, scale: int, limits: dict[str, float]) -> Case:
    def nhwc(plane: FloatArray) -> FloatArray:
        return _unit(plane)[None, ..., None]

    def draw(seed: int) -> FloatArray:
        planes = datasets.small_luma(data / "sr" / "T91", scale, True)
        crops = datasets.random_crops(planes, 200, 32, np.random.default_rng(seed))
        return _unit(crops)[..., None]

    def tests() -> list[TestSet]:
        pairs = {
            "Set12": datasets.read_grey(data / "denoise" / "Set12", scale),
            "Set5": datasets.read_pairs(data / "sr" / "Set5" / f"image_SRF_{scale}", True),
        }
        return [
            TestSet(
                title,
                [nhwc(small) for small, _ in found],
                "psnr",
                targets=[large for _, large in found],
                border=scale,
                limit=limits.get(title),
            )
            for title, found in pairs.items()
        ]

    return Case(
        name=name.lower().replace("-", "_"),
        title=name.replace("_x", " ×"),
        model=existing(zoo / f"{name}.onnx"),
        input="IteratorGetNext:0",
        calibration="200 crops of 32×32 of T91, reduced",
        draw=draw,
        tests=tests,
        classes=False,
    )


def _detector(
    zoo: Path,
    data: Path,
    name: str,
    size: tuple[int, int],
    scale: Callable[[NDArray[np.uint8]], FloatArray],
) -> Case:
    files = datasets.image_files(data / "imagenet_crops", "*.jpg")

    def read(path: Path) -> FloatArray:
        return scale(datasets.as_chw(datasets.read_rgb(path), size))

    def tests() -> list[TestSet]:
        samples = [read(path)[None] for path in files[100:200]]
        return [TestSet("ImageNet crops, no labels", samples, "sqnr")]

    return Case(
        name=name.partition("_")[0],
        title=name.partition("_")[0],
        model=existing(zoo / f"{name}.onnx"),
        input="input",
        calibration="50 of 100 pictures",
        draw=lambda seed: np.stack([read(files[i]) for i in pick(100, 50, seed)]),
        tests=tests,
        classes=False,
    )


def _digits() -> Case:
    folder = ROOT / "sample_models" / "digits"
    with np.load(existing(folder / "calibration.npz")) as archive:
        images = archive["image"]
    with np.load(existing(folder / "test.npz")) as archive:
        test, labels = archive["image"], archive["labels"].astype(np.int64)
    return Case(
        name="digits",
        title="digits (sample model)",
        model=existing(folder / "digits.onnx"),
        input="image",
        calibration=f"150 of the {len(images)} calibration images",
        draw=lambda seed: images[pick(len(images), 150, seed)],
        tests=lambda: [TestSet("digits test", test, "top1", labels, limit=0.5)],
    )


def _fashion(data: Path) -> Case:
    train, _ = datasets.read_mnist(data / "fashion_mnist", "train")
    test, labels = datasets.read_mnist(data / "fashion_mnist", "t10k")
    return Case(
        name="fashion",
        title="fashion (sample model)",
        model=existing(ROOT / "sample_models" / "fashion" / "fashion.onnx"),
        input="image",
        calibration="200 of 60,000 training images",
        draw=lambda seed: _unit(train[pick(len(train), 200, seed)][:, None]),
        tests=lambda: [
            TestSet("Fashion-MNIST test", _unit(test[:, None]), "top1", labels, limit=0.5)
        ],
    )


def _spoken_digits(data: Path) -> Case:
    from sample_models.spoken_digits import features

    folder = ROOT / "sample_models" / "spoken_digits"
    # Takes 0 to 4 of each speaker and digit are the test set, the others are for training.
    files = [
        path
        for path in datasets.image_files(data / "fsdd" / "recordings", "*.wav")
        if int(path.stem.split("_")[2]) > 4
    ]
    with np.load(existing(folder / "test.npz")) as archive:
        test, labels = archive["features"], archive["labels"].astype(np.int64)

    def draw(seed: int) -> FloatArray:
        chosen = [files[i] for i in pick(len(files), 200, seed)]
        found = [features.log_mel(features.read_wav(path)) for path in chosen]
        return np.stack(found).reshape(len(found), *test.shape[1:]).astype(np.float32)

    return Case(
        name="spoken_digits",
        title="spoken_digits (sample model)",
        model=existing(folder / "spoken_digits.onnx"),
        input="features",
        calibration="200 of 2,700 training recordings",
        draw=draw,
        tests=lambda: [TestSet("FSDD test", test, "top1", labels, limit=0.5)],
    )


def _superres(data: Path) -> Case:
    def nchw(plane: FloatArray) -> FloatArray:
        return _unit(plane)[None, None]

    def draw(seed: int) -> FloatArray:
        planes = datasets.small_luma(data / "sr" / "T91", 2, False)
        crops = datasets.random_crops(planes, 200, 32, np.random.default_rng(seed))
        return _unit(crops)[:, None]

    def tests() -> list[TestSet]:
        found = []
        for name in ("Set5", "Set14"):
            pairs = datasets.read_pairs(data / "sr" / name / "image_SRF_2", False)
            samples = [nchw(small) for small, _ in pairs]
            targets = [large for _, large in pairs]
            found.append(TestSet(name, samples, "psnr", targets=targets, border=2, limit=0.5))
        return found

    return Case(
        name="superres",
        title="superres ×2 (sample model)",
        model=existing(ROOT / "sample_models" / "superres" / "superres.onnx"),
        input="image",
        calibration="200 crops of 32×32 of T91, reduced",
        draw=draw,
        tests=tests,
        classes=False,
    )


def _unit(values: NDArray[Any]) -> FloatArray:
    """0..255 to 0..1."""
    return np.asarray(np.asarray(values, np.float32) / np.float32(255), np.float32)


def _plus_minus_one(images: NDArray[np.uint8]) -> FloatArray:
    return np.asarray(np.asarray(images, np.float32) / np.float32(127.5) - 1, np.float32)


def _bgr(picture: NDArray[np.uint8]) -> FloatArray:
    return np.ascontiguousarray(picture[::-1], np.float32)


def _centered(picture: NDArray[np.uint8]) -> FloatArray:
    return np.asarray((np.asarray(picture, np.float32) - 127) / np.float32(128), np.float32)
