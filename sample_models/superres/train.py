"""Trains the `superres` sample model: a small FSRCNN that doubles the size of a luma plane.

Run from the repository root::

    python -m sample_models.superres.train --data DIR

where `DIR` holds the folders `T91` (to learn from), `BSDS500/test` (for the committed test crops),
`Set5/image_SRF_2` and `Set14/image_SRF_2` (to score on).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from sample_models import common

HERE = Path(__file__).resolve().parent
SCALE = 2
CALIBRATION_CROPS, CALIBRATION_SIZE = 64, 32
TEST_CROPS, TEST_SIZE = 16, 48
PATCH = 32
BATCH = 16
# Every training picture is also used in these sizes, as in the FSRCNN paper.
SIZES = (1.0, 0.9, 0.8, 0.7, 0.6)

Plane = npt.NDArray[np.uint8]


class FSRCNN(nn.Module):
    """Extract, shrink, map, expand, and upsample by a transposed convolution."""

    def __init__(self, features: int = 24, shrunk: int = 8, mappings: int = 3) -> None:
        """Creates the layers.

        Args:
            features: Channels before and after the mapping (d in the paper).
            shrunk: Channels of the mapping (s in the paper).
            mappings: How many 3x3 convolutions map (m in the paper).
        """
        super().__init__()
        self.extract = nn.Conv2d(1, features, 5, padding=2)
        self.prelu_extract = nn.PReLU(features)
        self.shrink = nn.Conv2d(features, shrunk, 1)
        self.prelu_shrink = nn.PReLU(shrunk)
        self.map = nn.ModuleList(nn.Conv2d(shrunk, shrunk, 3, padding=1) for _ in range(mappings))
        self.prelu_map = nn.ModuleList(nn.PReLU(shrunk) for _ in range(mappings))
        self.expand = nn.Conv2d(shrunk, features, 1)
        self.prelu_expand = nn.PReLU(features)
        self.upsample = nn.ConvTranspose2d(
            features, 1, 9, stride=SCALE, padding=4, output_padding=SCALE - 1
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.25)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.upsample.weight, std=0.01)
        assert self.upsample.bias is not None
        nn.init.constant_(self.upsample.bias, 0.45)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Doubles the size of luma planes.

        Args:
            image: N x 1 x H x W, luma divided by 255.

        Returns:
            N x 1 x 2H x 2W, in the same unit, not clipped.
        """
        x = self.prelu_extract(self.extract(image))
        x = self.prelu_shrink(self.shrink(x))
        for conv, prelu in zip(self.map, self.prelu_map, strict=True):
            x = prelu(conv(x))
        x = self.prelu_expand(self.expand(x))
        return self.upsample(x)


def luma(picture: Image.Image) -> Plane:
    """Gives the BT.601 luma in studio range, 16 to 235, rounded to integers.

    Args:
        picture: Any picture; a grey one counts as equal red, green and blue.

    Returns:
        H x W luma.
    """
    rgb = np.asarray(picture.convert("RGB"), dtype=np.float64)
    weights = np.array([65.481, 128.553, 24.966]) / 255
    return np.round(16 + rgb @ weights).astype(np.uint8)


