"""Trains the `fashion` sample model: a ResNet-8 on Fashion-MNIST.

Run from the repository root::

    python -m sample_models.fashion.train --data DIR

where `DIR` holds the four `*-ubyte.gz` files of Fashion-MNIST.
"""

from __future__ import annotations

import argparse
import gzip
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from sample_models import common

HERE = Path(__file__).resolve().parent
CALIBRATION_SAMPLES = 256
TEST_SAMPLES_A_CLASS = 100
CLASSES = 10


class Block(nn.Module):
    """A residual block of two 3x3 convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        """Creates the layers.

        Args:
            inputs: Channels in.
            outputs: Channels out.
            stride: The stride of the first convolution and of the shortcut.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if stride != 1 else nn.Identity()
        self.relu2 = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Runs the block.

        Args:
            x: N x inputs x H x W.

        Returns:
            N x outputs x H/stride x W/stride.
        """
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu2(y + self.shortcut(x))


class ResNet8(nn.Module):
    """The ResNet-8 of MLPerf Tiny, for one input channel."""

    def __init__(self) -> None:
        """Creates the layers with torch's default initialisation."""
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(16)
        self.stem_relu = nn.ReLU()
        self.stage1 = Block(16, 16, 1)
        self.stage2 = Block(16, 32, 2)
        self.stage3 = Block(32, 64, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64, CLASSES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Classifies a batch.

        Args:
            image: N x 1 x 28 x 28 in [0, 1].

        Returns:
            N x 10 logits.
        """
        x = self.stem_relu(self.stem_bn(self.stem(image)))
        x = self.stage3(self.stage2(self.stage1(x)))
        return self.fc(self.flatten(self.pool(x)))


def load_data(folder: Path, part: str) -> tuple[common.FloatArray, npt.NDArray[np.int64]]:
    """Reads one part of Fashion-MNIST.

    Args:
        folder: Where the `*-ubyte.gz` files lie.
        part: ``train`` or ``t10k``.

    Returns:
        Images (N x 1 x 28 x 28, pixel values divided by 255) and labels.
    """
    with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return pixels.astype(np.float32) / np.float32(255), labels.astype(np.int64)


def augment(images: torch.Tensor, generator: torch.Generator, pad: int = 2) -> torch.Tensor:
    """Mirrors half of the images and moves each by up to `pad` pixels.

    Args:
        images: N x 1 x H x W.
        generator: The source of randomness.
        pad: The largest shift, in pixels.

    Returns:
        The changed images, of the same shape.
    """
    count, _, height, width = images.shape
    padded = functional.pad(images[:, 0], (pad, pad, pad, pad))
    shift = torch.randint(0, 2 * pad + 1, (2, count, 1), generator=generator)
    rows = torch.arange(height) + shift[0]
    columns = torch.arange(width) + shift[1]
    mirrored = torch.rand(count, generator=generator) < 0.5
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    return padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]][
        :, None
    ]


def train(
    images: common.FloatArray, labels: npt.NDArray[np.int64], epochs: int, seed: int
) -> ResNet8:
    """Trains the network.

    Args:
        images: Training images.
        labels: Training labels.
        epochs: Passes over the training set.
        seed: The seed of everything random.

    Returns:
        The trained network.
    """
    generator = common.seed_everything(seed)
    model = ResNet8().to(memory_format=torch.channels_last)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    batch = 128
    steps = len(x) // batch
    decayed = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD(
        [{"params": decayed, "weight_decay": 5e-4}, {"params": rest, "weight_decay": 0.0}],
        lr=0.1,
        momentum=0.9,
        nesterov=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.2, total_steps=epochs * steps, pct_start=0.25
    )
    began = time.perf_counter()
    for epoch in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        total = 0.0
        for step in range(steps):
            index = order[step * batch : (step + 1) * batch]
            inputs = augment(x[index], generator).contiguous(memory_format=torch.channels_last)
            loss = functional.cross_entropy(model(inputs), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        spent = time.perf_counter() - began
        print(f"epoch {epoch + 1:2d}  loss {total / steps:.4f}  {spent:.0f} s", flush=True)
    return model


def main() -> None:
    """Trains, exports, checks and scores the model, and writes the sample data."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the idx gz files")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    train_x, train_y = load_data(args.data, "train")
    test_x, test_y = load_data(args.data, "t10k")
    began = time.perf_counter()
    model = train(train_x, train_y, args.epochs, args.seed)
    print(f"trained in {time.perf_counter() - began:.1f} s")

    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "fashion.onnx"
    proto = common.export_onnx(
        model.to(memory_format=torch.contiguous_format),
        torch.zeros(1, 1, 28, 28),
        path,
        "image",
        "logits",
        {"image": {0: "N"}, "logits": {0: "N"}},
    )
    chosen = np.random.default_rng(args.seed).permutation(len(train_x))[:CALIBRATION_SAMPLES]
    common.save_npz(args.out / "calibration.npz", image=train_x[np.sort(chosen)])
    # The first test images of each class, kept in the order of the test set.
    subset = np.sort(
        np.concatenate([np.flatnonzero(test_y == k)[:TEST_SAMPLES_A_CLASS] for k in range(CLASSES)])
    )
    common.save_npz(args.out / "test.npz", image=test_x[subset], labels=test_y[subset])

    print(f"parameters {common.count_parameters(proto)}")
    print(f"multiply-accumulates {common.count_macs(proto, (1, 1, 28, 28))}")
    difference = common.max_difference(model, path, test_x[:1000])
    print(f"largest difference torch/onnxruntime {difference:.3g}")
    logits = common.run_onnx(path, test_x)
    score = common.accuracy(logits[subset], test_y[subset])
    print(f"test accuracy, committed subset {100 * score:.2f} % ({len(subset)} samples)")
    score = common.accuracy(logits, test_y)
    print(f"test accuracy {100 * score:.2f} % ({len(test_y)} samples)")


if __name__ == "__main__":
    main()
