"""TinyLUT's structure as a PyTorch module: rounded as the integer network, with gradients.

Two branches, of the upper six and the lower two bits of the pixels, each of table layers that end
in a mean, a residual, a clamp and a learned scale of each channel (DDM). The image is turned by 0,
90, 180 and 270 degrees, and what the branches make of it is turned back and summed.

Source: Li et al., "TinyLUT", NeurIPS 2024. The tables are trained through a fixed basis of hat
functions instead of scalar MLPs: it trains better, and costs nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from intaglio.fitting.tables.general_rows import depthwise, pointwise
from intaglio.fitting.tables.general_rows_torch import Levels
from intaglio.fitting.tables.table_parameters import (
    LIMIT,
    central_slopes,
    hat_basis,
    round_integers,
)
from intaglio.transforms.table_networks.reference import Branch, ReferenceNetwork, Stage

_TAPS, _REACH = 9, 2
_KNOTS = {64: (2, 3, 5, 9, 17, 33, 64), 4: (2, 3, 4)}
#: What scales take of the learning rate, which is in steps of table entries.
_SCALE_RATE = 0.002
#: A scale stays positive, and does not widen a range.
_LEAST_SCALE, _MOST_SCALE = 0.05, 1.0


class RowTables(nn.Module):
    """Tables of one layer, trained through the hat basis.

    Args:
        tables: How many.
        rows: 64 or 4.
        outputs: Entries of a row.
        ends: float32 [tables, outputs]: the first tables are lines from minus these to them.
    """

    basis: Tensor

    def __init__(self, tables: int, rows: int, outputs: int, ends: Tensor) -> None:
        super().__init__()
        basis = hat_basis(rows, _KNOTS[rows])
        self.register_buffer("basis", basis, persistent=False)
        theta = torch.zeros(tables, basis.shape[1], outputs)
        theta[:, 0], theta[:, 1] = -ends, ends
        self.theta = nn.Parameter(theta)

    def forward(self) -> tuple[Tensor, Tensor]:
        """Rounded tables [tables, rows, outputs], and slopes of the unrounded ones."""
        raw = torch.matmul(self.basis, self.theta)
        with torch.no_grad():
            slopes = central_slopes(raw.clamp(-LIMIT, LIMIT))
        return round_integers(raw), slopes


class BranchStage(nn.Module):
    """A depthwise layer, where there is one, and a pointwise layer, with their scales.

    Args:
        channels: Features.
        rows: Levels of a feature.
        deep: Whether there is a depthwise layer.
    """

    def __init__(self, channels: int, rows: int, deep: bool) -> None:
        super().__init__()
        self.channels, self.rows, self.deep = channels, rows, deep
        spread = 8.0 if rows == 64 else 1.0
        self.pointwise = RowTables(
            channels, rows, channels, torch.randn(channels, channels) * spread
        )
        self.pointwise_scale = nn.Parameter(torch.ones(channels))
        if deep:
            self.depthwise = RowTables(
                _TAPS * channels, rows, 1, torch.randn(_TAPS * channels, 1) * spread
            )
            self.depthwise_scale = nn.Parameter(torch.ones(channels))

    def forward(self, f: Tensor, levels: Levels) -> Tensor:
        """Features behind it, [B, H, W, C]."""
        if self.deep:
            tables, slopes = (t.reshape(_TAPS, self.channels, self.rows) for t in self.depthwise())
            f = depthwise(f, tables, slopes, levels, self.depthwise_scale)
        tables, slopes = self.pointwise()
        return pointwise(f, tables, slopes, levels, self.pointwise_scale)


class BranchModule(nn.Module):
    """One branch.

    Args:
        channels: Features of a pixel.
        stages: How many.
        upscale: Pixels of the result on each side.
        upper: The upper six bits, else the lower two.
    """

    def __init__(self, channels: int, stages: int, upscale: int, upper: bool) -> None:
        super().__init__()
        rows, low = (64, -32) if upper else (4, 0)
        self.upper, self.upscale, self.channels = upper, upscale, channels
        self.features = Levels(low, rows, low, low + rows - 1)
        weights = torch.randn(_TAPS, channels)
        self.stem = RowTables(_TAPS, rows, channels, (weights - weights.mean(0)) * rows / 2)
        self.stem_scale = nn.Parameter(torch.ones(channels))
        # Only the first stage has no depthwise layer.
        self.stages = nn.ModuleList(
            BranchStage(channels, rows, deep=number > 0) for number in range(stages)
        )
        self.up = RowTables(channels, rows, upscale**2, torch.randn(channels, upscale**2) * 2.0)

    def forward(self, x: Tensor) -> Tensor:
        """Sub-pixels [B, H, W, upscale^2] of bytes [B, H, W], in [-128, 127]."""
        height, width = x.shape[1:]
        i, j = (_reflected(size) for size in (height, width))
        # x - 128 has the lower bits of x; its upper ones are those of x, less 32.
        index = (x >> 2).float() - 32.0 if self.upper else (x & 3).float()
        padded = index[:, i][:, :, j]
        views = [padded[:, r : r + height, c : c + width] for r in range(3) for c in range(3)]
        tables, slopes = self.stem()
        f = torch.stack(views, 3)
        f = pointwise(f, tables, slopes, self.features, self.stem_scale, own=True)
        for stage in self.stages:
            f = stage(f, self.features)
        low, rows = self.features.low, self.features.rows
        tables, slopes = self.up()
        return pointwise(f, tables, slopes, Levels(low, rows, -128, 127))

    @torch.no_grad()
    def network(self) -> Branch:
        """The integers of the branch."""
        stages = []
        for stage in self.stages:
            assert isinstance(stage, BranchStage)
            deep: dict[str, NDArray[np.int8]] = {}
            if stage.deep:
                tables = stage.depthwise()[0].reshape(_TAPS, self.channels, -1).transpose(0, 1)
                deep["depthwise"] = _int8(tables)
                deep["depthwise_scale"] = self._scale(stage.depthwise_scale)
            stages.append(
                Stage(_int8(stage.pointwise()[0]), self._scale(stage.pointwise_scale), **deep)
            )
        return Branch(
            index_shift=2 if self.upper else 0,
            low=self.features.low,
            stem=_int8(self.stem()[0]),
            stages=tuple(stages),
            up=_int8(self.up()[0]),
            stem_scale=self._scale(self.stem_scale),
        )

    def _scale(self, alpha: Tensor) -> NDArray[np.int8]:
        """A scale as a table: clamp(round(alpha * f)) for all f of the range."""
        levels = self.features
        values = torch.arange(levels.low, levels.low + levels.rows, dtype=torch.float32)
        scaled = (alpha[:, None] * values).round().clamp(levels.least, levels.most)
        return _int8(scaled)


class ReferenceModule(nn.Module):
    """The whole network.

    Args:
        channels: Features of a pixel; at least ``upscale^2``.
        stages: Pointwise stages of a branch: 1 for S, 7 for F.
        upscale: Pixels of the result on each side.
    """

    def __init__(self, channels: int, stages: int, upscale: int) -> None:
        super().__init__()
        self.upscale = upscale
        self.branches = nn.ModuleList(
            BranchModule(channels, stages, upscale, upper) for upper in (True, False)
        )

    def planes(self, x: Tensor) -> Tensor:
        """Result before the last clamp: float32 [B, upscale^2, H, W] of bytes [B, H, W]."""
        total: Tensor | None = None
        side = self.upscale
        cells = torch.arange(side**2).reshape(side, side)
        batches: dict[tuple[int, ...], list[int]] = {}
        for turns in range(4):
            turned = tuple(torch.rot90(x, turns, (1, 2)).shape)
            batches.setdefault(turned, []).append(turns)
        for turns_here in batches.values():
            # Turns of the same shape go through the layers as one batch.
            stack = torch.cat([torch.rot90(x, turns, (1, 2)) for turns in turns_here])
            made = [branch(stack) for branch in self.branches]
            result = _clamped(made[0] + made[1])
            for turns, part in zip(turns_here, torch.split(result, len(x)), strict=True):
                # A cell's sub-pixels turn with it.
                order = torch.rot90(cells, -turns).reshape(-1)
                back = torch.rot90(part, -turns, (1, 2))[..., order]
                total = back if total is None else total + back
        assert total is not None
        return total.permute(0, 3, 1, 2) + 128.0

    def forward(self, x: Tensor) -> Tensor:
        """As :meth:`planes`."""
        return self.planes(x)

    def image(self, x: Tensor) -> Tensor:
        """Result as pixels, uint8 [B, H', W']."""
        out = nn.functional.pixel_shuffle(self.planes(x), self.upscale)[:, 0]
        return out.clamp(0.0, 255.0).to(torch.uint8)

    @torch.no_grad()
    def project(self) -> None:
        """Keeps scales in their range, after a step."""
        for name, parameter in self.named_parameters():
            if name.endswith("_scale"):
                parameter.clamp_(_LEAST_SCALE, _MOST_SCALE)

    def parameter_groups(
        self, rate: float, taps: float = 1.0, stem: float = 1.0
    ) -> list[dict[str, Any]]:
        """Groups for an optimizer; there are no taps.

        Args:
            rate: Learning rate of the tables, in steps of their entries.
            taps: Not used.
            stem: Multiple of it for the first layer.
        """
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            factor = _SCALE_RATE if name.endswith("_scale") else stem if ".stem." in name else 1.0
            groups.setdefault(factor, []).append(parameter)
        return [{"params": found, "lr": rate * factor} for factor, found in groups.items()]

    def network(self) -> ReferenceNetwork:
        """The integer network."""
        branches = [branch.network() for branch in self.branches]
        return ReferenceNetwork(tuple(branches), self.upscale)


class _Clamp(torch.autograd.Function):
    """clamp to int8; the gradient passes unless it pushes a clamped value further out."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        ctx.save_for_backward(value)
        return value.clamp(-128.0, 127.0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (value,) = ctx.saved_tensors
        stopped = ((value < -128.0) & (gradient > 0)) | ((value > 127.0) & (gradient < 0))
        return gradient.masked_fill(stopped, 0.0)


def _clamped(value: Tensor) -> Tensor:
    result: Tensor = _Clamp.apply(value)
    return result


def _reflected(size: int) -> Tensor:
    """Rows of an image with two more in front, which mirror those behind the first."""
    return torch.from_numpy(np.pad(np.arange(size), (_REACH, 0), mode="reflect"))


def _int8(values: Tensor) -> NDArray[np.int8]:
    return np.ascontiguousarray(values.detach().numpy().astype(np.int8))
