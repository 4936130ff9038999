"""The structure of TinyLUT's x4 model in PyTorch, in float operators, with random weights.

Nothing here is a table: scalar functions are small networks of grouped 1x1 convolutions, each with
one input channel, and all rounding is `torch.round` and `torch.clamp`. So its ONNX export is what
somebody who trained such a model would bring.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = 16
UPSCALE = 4
TAPS = 9
REACH = 2


class ScalarNetworks(nn.Module):
    """A network 1 -> hidden -> ... -> outputs for each channel; their results are summed."""

    def __init__(
        self, channels: int, outputs: int, levels: Iterable[int], hidden: int, generator: object
    ) -> None:
        super().__init__()
        self.channels, self.outputs = channels, outputs
        self.levels = torch.tensor(list(levels), dtype=torch.float32)
        sizes = (1, hidden, hidden, outputs)
        self.layers = nn.ModuleList(
            nn.Conv2d(channels * a, channels * b, 1, groups=channels)
            for a, b in itertools.pairwise(sizes)
        )
        self._initialize(generator)

    @torch.no_grad()
    def _initialize(self, generator: object) -> None:
        for layer in self.layers:
            inputs = layer.weight.shape[1]
            layer.weight.normal_(0, (2 / inputs) ** 0.5, generator=generator)
            layer.bias.normal_(0, 1 if inputs == 1 else 0.1, generator=generator)
        self.layers[0].weight /= self.levels.abs().max()
        last = self.layers[-1]
        raw = self._raw()
        largest = raw.abs().amax(dim=0)
        last.weight *= (100 / largest).reshape(-1, 1, 1, 1)
        last.bias *= 100 / largest
        last.bias -= clearance(self._raw())

    def _raw(self) -> Tensor:
        """Unrounded entries in float64, [levels, channels * outputs]."""
        value = self.levels.double().reshape(-1, 1, 1, 1).expand(-1, self.channels, 1, 1)
        for place, layer in enumerate(self.layers):
            if place:
                value = functional.relu(value)
            value = functional.conv2d(
                value, layer.weight.double(), layer.bias.double(), groups=self.channels
            )
        return value.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Sums of the entries: [N, channels, H, W] to [N, outputs, H, W]."""
        for place, layer in enumerate(self.layers):
            x = layer(functional.relu(x) if place else x)
        entries = torch.clamp(torch.round(x), -128, 127)
        return entries.unflatten(1, (self.channels, self.outputs)).sum(1)


def clearance(raw: Tensor) -> Tensor:
    """The shift of each column that takes its numbers as far from ties of rounding as can be.

    The middle of the widest gap between the fractions: no order of summation then rounds
    differently, so that all runtimes agree on the network.
    """
    fractions = torch.sort(torch.remainder(raw, 1), dim=0).values
    following = torch.cat([fractions[1:], fractions[:1] + 1])
    gaps = following - fractions
    widest = gaps.argmax(dim=0, keepdim=True)
    middle = (fractions + gaps / 2).gather(0, widest)[0]
    return (middle - 0.5).float()


class Branch(nn.Module):
    """One branch: Sc, Pw and Up, with a learned scale for each channel between them (DDM)."""

    def __init__(self, low: int, high: int, hidden: int, generator: object) -> None:
        super().__init__()
        self.low, self.high = low, high
        levels = range(low, high + 1)
        picker = torch.eye(TAPS).reshape(TAPS, 1, 3, 3)
        self.register_buffer("picker", picker)
        self.stem = ScalarNetworks(TAPS, CHANNELS, levels, hidden, generator)
        self.mix = ScalarNetworks(CHANNELS, CHANNELS, levels, hidden, generator)
        self.up = ScalarNetworks(CHANNELS, UPSCALE**2, levels, hidden, generator)
        shape = (1, CHANNELS, 1, 1)
        self.stem_scale = nn.Parameter(torch.rand(shape, generator=generator) * 0.6 + 0.45)
        self.mix_scale = nn.Parameter(torch.rand(shape, generator=generator) * 0.6 + 0.45)

    def settle(self, features: Tensor, scale: Tensor) -> Tensor:
        """Clamps to the branch's range, scales, rounds and clamps."""
        clamped = torch.clamp(features, self.low, self.high)
        return torch.clamp(torch.round(clamped * scale), self.low, self.high)

    def forward(self, x: Tensor) -> Tensor:
        """The branch's bits [N, 1, H, W] to sub-pixels [N, 16, H, W]."""
        padded = functional.pad(x, (REACH, 0, REACH, 0), mode="reflect")
        taps = functional.conv2d(padded, self.picker)
        f = self.settle(torch.round(self.stem(taps) / TAPS) + x, self.stem_scale)
        f = self.settle(torch.round(self.mix(f) / CHANNELS) + f, self.mix_scale)
        return torch.clamp(torch.round(self.up(f) / CHANNELS) + f, -128, 127)


class ReferenceTableNetwork(nn.Module):
    """Two branches, four rotations that are summed, x4."""

    def __init__(self, hidden: int = 64, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.upper = Branch(-32, 31, hidden, generator)
        self.lower = Branch(0, 3, hidden, generator)
        self.eval()

    def forward(self, planes: Tensor) -> Tensor:
        """uint8 planes [N, 1, H, W] to uint8 planes [N, 1, 4H, 4W]."""
        pixels = planes.float() - 128
        total: Tensor | int = 0
        for turn in range(4):
            turned = torch.rot90(pixels, turn, (2, 3))
            high = torch.floor(turned / 4)
            both = self.upper(high) + self.lower(turned - 4 * high)
            large = functional.pixel_shuffle(torch.clamp(both, -128, 127), UPSCALE)
            total = total + torch.rot90(large, -turn, (2, 3))
        return torch.clamp(total + 128, 0, 255).to(torch.uint8)


def export(network: nn.Module, path: object) -> None:
    """Writes the network as ONNX with any batch, height and width."""
    example = torch.from_numpy(np.arange(2 * 12 * 10).astype(np.uint8).reshape(2, 1, 12, 10))
    dims = (0, 2, 3)
    torch.onnx.export(
        network,
        (example,),
        str(path),
        input_names=["planes_in"],
        output_names=["planes_out"],
        dynamic_shapes={"planes": dict.fromkeys(dims, torch.export.Dim.DYNAMIC)},
        dynamo=True,
        external_data=False,
        verbose=False,
    )
