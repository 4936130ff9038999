"""Differentiable table layers for PyTorch on a CPU: one operation, :func:`mixing`.

Every channel reads a 4-bit index through its own 3x3 taps, every output sums one table entry of
each channel. With half_up(v, k) = (v + 2^(k-1)) >> k:

    index[c] = clamp(half_up(sum_k taps[c, k] * f[c, p + k], tap_shift), -8, 7)
    S[o]     = sum_c T[c, index[c] + 8, o]
    result   = clamp(f + half_up(S, shift), -128, 127) with a residual, else S

Gradients pass straight through roundings. A clamp passes a gradient if a step against it pulls
the value back into the range. The gradient of an index is the slope of the unrounded table.

The work is done by ``kernel.c``; :func:`reference_mixing` states the same in PyTorch and is used
where there is no C compiler.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from intaglio.fitting.tables.kernel import call, kernel

ROWS = 16
LOW, HIGH = -8, 7


class _Clamp(torch.autograd.Function):
    """clamp(floor(v * 2^-shift + 1/2), low, high), straight through; see :func:`round_clamp`."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, shift: int, low: float, high: float) -> Tensor:
        rounded = torch.floor(value * 2.0**-shift + 0.5)
        ctx.save_for_backward(rounded)
        ctx.settings = (shift, low, high)
        return rounded.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (rounded,) = ctx.saved_tensors
        shift, low, high = ctx.settings
        blocked = ((rounded <= low) & (gradient > 0)) | ((rounded >= high) & (gradient < 0))
        return gradient.masked_fill(blocked, 0.0) * 2.0**-shift, None, None, None


class _ClampIndex(torch.autograd.Function):
    """As :class:`_Clamp`, but only values outside the range block: both end rows have slopes."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, shift: int) -> Tensor:
        rounded = torch.floor(value * 2.0**-shift + 0.5)
        ctx.save_for_backward(rounded)
        ctx.shift = shift
        return rounded.clamp(LOW, HIGH)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (rounded,) = ctx.saved_tensors
        blocked = ((rounded < LOW) & (gradient > 0)) | ((rounded > HIGH) & (gradient < 0))
        return gradient.masked_fill(blocked, 0.0) * 2.0**-ctx.shift, None


class _Read(torch.autograd.Function):
    """S[b, o, p] = sum_c T[c, index + 8, o]; the gradient of an index uses the slopes."""

    @staticmethod
    def forward(ctx: Any, index: Tensor, tables: Tensor, slopes: Tensor) -> Tensor:
        rows = index.to(torch.int64) - LOW
        total = sum(tables[c][rows[:, c]] for c in range(tables.shape[0]))
        ctx.save_for_backward(rows, slopes)
        assert isinstance(total, Tensor)
        return total.permute(0, 3, 1, 2).contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        rows, slopes = ctx.saved_tensors
        outputs = slopes.shape[2]
        flat = gradient.permute(0, 2, 3, 1).reshape(-1, outputs)
        for_tables = torch.zeros_like(slopes)
        for_index = torch.empty(rows.shape, dtype=gradient.dtype)
        for c in range(slopes.shape[0]):
            row = rows[:, c]
            for_tables[c].index_add_(0, row.reshape(-1), flat)
            for_index[:, c] = (slopes[c][row.reshape(-1)] * flat).sum(1).reshape(row.shape)
        return for_index, for_tables, None


def round_clamp(value: Tensor, shift: int, low: float, high: float) -> Tensor:
    """clamp(half_up(value, shift), low, high) with straight-through gradients."""
    result: Tensor = _Clamp.apply(value, shift, low, high)
    return result


def reference_mixing(
    f: Tensor,
    taps: Tensor,
    tables: Tensor,
    slopes: Tensor,
    tap_shift: int,
    shift: int | None,
) -> Tensor:
    """:func:`mixing` in PyTorch alone: slow, but needs no compiler."""
    channels = f.shape[1]
    sums = functional.conv2d(f, taps[:, None], padding=1, groups=channels)
    index = _ClampIndex.apply(sums, tap_shift)
    total: Tensor = _Read.apply(index, tables, slopes)
    if shift is None:
        return total
    change = total * 2.0**-shift
    change = change + (torch.floor(change + 0.5) - change).detach()
    return round_clamp(f + change, 0, -128.0, 127.0)


class _Mixing(torch.autograd.Function):
    """:func:`mixing` by the C kernel."""

    @staticmethod
    def forward(
        ctx: Any,
        f: Tensor,
        taps: Tensor,
        tables: Tensor,
        slopes: Tensor,
        tap_shift: int,
        shift: int | None,
    ) -> Tensor:
        library = kernel()
        assert library is not None  # mixing() looked
        f, taps, tables = f.contiguous(), taps.contiguous(), tables.contiguous()
        slopes = slopes.contiguous()
        batch, channels, height, width = f.shape
        outputs = tables.shape[2]
        out = torch.empty((batch, outputs, height, width), dtype=torch.float32)
        pitch = library.intaglio_code_pitch(height, width)
        codes = torch.empty((batch, channels, pitch), dtype=torch.uint8)
        sizes = (batch, channels, height, width, outputs, tap_shift, shift or 0, shift is not None)
        call(
            library.intaglio_mixing_forward, "a table layer", (f, taps, tables), sizes, (out, codes)
        )
        ctx.save_for_backward(f, taps, slopes, codes, out)
        ctx.sizes = sizes
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        library = kernel()
        assert library is not None
        f, taps, slopes, codes, out = ctx.saved_tensors
        for_f, for_taps = torch.empty_like(f), torch.empty_like(taps)
        for_tables = torch.empty_like(slopes)
        call(
            library.intaglio_mixing_backward,
            "the gradients of a table layer",
            (f, taps, slopes, codes, out, gradient.contiguous()),
            ctx.sizes,
            (for_f, for_taps, for_tables),
        )
        return for_f, for_taps, for_tables, None, None, None


def mixing(
    f: Tensor,
    taps: Tensor,
    tables: Tensor,
    slopes: Tensor,
    tap_shift: int,
    shift: int | None,
) -> Tensor:
    """One table layer (see the module's text).

    Args:
        f: Features, float32 [B, C, H, W], integers in [-128, 127]; C a multiple of 8, <= 64.
        taps: Float32 [C, 3, 3], integers in [-127, 127] with a sum of sizes <= 255 per channel.
        tables: Float32 [C, 16, O], integers in [-127, 127]; O <= 64.
        slopes: Float32 [C, 16, O]: change of an entry per step of the index (no gradient).
        tap_shift: Shift of the index sum, 0..15.
        shift: Shift of the table sum; needs O = C. None: the sums themselves, no residual.

    Returns:
        Float32 [B, O, H, W], integers.
    """
    if kernel() is None:
        return reference_mixing(f, taps, tables, slopes, tap_shift, shift)
    result: Tensor = _Mixing.apply(f, taps, tables, slopes, tap_shift, shift)
    return result
