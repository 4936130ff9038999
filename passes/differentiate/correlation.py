"""The two sums behind every gradient of a convolution, as standard operators.

With ``y[o] = sum_i w[i] * x[s o + d i - p]`` (channels left out; ONNX operators Conv and
ConvTranspose):

* ``dx[j] = sum over s o + d i - p = j of w[i] * dy[o]`` is a ConvTranspose of dy by the same w.
* ``dw[i] = sum_o x[s o + d i - p] * dy[o]`` is again a Conv, of x by dy: the taps of dy stand s
  apart (dilation s), and stepping i moves by d (stride d). Batch and channels change places, as
  the sum now runs over the batch.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from intaglio.passes.differentiate.builder import Size, dimensions
from intaglio.passes.differentiate.context import Context
from intaglio.passes.differentiate.refusing import Undifferentiable
from intaglio.passes.differentiate.windows import Window, spatial


def spread(
    context: Context,
    gradient: ir.Value,
    weight: ir.Value,
    window: Window,
    group: int,
    target: ir.Value,
) -> ir.Value:
    """``dx`` in the spatial size of ``target``.

    A stride leaves up to ``s - 1`` elements at the end that no window reaches; their gradient is
    zero. ConvTranspose adds them as output_padding. Where the size is known only at run time,
    ``s - 1`` zeros are added always, and the result is cut.
    """
    sizes = spatial(target)
    shared: dict[str, Any] = {
        "group": group,
        "kernel_shape": list(window.kernel),
        "strides": list(window.strides),
        "dilations": list(window.dilations),
    }
    extra = [
        window.leftover(axis, size) if isinstance(size, int) else None if stride > 1 else 0
        for axis, (size, stride) in enumerate(zip(sizes, window.strides, strict=True))
    ]
    known = [number for number in extra if number is not None]
    if len(known) == len(extra):
        return context.op(
            "ConvTranspose", gradient, weight, pads=window.pads, output_padding=known, **shared
        )
    whole = context.op("ConvTranspose", gradient, weight, pads=[0] * (2 * len(sizes)), **shared)
    behind = [stride - 1 for stride in window.strides]
    axes = range(2, 2 + len(sizes))
    pads = context.integers([0] * len(sizes) + behind)
    padded = context.op("Pad", whole, pads, None, context.integers(axes))
    begins = context.integers(window.begins)
    ends = context.op("Add", begins, context.sizes([(target, axis) for axis in axes]))
    return context.op("Slice", padded, begins, ends, context.integers(axes))


def correlate(
    context: Context,
    data: ir.Value,
    signal: ir.Value,
    window: Window,
    group: int,
) -> ir.Value:
    """``dw`` as ``[channels of signal, channels of data / group, kernel]``.

    Args:
        context: Builder.
        data: What the window moves over, ``[N, group * c, ...]``.
        signal: What stands at the window's positions, ``[N, group * m, ...]``.
        window: The window.
        group: Number of groups. Batch and groups of ``data`` become ``[c, group * N, ...]``, so
            that group j of the new Conv sums over the batch of group j.
    """
    rank = len(dimensions(data))
    swap = [1, 0, *range(2, rank)]
    if group == 1 and _is_pointwise(window):
        return _product(context, data, signal, swap)
    moved = _swap_groups(context, data, group) if group > 1 else _swap(context, data, swap)
    found = context.op(
        "Conv",
        moved,
        _swap(context, signal, swap),
        group=group,
        pads=window.pads,
        strides=list(window.dilations),
        dilations=list(window.strides),
    )
    if not _exact(data, window):
        # Elements that no window reached would count as further taps.
        axes = range(2, rank)
        zeros = context.integers([0] * len(axes))
        found = context.op(
            "Slice", found, zeros, context.integers(window.kernel), context.integers(axes)
        )
    return _swap(context, found, swap)


def _is_pointwise(window: Window) -> bool:
    return {*window.kernel, *window.strides} == {1} and not any(window.pads)


def _product(context: Context, data: ir.Value, signal: ir.Value, swap: list[int]) -> ir.Value:
    """A kernel of one element: one matrix product over batch and space, which is faster."""
    flat = [context.op("Flatten", _swap(context, value, swap), axis=1) for value in (signal, data)]
    found = context.op("Gemm", *flat, transB=1)
    return context.op("Unsqueeze", found, context.integers(range(2, len(swap))))


def _exact(data: ir.Value, window: Window) -> bool:
    """Whether too few elements are left over at the end for one tap more."""
    return all(
        stride == 1 or (isinstance(size, int) and window.leftover(axis, size) < dilation)
        for axis, (size, stride, dilation) in enumerate(
            zip(spatial(data), window.strides, window.dilations, strict=True)
        )
    )


def _swap(context: Context, value: ir.Value, perm: list[int]) -> ir.Value:
    return context.op("Transpose", value, perm=perm)


def _swap_groups(context: Context, data: ir.Value, group: int) -> ir.Value:
    known = dimensions(data)
    if not isinstance(known[1], int):
        raise Undifferentiable("its number of channels is not known")
    each = known[1] // group
    rank = len(known)
    rest: list[Size] = [(data, axis) for axis in range(2, rank)]
    split = context.op("Reshape", data, context.sizes([0, group, each, *rest]))
    perm = [2, 1, 0, *range(3, rank + 1)]
    swapped = context.op("Transpose", split, perm=perm)
    return context.op("Reshape", swapped, context.sizes([each, -1, *rest]))
