"""Differentiable first and last step of a table network: the stem and the output pixels.

The stem is an integer convolution of (x - 128) with edges replicated. Its first C sums become
features, f = clamp(half_up(sum, shift), -128, 127); the others are skips to the output, where

    out = centre + half_up(u * 2^head_shift + skip, out_shift)

half_up(v, k) = (v + 2^(k-1)) >> k. Gradients pass straight through the roundings. ``kernel.c``
does the work; the ``reference_*`` functions state the same in PyTorch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from intaglio.fitting.tables.kernel import call, kernel
from intaglio.fitting.tables.operators import round_clamp


def cut_patches(x: Tensor, side: int, stride: int) -> Tensor:
    """Windows of (pixel - 128) under the stem.

    Args:
        x: Pixels, uint8 [B, H, W].
        side: Side k of the stem's kernel.
        stride: Pixels a side of a cell; cell (i, j) looks from (s*i - p, s*j - p), p = (k-s)//2.

    Returns:
        Float32 [B, k*k, ceil(H/s), ceil(W/s)].
    """
    height, width = x.shape[1:]
    rows, columns = -(-height // stride), -(-width // stride)
    before = (side - stride) // 2
    i = torch.arange((rows - 1) * stride + side) - before
    j = torch.arange((columns - 1) * stride + side) - before
    wide = x[:, i.clamp(0, height - 1)][:, :, j.clamp(0, width - 1)].float() - 128.0
    planes = [
        wide[:, a : a + stride * rows : stride, b : b + stride * columns : stride]
        for a in range(side)
        for b in range(side)
    ]
    return torch.stack(planes, 1)


def reference_stem(
    x: Tensor, weights: Tensor, bias: Tensor, stride: int, channels: int, shift: int
) -> tuple[Tensor, Tensor]:
    """:func:`stem` in PyTorch alone."""
    outputs, side = weights.shape[:2]
    patches = cut_patches(x, side, stride)
    flat = patches.reshape(x.shape[0], side * side, -1)
    sums = torch.matmul(weights.reshape(outputs, -1), flat) + bias[:, None]
    sums = sums.reshape(x.shape[0], outputs, *patches.shape[2:])
    return round_clamp(sums[:, :channels], shift, -128.0, 127.0), sums[:, channels:]


class _Stem(torch.autograd.Function):
    """:func:`stem` by the C kernel."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weights: Tensor,
        bias: Tensor,
        stride: int,
        channels: int,
        shift: int,
    ) -> tuple[Tensor, Tensor]:
        library = kernel()
        assert library is not None  # stem() looked
        x, weights, bias = x.contiguous(), weights.contiguous(), bias.contiguous()
        batch, height, width = x.shape
        outputs, side = weights.shape[:2]
        cells = -(-height // stride), -(-width // stride)
        f = torch.empty((batch, channels, *cells))
        skip = torch.empty((batch, outputs - channels, *cells))
        sizes = (batch, height, width, side, stride, channels, outputs, shift)
        call(library.intaglio_stem_forward, "the stem", (x, weights, bias), sizes, (f, skip))
        ctx.save_for_backward(x, f)
        ctx.sizes = sizes
        return f, skip

    @staticmethod
    def backward(
        ctx: Any, for_f: Tensor, for_skip: Tensor
    ) -> tuple[None, Tensor, Tensor, None, None, None]:
        library = kernel()
        assert library is not None
        x, f = ctx.saved_tensors
        for_f, for_skip = for_f.contiguous(), for_skip.contiguous()
        side, outputs = ctx.sizes[3], ctx.sizes[6]
        for_weights, for_bias = torch.empty((outputs, side, side)), torch.empty(outputs)
        call(
            library.intaglio_stem_backward,
            "the gradients of the stem",
            (x, f, for_f, for_skip),
            ctx.sizes,
            (for_weights, for_bias),
        )
        return None, for_weights, for_bias, None, None, None


def stem(
    x: Tensor, weights: Tensor, bias: Tensor, stride: int, channels: int, shift: int
) -> tuple[Tensor, Tensor]:
    """The first step (see the module's text).

    Args:
        x: Pixels, uint8 [B, H, W].
        weights: Float32 [C + S, k, k], integers in [-127, 127].
        bias: Float32 [C + S], integers; every sum stays below 2^24.
        stride: Pixels a side of a cell.
        channels: C, sums that become features.
        shift: Shift of those sums.

    Returns:
        Features float32 [B, C, h, w] and skips float32 [B, S, h, w], h = ceil(H / stride).
    """
    if kernel() is None:
        return reference_stem(x, weights, bias, stride, channels, shift)
    result: tuple[Tensor, Tensor] = _Stem.apply(x, weights, bias, stride, channels, shift)
    return result


class _Finish(torch.autograd.Function):
    """:func:`finish` by the C kernel, or by PyTorch."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, skip: Tensor, centre: Tensor, head_shift: int, out_shift: int
    ) -> Tensor:
        ctx.shifts = (head_shift, out_shift)
        library = kernel()
        if library is None:
            change = (u * 2.0**head_shift + skip) * 2.0**-out_shift
            return centre + torch.floor(change + 0.5)
        u, skip, centre = u.contiguous(), skip.contiguous(), centre.contiguous()
        out = torch.empty_like(u)
        library.intaglio_finish(
            u.data_ptr(),
            skip.data_ptr(),
            centre.data_ptr(),
            u.numel(),
            head_shift,
            out_shift,
            out.data_ptr(),
        )
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        head_shift, out_shift = ctx.shifts
        for_u = gradient * 2.0 ** (head_shift - out_shift)
        return for_u, gradient * 2.0**-out_shift, None, None, None


def finish(u: Tensor, skip: Tensor, centre: Tensor, head_shift: int, out_shift: int) -> Tensor:
    """The last step: centre + half_up(u * 2^head_shift + skip, out_shift).

    Args:
        u: Sums of the head, float32 [B, r*r, h, w], integers.
        skip: Skips of the stem, as ``u``.
        centre: The pixel that each output starts from, as ``u`` (no gradient).
        head_shift: Left shift of ``u``.
        out_shift: Shift to grey levels.

    Returns:
        As ``u``; not clamped to [0, 255].
    """
    result: Tensor = _Finish.apply(u, skip, centre, head_shift, out_shift)
    return result
