"""Trains the `digits` sample model: a small CNN on scikit-learn's 8x8 digits.

Run from the repository root::

    python -m sample_models.digits.train

The data come with scikit-learn; nothing is downloaded. Takes well under a minute on one thread.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional

from sample_models import common

HERE = Path(__file__).resolve().parent
TEST_SAMPLES = 500
SPLIT_SEED = 0
CALIBRATION_SAMPLES = 200


class DigitsNet(nn.Module):
    """Two 3x3 convolutions, a max pool and two fully connected layers."""

    def __init__(self) -> None:
        """Creates the layers with torch's default initialisation."""
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.relu2 = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(16 * 4 * 4, 32)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(32, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Classifies a batch.

        Args:
            image: N x 1 x 8 x 8 in [0, 1].

        Returns:
            N x 10 logits.
        """
        x = self.relu1(self.conv1(image))
        x = self.relu2(self.conv2(x))
        x = self.flatten(self.pool(x))
        return self.fc2(self.relu3(self.fc1(x)))


def load_data() -> tuple[
    common.FloatArray, common.FloatArray, npt.NDArray[np.int64], npt.NDArray[np.int64]
]:
    """Loads the digits and splits them, always in the same way.

    Returns:
        Training images, test images (N x 1 x 8 x 8 in [0, 1]), training labels, test labels.
    """
    bunch = load_digits()
    images = (bunch.images / 16.0).astype(np.float32)[:, None]
    labels = bunch.target.astype(np.int64)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=TEST_SAMPLES, random_state=SPLIT_SEED, stratify=labels
    )
    return train_x, test_x, train_y, test_y


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Moves, turns and scales every image of a batch a little.

    Args:
        images: N x 1 x 8 x 8.
        generator: The source of randomness.

    Returns:
        The moved images, of the same shape.
    """
    count = len(images)
    draw = torch.rand(count, 5, generator=generator) * 2 - 1
    angle, scale = draw[:, 0] * 0.2, 1 + draw[:, 1] * 0.1
    shear, shift = draw[:, 2] * 0.15, draw[:, 3:] * 0.15
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack(
        [
            torch.stack([cos, shear - sin, shift[:, 0]], dim=1),
            torch.stack([sin, cos, shift[:, 1]], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def train(
    images: common.FloatArray, labels: npt.NDArray[np.int64], epochs: int, seed: int
) -> DigitsNet:
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
    model = DigitsNet()
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    batch = 32
    steps = epochs * (len(x) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=steps)
    for epoch in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        total = 0.0
        for start in range(0, len(x) - batch + 1, batch):
            index = order[start : start + batch]
            loss = functional.cross_entropy(model(augment(x[index], generator)), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1:3d}  loss {total / (len(x) // batch):.4f}", flush=True)
    return model


def main() -> None:
    """Trains, exports, checks and scores the model, and writes the sample data."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    train_x, test_x, train_y, test_y = load_data()
    began = time.perf_counter()
    model = train(train_x, train_y, args.epochs, args.seed)
    print(f"trained in {time.perf_counter() - began:.1f} s")

    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "digits.onnx"
    proto = common.export_onnx(
        model,
        torch.zeros(1, 1, 8, 8),
        path,
        "image",
        "logits",
        {"image": {0: "N"}, "logits": {0: "N"}},
    )
    chosen = np.random.default_rng(args.seed).permutation(len(train_x))[:CALIBRATION_SAMPLES]
    common.save_npz(args.out / "calibration.npz", image=train_x[np.sort(chosen)])
    common.save_npz(args.out / "test.npz", image=test_x, labels=test_y)

    print(f"parameters {common.count_parameters(proto)}")
    print(f"multiply-accumulates {common.count_macs(proto, (1, 1, 8, 8))}")
    print(f"largest difference torch/onnxruntime {common.max_difference(model, path, test_x):.3g}")
    score = common.accuracy(common.run_onnx(path, train_x), train_y)
    print(f"training accuracy {100 * score:.2f} % ({len(train_y)} samples)")
    score = common.accuracy(common.run_onnx(path, test_x), test_y)
    print(f"test accuracy {100 * score:.2f} % ({len(test_y)} samples)")


if __name__ == "__main__":
    main()
