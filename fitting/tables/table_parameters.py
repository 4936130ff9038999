"""Tables as parameters: T = round(clamp(B theta)), B a fixed basis of hat functions.

B holds the piecewise linear interpolations from 2, 3, 5, 9 and 16 knots over the 16 rows, side
by side. Every table can be reached (the last block is the identity); the coarse blocks make
smooth changes cheap, so that rows which are seldom read are carried by their neighbours. It is
only a preconditioner of the descent: the network has the rounded tables and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from intaglio.fitting.tables.kernel import kernel

ROWS = 16
KNOTS = (2, 3, 5, 9, 16)
LIMIT = 127.0


def hat_basis(rows: int = ROWS, knots: Sequence[int] = KNOTS) -> Tensor:
    """Hat functions of several widths over the rows.

    Args:
        rows: Rows of a table.
        knots: Knots of each block, at least 2 and at most ``rows``.

    Returns:
        Float32 [rows, sum(knots)]; every block sums to one in every row.
    """
    blocks = []
    for count in knots:
        at = torch.linspace(0.0, count - 1.0, rows)
        blocks.append((1.0 - (at[:, None] - torch.arange(count)[None]).abs()).clamp_min(0.0))
    return torch.cat(blocks, 1)


class _RoundClamp(torch.autograd.Function):
    """round(clamp(v)); the gradient passes unless it pushes a clamped entry further out."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, limit: float) -> Tensor:
        ctx.save_for_backward(value)
        ctx.limit = limit
        return value.clamp(-limit, limit).round()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (value,) = ctx.saved_tensors
        limit = ctx.limit
        blocked = ((value < -limit) & (gradient > 0)) | ((value > limit) & (gradient < 0))
        return gradient.masked_fill(blocked, 0.0), None


def round_integers(value: Tensor, limit: float = LIMIT) -> Tensor:
    """Round to integers in [-limit, limit], straight through."""
    result: Tensor = _RoundClamp.apply(value, limit)
    return result


def central_slopes(tables: Tensor) -> Tensor:
    """Slope of each row: central differences along axis 1, one-sided at both ends."""
    slopes = torch.empty_like(tables)
    slopes[:, 1:-1] = (tables[:, 2:] - tables[:, :-2]) * 0.5
    slopes[:, 0] = tables[:, 1] - tables[:, 0]
    slopes[:, -1] = tables[:, -1] - tables[:, -2]
    return slopes


class _Expand(torch.autograd.Function):
    """Rounded tables and slopes of theta by the C kernel."""

    @staticmethod
    def forward(ctx: Any, theta: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
        library = kernel()
        assert library is not None  # expand_tables() looked
        theta = theta.contiguous()
        channels, knots, outputs = theta.shape
        raw = torch.empty((channels, ROWS, outputs))
        tables, slopes = torch.empty_like(raw), torch.empty_like(raw)
        sizes = (channels, knots, outputs, LIMIT)
        library.intaglio_tables_forward(
            basis.data_ptr(),
            theta.data_ptr(),
            *sizes,
            raw.data_ptr(),
            tables.data_ptr(),
            slopes.data_ptr(),
        )
        ctx.save_for_backward(raw, basis)
        ctx.sizes = sizes
        ctx.mark_non_differentiable(slopes)
        return tables, slopes

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, None]:
        library = kernel()
        assert library is not None
        raw, basis = ctx.saved_tensors
        gradient = gradient.contiguous()
        channels, knots, outputs, _limit = ctx.sizes
        for_theta = torch.empty((channels, knots, outputs))
        library.intaglio_tables_backward(
            basis.data_ptr(),
            raw.data_ptr(),
            gradient.data_ptr(),
            *ctx.sizes,
            for_theta.data_ptr(),
        )
        return for_theta, None


def reference_expand(theta: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`expand_tables` in PyTorch alone."""
    raw = torch.matmul(basis, theta)
    with torch.no_grad():
        slopes = central_slopes(raw.clamp(-LIMIT, LIMIT))
    return round_integers(raw), slopes


def expand_tables(theta: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Tables of their parameters: T = round(clamp(basis theta)) and the slopes before rounding.

    Args:
        theta: Parameters, float32 [C, K, O].
        basis: Float32 [16, K].

    Returns:
        Rounded tables [C, 16, O], and slopes [C, 16, O] that carry no gradient.
    """
    if kernel() is None:
        return reference_expand(theta, basis)
    result: tuple[Tensor, Tensor] = _Expand.apply(theta, basis)
    return result


class TableParameters(nn.Module):
    """Tables [C, 16, O] of one layer, trained through the hat basis.

    Args:
        channels: Channels that read (C).
        outputs: Entries in a row (O).
        spread: The start is random straight lines; an end has this standard deviation.
    """

    basis: Tensor

    def __init__(self, channels: int, outputs: int, spread: float) -> None:
        super().__init__()
        basis = hat_basis()
        self.register_buffer("basis", basis, persistent=False)
        theta = torch.zeros(channels, basis.shape[1], outputs)
        ends = torch.randn(channels, outputs) * spread
        theta[:, 0], theta[:, 1] = -ends, ends  # the block of 2 knots: a line
        self.theta = nn.Parameter(theta)

    def forward(self) -> tuple[Tensor, Tensor]:
        """The rounded tables [C, 16, O] and the slopes of the unrounded ones (no gradient)."""
        return expand_tables(self.theta, self.basis)
