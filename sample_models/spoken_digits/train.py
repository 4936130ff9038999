"""Trains the `spoken_digits` sample model: a DS-CNN on log-mel features of spoken digits.

Run from the repository root::

    python -m sample_models.spoken_digits.train --data DIR

where `DIR` holds the wav files of the Free Spoken Digit Dataset, ``{digit}_{speaker}_{take}.wav``.
With ``--leave-out SPEAKER`` the model learns from the other speakers only and is tested on all
recordings of that one; files are then written only if ``--out`` is given.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from sample_models import common
from sample_models.spoken_digits import features

HERE = Path(__file__).resolve().parent
CALIBRATION_SAMPLES = 200
FIRST_TRAINING_TAKE = 5
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
SILENCE = (features.FLOOR_DB - features.MEAN_DB) / features.STD_DB


class Separable(nn.Module):
    """A depthwise 3x3 convolution and a pointwise one."""

    def __init__(self, channels: int) -> None:
        """Creates the layers.

        Args:
            channels: Channels in and out.
        """
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Runs the block.

        Args:
            x: N x channels x H x W.

        Returns:
            The same shape.
        """
        x = self.relu1(self.bn1(self.depthwise(x)))
        return self.relu2(self.bn2(self.pointwise(x)))


class DSCNN(nn.Module):
    """A small depthwise separable CNN for keyword spotting."""

    def __init__(self, channels: int = 48, blocks: int = 4) -> None:
        """Creates the layers with torch's default initialisation.

        Args:
            channels: Channels of every convolution.
            blocks: How many separable blocks follow the stem.
        """
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 5, stride=2, padding=2, bias=False)
        self.stem_bn = nn.BatchNorm2d(channels)
        self.stem_relu = nn.ReLU()
        self.blocks = nn.ModuleList(Separable(channels) for _ in range(blocks))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(channels, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Classifies a batch.

        Args:
            x: N x 1 x 32 x 40 features.

        Returns:
            N x 10 logits.
        """
        x = self.stem_relu(self.stem_bn(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.fc(self.dropout(self.flatten(self.pool(x))))


@dataclass(frozen=True)
class Recordings:
    """Features of some recordings, in the order of their file names.

    Attributes:
        inputs: N x 1 x 32 x 40 features.
        labels: The spoken digits.
        takes: The take numbers.
        speakers: The speakers' names.
    """

    inputs: common.FloatArray
    labels: npt.NDArray[np.int64]
    takes: npt.NDArray[np.int64]
    speakers: npt.NDArray[np.str_]

    def __getitem__(self, mask: npt.NDArray[np.bool_]) -> Recordings:
        """Selects recordings.

        Args:
            mask: Which ones to keep.

        Returns:
            Those.
        """
        return Recordings(
            self.inputs[mask], self.labels[mask], self.takes[mask], self.speakers[mask]
        )


def load_data(folder: Path) -> Recordings:
    """Reads all recordings and computes their features.

    Args:
        folder: Where the wav files lie.

    Returns:
        The recordings.

    Raises:
        FileNotFoundError: If there is no wav file.
    """
    paths = sorted(folder.glob("*_*_*.wav"))
    if not paths:
        raise FileNotFoundError(f"no recordings in {folder}")
    names = [path.stem.split("_") for path in paths]
    return Recordings(
        np.stack([features.log_mel(features.read_wav(path)) for path in paths]),
        np.array([int(name[0]) for name in names], dtype=np.int64),
        np.array([int(name[2]) for name in names], dtype=np.int64),
        np.array([name[1] for name in names]),
    )


def augment(inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Moves the features in time and pitch, adds noise, and blanks a few bands and frames.

    Args:
        inputs: N x 1 x MELS x FRAMES.
        generator: The source of randomness.

    Returns:
        The changed features, of the same shape.
    """
    count, _, mels, frames = inputs.shape

    def uniform(low: int, high: int) -> torch.Tensor:
        return torch.randint(low, high + 1, (count, 1), generator=generator)

    padded = functional.pad(inputs[:, 0], (6, 6, 2, 2), value=SILENCE)
    rows = torch.arange(mels) + uniform(0, 4)
    columns = torch.arange(frames) + uniform(0, 12)
    x = padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    quiet = x <= SILENCE + 1e-3
    x = x + 0.1 * torch.randn(x.shape, generator=generator)
    first, width = uniform(0, mels), uniform(0, 5)
    blank = (torch.arange(mels) >= first) & (torch.arange(mels) < first + width)
    quiet = quiet | blank[:, :, None]
    first, width = uniform(0, frames), uniform(0, 5)
    blank = (torch.arange(frames) >= first) & (torch.arange(frames) < first + width)
    quiet = quiet | blank[:, None, :]
    return torch.where(quiet, torch.tensor(SILENCE), x).clamp_min(SILENCE)[:, None]


def train(data: Recordings, epochs: int, seed: int) -> DSCNN:
    """Trains the network.

    Args:
        data: The training recordings.
        epochs: Passes over them.
        seed: The seed of everything random.

    Returns:
        The trained network.
    """
    generator = common.seed_everything(seed)
    model = DSCNN().to(memory_format=torch.channels_last)
    x, y = torch.from_numpy(data.inputs), torch.from_numpy(data.labels)
    batch = 64
    steps = len(x) // batch
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1e-2, total_steps=epochs * steps
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
        if epoch % 5 == 4:
            spent = time.perf_counter() - began
            print(f"epoch {epoch + 1:2d}  loss {total / steps:.4f}  {spent:.0f} s", flush=True)
    return model.to(memory_format=torch.contiguous_format)


def main() -> None:
    """Trains, exports, checks and scores the model, and writes the sample data."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the wav files")
    parser.add_argument("--out", type=Path, help="folder to write to (default: beside this script)")
    parser.add_argument("--leave-out", choices=SPEAKERS, metavar="SPEAKER", help="test on them")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    data = load_data(args.data)
    learnt = data.takes >= FIRST_TRAINING_TAKE
    if args.leave_out:
        other = data.speakers == args.leave_out
        training, test = data[learnt & ~other], data[other]
    else:
        training, test = data[learnt], data[~learnt]
    print(f"{len(training.labels)} recordings to learn from, {len(test.labels)} to test on")
    began = time.perf_counter()
    model = train(training, args.epochs, args.seed)
    print(f"trained in {time.perf_counter() - began:.1f} s")

    folder = args.out or (None if args.leave_out else HERE)
    if folder is None:
        model.eval()
        with torch.no_grad():
            logits = model(torch.from_numpy(test.inputs)).numpy()
    else:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "spoken_digits.onnx"
        proto = common.export_onnx(
            model,
            torch.zeros(1, 1, features.MELS, features.FRAMES),
            path,
            "features",
            "logits",
            {"features": {0: "N"}, "logits": {0: "N"}},
        )
        order = np.random.default_rng(args.seed).permutation(len(training.labels))
        chosen = np.sort(order[:CALIBRATION_SAMPLES])
        common.save_npz(folder / "calibration.npz", features=training.inputs[chosen])
        limit = 2_000_000 if args.leave_out else 900_000
        common.save_npz(folder / "test.npz", limit=limit, features=test.inputs, labels=test.labels)
        macs = common.count_macs(proto, (1, 1, features.MELS, features.FRAMES))
        print(f"parameters {common.count_parameters(proto)}")
        print(f"multiply-accumulates {macs}")
        difference = common.max_difference(model, path, test.inputs)
        print(f"largest difference torch/onnxruntime {difference:.3g}")
        logits = common.run_onnx(path, test.inputs)
    for speaker in sorted(set(test.speakers)):
        part = test.speakers == speaker
        score = common.accuracy(logits[part], test.labels[part])
        print(f"  {speaker:9s} {100 * score:.2f} % ({part.sum()} samples)")
    score = common.accuracy(logits, test.labels)
    print(f"test accuracy {100 * score:.2f} % ({len(test.labels)} samples)")


if __name__ == "__main__":
    main()
