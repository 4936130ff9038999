"""Parametric ReLU of bytes with a slope for all or one for each channel, 8 at a time."""

from __future__ import annotations

import numpy as np

from intaglio.targets.c.kernels.base import Array, Implementation
from intaglio.targets.c.kernels.neon.ends import block, limits
from intaglio.targets.c.kernels.neon.memory import SOME, STORE
from intaglio.targets.c.kernels.neon.tails import NARROW8, make_tail
from intaglio.targets.c.kernels.portable.values import centered_values
from intaglio.targets.c.network import PRelu


def prelu(layer: PRelu, variant: str, budget: int) -> Implementation | None:
    """A PRelu of bytes; None where the slopes vary over rows or columns, or without a tail."""
    del variant, budget
    source, slopes = layer.inputs
    if {source.dtype, slopes.dtype, layer.output.dtype} != {"int8"} or slopes.data is None:
        return None
    if not layer.output.size or source.shape != layer.output.shape:
        return None
    channels = slopes.shape[-1] if slopes.shape else 1
    if slopes.size != channels or (channels != 1 and channels != source.shape[-1]):
        return None
    values = centered_values(source)
    numbers = np.asarray(slopes.data, np.int64).reshape(-1)
    positive = make_tail(layer.positive, np.abs(values).max(keepdims=True))
    products = np.abs(values).max() * np.abs(numbers).max()
    negative = make_tail(layer.negative, np.array([products]))
    if positive is None or negative is None:
        return None
    ends = [(t.zero_point, max(t.minimum, -128), min(t.maximum, 127)) for t in (positive, negative)]
    if ends[0] != ends[1]:
        return None
    # One slope: the whole tensor is a row, and the eight slopes are the same everywhere.
    length = layer.output.size if channels == 1 else channels
    stored = np.resize(numbers, 8) if channels == 1 else np.pad(numbers, (0, -channels % 8))
    where = "" if channels == 1 else " + c"
    halves = []
    for half in ("low", "high"):
        v = "vmovl_s16(vget_low_s16(v))" if half == "low" else "vmovl_high_s16(v)"
        pair = "vget_low_s16(v), vget_low_s16(slope)" if half == "low" else "v, slope"
        product = f"vmull_s16({pair})" if half == "low" else f"vmull_high_s16({pair})"
        halves += [
            f"const int32x4_t {half}_value = {v};",
            f"const int32x4_t {half}_result = vbslq_s32(vcgezq_s32({half}_value),",
            f"    {positive.call(f'{half}_value')},",
            f"    {negative.call(product)});",
        ]
    body = [
        f"const size_t left = {length} - c;",
        "const int8x8_t bytes = left < 8 ? vget_low_s8(neon_some(x0 + at + c, left))",
        "    : vld1_s8(x0 + at + c);",
        f"const int16x8_t v = vsubl_s8(bytes, vdup_n_s8({source.zero_point}));",
        f"const int16x8_t slope = vmovl_s8(vld1_s8(@slopes@{where}));",
        *halves,
        "const int8x8_t result = neon_narrow8(low_result, high_result, zero_point, low, high);",
        "if (left < 8) {",
        "    neon_store(y + at + c, vcombine_s8(result, result), left);",
        "} else {",
        "    vst1_s8(y + at + c, result);",
        "}",
    ]
    lines = [
        *limits(False, ends[0]),
        *block(
            f"for (size_t at = 0; at < {layer.output.size}; at += {length})",
            block(f"for (size_t c = 0; c < {length}; c += 8)", body),
        ),
    ]
    return Implementation(
        "\n".join(lines),
        (SOME, STORE, NARROW8, positive.function, negative.function),
        (Array("slopes", stored.astype(np.int8)),),
        in_place=(0,),
    )