def pair(picture: Image.Image) -> tuple[Plane, Plane]:
    """Makes a small plane and its target out of one picture.

    Args:
        picture: The picture, of any size.

    Returns:
        The luma of the picture reduced by PIL's (antialiased) bicubic filter, and of the picture
        itself, cropped to an even size.
    """
    width, height = (side - side % SCALE for side in picture.size)
    large = picture.convert("RGB").crop((0, 0, width, height))
    small = large.resize((width // SCALE, height // SCALE), Image.Resampling.BICUBIC)
    return luma(small), luma(large)


def to_input(planes: npt.NDArray[np.uint8]) -> common.FloatArray:
    """Turns luma planes into what the network takes and gives.

    Args:
        planes: ... x H x W luma.

    Returns:
        The luma divided by 255, as float32.
    """
    return planes.astype(np.float32) / np.float32(255)


def crop_pair(
    planes: tuple[Plane, Plane], size: int, generator: np.random.Generator
) -> tuple[Plane, Plane]:
    """Cuts a random square out of a pair.

    Args:
        planes: A small plane and its target.
        size: The side of the square in the small plane.
        generator: The source of randomness.

    Returns:
        The square of the small plane and its target.
    """
    small, large = planes
    top = int(generator.integers(small.shape[0] - size + 1))
    left = int(generator.integers(small.shape[1] - size + 1))
    y, x, side = SCALE * top, SCALE * left, SCALE * size
    return small[top : top + size, left : left + size], large[y : y + side, x : x + side]


def psnr(output: npt.NDArray[np.float32], target: Plane) -> float:
    """Scores one picture, in decibels.

    Args:
        output: What the network gave, in [0, 1]; clipped and rounded to whole luma values here.
        target: The true luma.

    Returns:
        The peak signal to noise ratio for a peak of 255, without a border of two pixels.
    """
    values = np.round(np.clip(output.astype(np.float64) * 255, 0, 255))
    error = (values - target)[SCALE:-SCALE, SCALE:-SCALE]
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def bicubic(small: Plane) -> common.FloatArray:
    """Enlarges a plane by PIL's bicubic filter, for comparison.

    Args:
        small: H x W luma.

    Returns:
        2H x 2W luma divided by 255.
    """
    size = (small.shape[1] * SCALE, small.shape[0] * SCALE)
    grey = Image.fromarray(small.astype(np.float32))
    return np.asarray(grey.resize(size, Image.Resampling.BICUBIC), dtype=np.float32) / 255


def score_folder(folder: Path, model: Path) -> tuple[float, float, int]:
    """Scores an ONNX file on a folder of ``*_HR.png`` and ``*_LR.png``.

    Args:
        folder: The folder of pairs.
        model: The ONNX file.

    Returns:
        The mean PSNR of the model and of bicubic enlargement, and the number of pictures.
    """
    ours, theirs = [], []
    for path in sorted(folder.glob("*_HR.png")):
        small = luma(Image.open(path.with_name(path.name.replace("_HR", "_LR"))))
        large = luma(Image.open(path))
        output = common.run_onnx(model, to_input(small[None, None]))[0, 0]
        ours.append(psnr(output, large))
        theirs.append(psnr(bicubic(small), large))
    return float(np.mean(ours)), float(np.mean(theirs)), len(ours)


def load_training(folder: Path) -> list[list[tuple[Plane, Plane]]]:
    """Reads T91 in all sizes.

    Args:
        folder: The folder of bmp files.

    Returns:
        For each picture, the pairs of all its sizes, the full size first.

    Raises:
        FileNotFoundError: If there is no picture.
    """
    paths = sorted(folder.glob("*.bmp"))
    if not paths:
        raise FileNotFoundError(f"no pictures in {folder}")
    result = []
    for path in paths:
        picture = Image.open(path).convert("RGB")
        sizes = [tuple(round(side * factor) for side in picture.size) for factor in SIZES]
        pairs = [pair(picture.resize(size, Image.Resampling.BICUBIC)) for size in sizes]
        result.append([planes for planes in pairs if min(planes[0].shape) >= PATCH])
    return result


def train(data: list[list[tuple[Plane, Plane]]], steps: int, seed: int) -> FSRCNN:
    """Trains the network.

    Args:
        data: The training pairs, as of `load_training`.
        steps: Optimizer steps.
        seed: The seed of everything random.

    Returns:
        The trained network.
    """
    common.seed_everything(seed)
    generator = np.random.default_rng(seed)
    model = FSRCNN()
    pairs = [planes for picture in data for planes in picture]
    # Larger pictures are drawn more often, so that every pixel counts alike.
    weights = np.array([small.size for small, _ in pairs], dtype=np.float64)
    weights /= weights.sum()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=3e-3, total_steps=steps, pct_start=0.05, final_div_factor=100
    )
    inputs = np.empty((BATCH, 1, PATCH, PATCH), np.uint8)
    targets = np.empty((BATCH, 1, SCALE * PATCH, SCALE * PATCH), np.uint8)
    began, total, report = time.perf_counter(), 0.0, max(1, steps // 20)
    for step in range(1, steps + 1):
        for row, choice in enumerate(generator.choice(len(pairs), BATCH, p=weights)):
            turn, mirror = generator.integers(4), generator.integers(2)
            squares = crop_pair(pairs[choice], PATCH, generator)
            for store, square in zip((inputs, targets), squares, strict=True):
                turned = np.rot90(square, turn)
                store[row, 0] = turned[:, ::-1] if mirror else turned
        output = model(torch.from_numpy(to_input(inputs)))
        loss = functional.mse_loss(output, torch.from_numpy(to_input(targets)))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        schedule.step()
        total += loss.item()
        if step % report == 0:
            decibels = -10 * np.log10(total / report)
            spent = time.perf_counter() - began
            print(f"step {step:6d}  training PSNR {decibels:.2f} dB  {spent:.0f} s", flush=True)
            total = 0.0
    return model


def main() -> None:
    """Trains, exports, checks and scores the model, and writes the sample data."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the picture folders")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to")
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    data = load_training(args.data / "T91")
    began = time.perf_counter()
    model = train(data, args.steps, args.seed)
    print(f"trained in {time.perf_counter() - began:.1f} s")

    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "superres.onnx"
    proto = common.export_onnx(
        model,
        torch.zeros(1, 1, TEST_SIZE, TEST_SIZE),
        path,
        "image",
        "upscaled",
        {"image": {0: "N", 2: "H", 3: "W"}, "upscaled": {0: "N", 2: "H2", 3: "W2"}},
    )
    generator = np.random.default_rng(args.seed)
    pictures = sorted(generator.permutation(len(data))[:CALIBRATION_CROPS])
    crops = [crop_pair(data[i][0], CALIBRATION_SIZE, generator)[0] for i in pictures]
    common.save_npz(args.out / "calibration.npz", image=to_input(np.stack(crops)[:, None]))
    paths = sorted((args.data / "BSDS500" / "test").glob("*.jpg"))
    chosen = sorted(generator.permutation(len(paths))[:TEST_CROPS])
    pairs = [crop_pair(pair(Image.open(paths[i])), TEST_SIZE, generator) for i in chosen]
    small, large = (np.stack(planes)[:, None] for planes in zip(*pairs, strict=True))
    common.save_npz(args.out / "test.npz", image=to_input(small), target=to_input(large))

    print(f"parameters {common.count_parameters(proto)}")
    macs = common.count_macs(proto, (1, 1, TEST_SIZE, TEST_SIZE))
    print(f"multiply-accumulates {macs} at {TEST_SIZE} x {TEST_SIZE}")
    difference = common.max_difference(model, path, to_input(small))
    print(f"largest difference torch/onnxruntime {difference:.3g}")
    output = common.run_onnx(path, to_input(small))
    ours = np.mean([psnr(o[0], t[0]) for o, t in zip(output, large, strict=True)])
    theirs = np.mean([psnr(bicubic(s[0]), t[0]) for s, t in zip(small, large, strict=True)])
    print(f"committed crops {ours:.2f} dB, bicubic {theirs:.2f} dB ({len(small)} crops)")
    for name in ("Set14", "Set5"):
        ours, theirs, count = score_folder(args.data / name / "image_SRF_2", path)
        print(f"{name} {ours:.2f} dB, bicubic {theirs:.2f} dB ({count} pictures)")


if __name__ == "__main__":
    main()
