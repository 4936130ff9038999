"""The centred table network as a PyTorch module: rounded as the integer network, with gradients.

A stem convolution makes C channels of features and r*r linear skips; each mixing reads every
channel through 3x3 taps and adds sums of table entries to the features; the head adds sums of
table entries, the skips and the pixel itself. All values that the network computes are integers
held in float32 (below 2^24), so the module and the integer network agree in every pixel.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from intaglio.errors import RecipeError
from intaglio.fitting.tables.ends import finish, stem
from intaglio.fitting.tables.operators import mixing
from intaglio.fitting.tables.table_parameters import TableParameters, round_integers

TapKind = Literal["learned", "shift"]
INDEX_SHIFT = 4  # features have 8 bits, indices 4
BIAS_LIMIT = 2.0**20  # with any stem the sums stay below 2^24
MAX_TAP_SUM = 250.0  # rounding nine taps adds at most 4.5: stays within 255


def shift_pattern(channels: int, weight: float) -> Tensor:
    """Taps that read one place each: the centre (up to half of the channels) or a neighbour.

    Args:
        channels: C, a multiple of 8.
        weight: The value of the single tap.

    Returns:
        Float32 [C, 3, 3].
    """
    neighbours = [1, 3, 5, 7, 0, 2, 6, 8]  # the four nearest first
    centres = channels // 2 // 8 * 8 if channels > 8 else 4
    taps = torch.zeros(channels, 9)
    for c in range(channels):
        taps[c, 4 if c < centres else neighbours[(c - centres) % 8]] = weight
    return taps.reshape(channels, 3, 3)


class CentredModule(nn.Module):
    """The network in training form.

    Args:
        channels: C, a multiple of 8 in 8..64.
        table_of: For each mixing the number of its table; equal numbers share a table.
        upscale: r, outputs a side of each cell.
        stride: s, pixels a side of each cell.
        stem_kernel: Side of the stem's kernel.
        taps: ``learned``, or ``shift`` for the fixed pattern of single taps.
        stem_shift: Shift of the stem's sums.
        tap_shift: Shift of the index sums; a single tap of 2^(tap_shift - 4) reads the top four
            bits of a feature.
        shift: Shift of the mixings' sums: an entry is 2^-shift of a feature step.
        head_shift: Left shift of the head's sums before the skips are added.
        out_shift: Shift to grey levels.
        spread: Standard deviation of the ends of the mixings' first tables.
        stem_gain: Size of the stem's first weights.
        tap_noise: Standard deviation of the noise on the first learned taps.
    """

    def __init__(
        self,
        channels: int = 24,
        table_of: tuple[int, ...] = (0, 1, 2, 3),
        upscale: int = 4,
        stride: int = 1,
        stem_kernel: int = 3,
        *,
        taps: TapKind = "learned",
        stem_shift: int = 6,
        tap_shift: int = 10,
        shift: int = 1,
        head_shift: int = 5,
        out_shift: int = 7,
        spread: float = 4.0,
        stem_gain: float = 16.0,
        tap_noise: float = 2.0,
    ) -> None:
        super().__init__()
        if channels % 8 or not 8 <= channels <= 64:
            raise RecipeError(
                f"a table network cannot have {channels} channels", remedy="8, 16, 24, ... 64"
            )
        if stem_kernel < stride or (stem_kernel - stride) % 2:
            raise RecipeError(
                f"a stem of {stem_kernel} does not fit a stride of {stride}",
                remedy="the kernel is the stride plus an even number",
            )
        if sorted(set(table_of)) != list(range(len(set(table_of)))):
            raise RecipeError(
                f"the tables of the mixings {table_of} are not numbered 0, 1, ...",
                remedy="number the tables without a gap",
            )
        self.channels, self.table_of = channels, tuple(table_of)
        self.upscale, self.stride, self.stem_kernel = upscale, stride, stem_kernel
        self.stem_shift, self.tap_shift, self.shift = stem_shift, tap_shift, shift
        self.head_shift, self.out_shift, self.tap_kind = head_shift, out_shift, taps
        cell, area = upscale * upscale, stem_kernel * stem_kernel
        weights = torch.randn(channels, area)
        weights -= weights.mean(1, keepdim=True)
        middle = [
            i * stem_kernel + j
            for i in range((stem_kernel - 1) // 2, stem_kernel // 2 + 1)
            for j in range((stem_kernel - 1) // 2, stem_kernel // 2 + 1)
        ]
        weights[:, middle] += torch.rand(channels, 1) * 2.0 / len(middle)
        first = torch.cat([weights * stem_gain, torch.zeros(cell, area)])
        self.stem_weights = nn.Parameter(first.reshape(-1, stem_kernel, stem_kernel))
        self.stem_bias = nn.Parameter(torch.zeros(channels + cell))
        self.tables = nn.ModuleList(
            TableParameters(channels, channels, spread) for _ in range(len(set(table_of)))
        )
        self.head_table = TableParameters(channels, cell, 2.0)
        pattern = shift_pattern(channels, 2.0 ** (tap_shift - INDEX_SHIFT))
        start = pattern.expand(len(table_of) + 1, -1, -1, -1).clone()
        if taps == "learned":
            self.taps: Tensor = nn.Parameter(start + torch.randn_like(start) * tap_noise)
            self.project()
        else:
            self.register_buffer("taps", start)

    @torch.no_grad()
    def project(self) -> None:
        """Bring the taps back to a sum of sizes that the integer network allows (after a step)."""
        if self.tap_kind == "learned":
            sizes = self.taps.abs().sum((2, 3), keepdim=True)
            self.taps.mul_((MAX_TAP_SUM / sizes).clamp_max(1.0))
            self.taps.clamp_(-127.0, 127.0)

    def _centres(self, x: Tensor) -> Tensor:
        """The pixel that each output starts from: [B, r*r, h, w]."""
        if self.stride == 1:
            return x[:, None].float().expand(-1, self.upscale**2, -1, -1)
        height, width = x.shape[1:]
        r, s = self.upscale, self.stride
        rows, columns = -(-height // s), -(-width // s)
        planes = []
        for dy in range(r):
            for dx in range(r):
                i = (torch.arange(rows) * s + dy * s // r).clamp_max(height - 1)
                j = (torch.arange(columns) * s + dx * s // r).clamp_max(width - 1)
                planes.append(x[:, i][:, :, j])
        return torch.stack(planes, 1).float()

    def forward(self, x: Tensor) -> Tensor:
        """Run the network.

        Args:
            x: Pixels, uint8 [B, H, W].

        Returns:
            Float32 [B, h, w, r*r], integers, not yet clamped to [0, 255]; h = ceil(H / s).
        """
        return self.planes(x).permute(0, 2, 3, 1)

    def planes(self, x: Tensor, margin: int = 0) -> Tensor:
        """As :meth:`forward`, but [B, r*r, h, w].

        Args:
            x: Pixels, uint8 [B, H, W].
            margin: Cells to leave out at each side of the result; if not 0, H and W are
                multiples of the stride.
        """
        weights = round_integers(self.stem_weights)
        bias = round_integers(self.stem_bias, BIAS_LIMIT)
        f, skip = stem(x, weights, bias, self.stride, self.channels, self.stem_shift)
        taps = round_integers(self.taps).unbind()
        tables = [table() for table in self.tables]
        for number, table in enumerate(self.table_of):
            entries, slopes = tables[table]
            f = mixing(f, taps[number], entries, slopes, self.tap_shift, self.shift)
        entries, slopes = self.head_table()
        u = mixing(f, taps[-1], entries, slopes, self.tap_shift, None)
        if margin:
            cells = slice(margin, -margin)
            pixels = slice(margin * self.stride, -margin * self.stride)
            u, skip, x = u[:, :, cells, cells], skip[:, :, cells, cells], x[:, pixels, pixels]
        return finish(u, skip, self._centres(x), self.head_shift, self.out_shift)

    def image(self, x: Tensor) -> Tensor:
        """The final pixels: uint8 [B, H*r/s, W*r/s]."""
        out = functional.pixel_shuffle(self.planes(x), self.upscale)[:, 0]
        height = x.shape[1] * self.upscale // self.stride
        width = x.shape[2] * self.upscale // self.stride
        return out[:, :height, :width].clamp(0.0, 255.0).to(torch.uint8)

    def parameter_groups(
        self, rate: float, taps: float = 1.0, stem: float = 1.0
    ) -> list[dict[str, Any]]:
        """Groups for an optimiser; all rates are in integer steps of the values.

        Args:
            rate: Learning rate of the tables.
            taps: Multiple of it for the taps.
            stem: Multiple of it for the stem.
        """
        tables = [*self.tables.parameters(), *self.head_table.parameters()]
        groups: list[dict[str, Any]] = [{"params": tables, "lr": rate}]
        groups.append({"params": [self.stem_weights, self.stem_bias], "lr": rate * stem})
        if self.tap_kind == "learned":
            groups.append({"params": [self.taps], "lr": rate * taps})
        return groups

    @torch.no_grad()
    def export(self) -> dict[str, NDArray[Any] | int | tuple[int, ...]]:
        """The integer network: arrays and numbers by name."""
        taps = round_integers(self.taps).numpy().astype(np.int8)
        tables = [table()[0].numpy().astype(np.int8) for table in self.tables]
        shape = (0, self.channels, 16, self.channels)
        return {
            "stem_weights": round_integers(self.stem_weights).numpy().astype(np.int8),
            "stem_bias": round_integers(self.stem_bias, BIAS_LIMIT).numpy().astype(np.int32),
            "taps": taps[:-1],
            "tables": np.stack(tables) if tables else np.zeros(shape, np.int8),
            "table_of": self.table_of,
            "head_taps": taps[-1],
            "head_tables": self.head_table()[0].numpy().astype(np.int8),
            "channels": self.channels,
            "upscale": self.upscale,
            "stride": self.stride,
            "stem_shift": self.stem_shift,
            "tap_shift": self.tap_shift,
            "shift": self.shift,
            "head_shift": self.head_shift,
            "out_shift": self.out_shift,
        }
