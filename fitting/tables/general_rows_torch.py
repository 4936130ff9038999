"""The layers of :mod:`general_rows` in PyTorch, for machines without a compiler: slow, the same."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

TAPS, REACH = 9, 2


@dataclasses.dataclass(frozen=True)
class Levels:
    """Range of a branch's features, and what results are clamped to.

    Attributes:
        low: Smallest feature, read in row 0.
        rows: Levels of a feature.
        least: Smallest result.
        most: Largest result.
    """

    low: int
    rows: int
    least: int
    most: int


def _settled(m: Tensor, levels: Levels, alpha: Tensor | None, mean: Tensor, y: Tensor) -> None:
    mean.copy_(m.clamp(levels.least, levels.most))
    scaled = mean if alpha is None else (alpha * mean).round().clamp(levels.least, levels.most)
    y.copy_(scaled)


def _settled_back(
    gradient: Tensor, mean: Tensor, levels: Levels, alpha: Tensor | None, for_alpha: Tensor | None
) -> Tensor:
    g = gradient
    if alpha is not None and for_alpha is not None:
        scaled = alpha * mean
        stopped = ((scaled < levels.least) & (g > 0)) | ((scaled > levels.most) & (g < 0))
        g = g.masked_fill(stopped, 0.0)
        for_alpha.copy_((g * mean).reshape(-1, g.shape[-1]).sum(0))
        g = g * alpha
    stopped = ((mean <= levels.least) & (g > 0)) | ((mean >= levels.most) & (g < 0))
    return g.masked_fill(stopped, 0.0)


def pointwise_forward(
    f: Tensor,
    tables: Tensor,
    levels: Levels,
    alpha: Tensor | None,
    rest: int,
    mean: Tensor,
    y: Tensor,
) -> None:
    """Writes ``mean`` and ``y`` [positions, outputs]."""
    index = (f - levels.low).long()
    total = torch.zeros_like(mean)
    for c in range(f.shape[1]):
        total += tables[c][index[:, c]]
    m = (total / f.shape[1]).round()
    if rest < 0:
        m += f[:, -1:]
    else:
        m[:, :rest] += f[:, :rest]
        m[:, rest:] = 0
    _settled(m, levels, alpha, mean, y)


def pointwise_backward(
    f: Tensor,
    slopes: Tensor,
    levels: Levels,
    alpha: Tensor | None,
    rest: int,
    mean: Tensor,
    gradient: Tensor,
    for_f: Tensor | None,
    for_tables: Tensor,
    for_alpha: Tensor | None,
) -> None:
    """Writes the gradients of features, tables and scales."""
    index = (f - levels.low).long()
    g = _settled_back(gradient, mean, levels, alpha, for_alpha)
    each = g / f.shape[1]
    for_tables.zero_()
    for c in range(f.shape[1]):
        for_tables[c].index_add_(0, index[:, c], each)
        if for_f is not None:
            for_f[:, c] = (slopes[c][index[:, c]] * each).sum(1)
    if for_f is not None:
        for_f[:, :rest] += g[:, :rest]


def _windows(levels: Levels, f: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of the window's taps as [9, B, H, W, C], and the padded map's shape in it."""
    padded = torch.nn.functional.pad(f, (0, 0, REACH, 0, REACH, 0)) - levels.low
    _, height, width, _ = f.shape
    views = [padded[:, r : r + height, c : c + width] for r in range(3) for c in range(3)]
    return torch.stack(views).long(), padded


def depthwise_forward(
    f: Tensor, tables: Tensor, levels: Levels, alpha: Tensor | None, mean: Tensor, y: Tensor
) -> None:
    """Writes ``mean`` and ``y`` [B, H, W, C]."""
    index, _ = _windows(levels, f)
    every = torch.arange(f.shape[-1])
    total = torch.zeros_like(f)
    for tap in range(TAPS):
        total += tables[tap][every, index[tap]]
    _settled((total / TAPS).round() + f, levels, alpha, mean, y)


def depthwise_backward(
    f: Tensor,
    slopes: Tensor,
    levels: Levels,
    alpha: Tensor | None,
    mean: Tensor,
    gradient: Tensor,
    for_f: Tensor,
    for_tables: Tensor,
    for_alpha: Tensor | None,
) -> None:
    """Writes the gradients of features, tables and scales."""
    index, padded = _windows(levels, f)
    _, height, width, channels = f.shape
    every = torch.arange(channels)
    g = _settled_back(gradient, mean, levels, alpha, for_alpha)
    each = g / TAPS
    back = torch.zeros_like(padded)
    for_tables.zero_()
    for tap in range(TAPS):
        row, column = divmod(tap, 3)
        place = back[:, row : row + height, column : column + width]
        place += each * slopes[tap][every, index[tap]]
        flat = (every * levels.rows + index[tap]).reshape(-1)
        for_tables[tap].view(-1).index_add_(0, flat, each.reshape(-1))
    for_f.copy_(back[:, REACH:, REACH:] + g)
