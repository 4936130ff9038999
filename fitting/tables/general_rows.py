"""Differentiable table layers of TinyLUT's structure: any number of rows, means, residuals.

Two operations on channels-last maps, float32 that hold integers:

    pointwise  m[p,o] = clamp(rne(sum_c T[c, f[p,c] - low, o] / C) + f[p,o])
    depthwise  m[p,c] = clamp(rne(sum_t T[t, c, f[p+t,c] - low] / 9) + f[p,c])
    both       y = clamp(rne(alpha * m)), where there are scales

They run in C (``general_rows.c``), compiled at first use, or, without a compiler, in PyTorch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from intaglio.fitting.tables.general_rows_library import library as compiled
from intaglio.fitting.tables.general_rows_torch import (
    Levels,
    depthwise_backward,
    depthwise_forward,
    pointwise_backward,
    pointwise_forward,
)

_STEP = 8  # outputs are padded to a multiple of it
_MOST_OUTPUTS = 32


def pointwise(
    f: Tensor,
    tables: Tensor,
    slopes: Tensor,
    levels: Levels,
    alpha: Tensor | None = None,
    own: bool = False,
) -> Tensor:
    """A layer over the channels of each position.

    Args:
        f: float32 [..., C], integers of the branch's range.
        tables: float32 [C, rows, O], integers.
        slopes: float32 [C, rows, O]: change of an entry for a step of the index.
        levels: Ranges.
        alpha: float32 [O], scales behind it, or None.
        own: The last feature of the position is added to all results, instead of each its own, and
            ``f`` takes no gradient: the stem.

    Returns:
        float32 [..., O], integers.
    """
    result: Tensor = _Pointwise.apply(f, tables, slopes, levels, alpha, own)
    return result


def depthwise(
    f: Tensor, tables: Tensor, slopes: Tensor, levels: Levels, alpha: Tensor | None = None
) -> Tensor:
    """A layer over the window of each position, which reaches two up and left.

    Args:
        f: float32 [B, H, W, C].
        tables: float32 [9, C, rows], integers.
        slopes: As tables.
        levels: Ranges.
        alpha: float32 [C], or None.

    Returns:
        float32 [B, H, W, C].
    """
    result: Tensor = _Depthwise.apply(f, tables, slopes, levels, alpha)
    return result


class _Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        f: Tensor,
        tables: Tensor,
        slopes: Tensor,
        levels: Levels,
        alpha: Tensor | None,
        own: bool,
    ) -> Tensor:
        channels, rows, outputs = tables.shape
        wide = -(-outputs // _STEP) * _STEP
        if wide != outputs:
            pad = (0, wide - outputs)
            tables, slopes = (torch.nn.functional.pad(t, pad) for t in (tables, slopes))
            alpha = None if alpha is None else torch.nn.functional.pad(alpha, pad, value=1.0)
        f, tables, slopes = f.contiguous(), tables.contiguous(), slopes.contiguous()
        flat = f.reshape(-1, channels)
        mean = torch.empty(len(flat), wide)
        y = torch.empty(len(flat), wide)
        rest = -1 if own else min(outputs, channels)
        library = compiled() if wide <= _MOST_OUTPUTS else None
        if library is None:
            pointwise_forward(flat, tables, levels, alpha, rest, mean, y)
        else:
            library.intaglio_rows_forward(
                *_sizes(flat, channels, rest, levels, rows, wide),
                tables.data_ptr(),
                channels,
                levels.least,
                levels.most,
                _address(alpha),
                mean.data_ptr(),
                y.data_ptr(),
            )
        ctx.save_for_backward(flat, slopes, mean, alpha)
        ctx.extra = (f.shape, levels, rest, outputs, library)
        return y[:, :outputs].reshape(*f.shape[:-1], outputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        flat, slopes, mean, alpha = ctx.saved_tensors
        shape, levels, rest, outputs, library = ctx.extra
        channels, rows, wide = slopes.shape
        gradient = gradient.reshape(-1, outputs)
        if wide != outputs:
            gradient = torch.nn.functional.pad(gradient, (0, wide - outputs))
        gradient = gradient.contiguous()
        for_f = torch.empty_like(flat) if rest >= 0 else None
        for_tables = torch.empty_like(slopes)
        for_alpha = None if alpha is None else torch.empty_like(alpha)
        if library is None:
            pointwise_backward(
                flat, slopes, levels, alpha, rest, mean, gradient, for_f, for_tables, for_alpha
            )
        else:
            library.intaglio_rows_backward(
                *_sizes(flat, channels, rest, levels, rows, wide),
                slopes.data_ptr(),
                channels,
                levels.least,
                levels.most,
                _address(alpha),
                mean.data_ptr(),
                gradient.data_ptr(),
                _address(for_f),
                for_tables.data_ptr(),
                _address(for_alpha),
            )
        return (
            None if for_f is None else for_f.reshape(shape),
            for_tables[..., :outputs],
            None,
            None,
            None if for_alpha is None else for_alpha[:outputs],
            None,
        )


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, f: Tensor, tables: Tensor, slopes: Tensor, levels: Levels, alpha: Tensor | None
    ) -> Tensor:
        f, tables, slopes = f.contiguous(), tables.contiguous(), slopes.contiguous()
        mean, y = torch.empty_like(f), torch.empty_like(f)
        library = compiled()
        if library is None:
            depthwise_forward(f, tables, levels, alpha, mean, y)
        elif library.intaglio_depthwise_forward(
            f.data_ptr(),
            *f.shape,
            levels.low,
            levels.rows,
            tables.data_ptr(),
            levels.least,
            levels.most,
            _address(alpha),
            mean.data_ptr(),
            y.data_ptr(),
        ):
            raise MemoryError("no memory for a table layer")
        ctx.save_for_backward(f, slopes, mean, alpha)
        ctx.extra = (levels, library)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        f, slopes, mean, alpha = ctx.saved_tensors
        levels, library = ctx.extra
        gradient = gradient.contiguous()
        for_f, for_tables = torch.empty_like(f), torch.empty_like(slopes)
        for_alpha = None if alpha is None else torch.empty_like(alpha)
        if library is None:
            depthwise_backward(
                f, slopes, levels, alpha, mean, gradient, for_f, for_tables, for_alpha
            )
        elif library.intaglio_depthwise_backward(
            f.data_ptr(),
            *f.shape,
            levels.low,
            levels.rows,
            slopes.data_ptr(),
            levels.least,
            levels.most,
            _address(alpha),
            mean.data_ptr(),
            gradient.data_ptr(),
            for_f.data_ptr(),
            for_tables.data_ptr(),
            _address(for_alpha),
        ):
            raise MemoryError("no memory for the gradients of a table layer")
        return for_f, for_tables, None, None, for_alpha


def _sizes(
    flat: Tensor, channels: int, rest: int, levels: Levels, rows: int, wide: int
) -> tuple[Any, ...]:
    return (flat.data_ptr(), len(flat), channels, rest, levels.low, rows, wide)


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
