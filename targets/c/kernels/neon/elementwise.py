"""Sums and requantizations, 16 elements of int8 or 8 of int16 at a time.

A sum of int8 tensors is ``(a*p + b*q + r) >> s`` in 32 bits wherever integers give the exact result
for every pair of values; the plain kernels look for them. Other sums are computed as they are
defined, with vector tails. A requantization from int8 to int8 is looked up.
"""

from __future__ import annotations

import numpy as np

from intaglio.targets.c.kernels.base import Function, Implementation
from intaglio.targets.c.kernels.neon.ends import block, limits
from intaglio.targets.c.kernels.neon.memory import SOME, STORE
from intaglio.targets.c.kernels.neon.tables import looked_up
from intaglio.targets.c.kernels.neon.tails import NARROW8_TWICE, NARROW16, Tail, make_tail
from intaglio.targets.c.kernels.portable.broadcasting import overwritable
from intaglio.targets.c.kernels.portable.sums import affine_sum
from intaglio.targets.c.kernels.portable.values import centered_values, rescaled
from intaglio.targets.c.literals import number
from intaglio.targets.c.network import Requantization, Rescale, Sum, Tensor

_INT32 = (-(1 << 31), (1 << 31) - 1)

_AFFINE = Function(
    "neon_sum_affine",
    """\
/* (a*p + b*q + r) >> places of bytes, clamped to low .. high. */
static void neon_sum_affine(const int8_t *a, const int8_t *b, size_t count, int32_t p, int32_t q,
    int32_t r, int32_t places, int8_t low, int8_t high, int8_t *y)
{
    const int32x4_t start = vdupq_n_s32(r), shift = vdupq_n_s32(-places);
    const int8x16_t least = vdupq_n_s8(low), most = vdupq_n_s8(high);
    const int16x8_t zero = vdupq_n_s16(0);
    for (size_t i = 0; i < count; i += 16) {
        const size_t left = count - i;
        const int8x16_t va = left < 16 ? neon_some(a + i, left) : vld1q_s8(a + i);
        const int8x16_t vb = left < 16 ? neon_some(b + i, left) : vld1q_s8(b + i);
        const int16x8_t a0 = vmovl_s8(vget_low_s8(va)), a1 = vmovl_high_s8(va);
        const int16x8_t b0 = vmovl_s8(vget_low_s8(vb)), b1 = vmovl_high_s8(vb);
        int32x4_t s0 = vmlaq_n_s32(start, vmovl_s16(vget_low_s16(a0)), p);
        int32x4_t s1 = vmlaq_n_s32(start, vmovl_high_s16(a0), p);
        int32x4_t s2 = vmlaq_n_s32(start, vmovl_s16(vget_low_s16(a1)), p);
        int32x4_t s3 = vmlaq_n_s32(start, vmovl_high_s16(a1), p);
        int8x16_t sum;
        s0 = vshlq_s32(vmlaq_n_s32(s0, vmovl_s16(vget_low_s16(b0)), q), shift);
        s1 = vshlq_s32(vmlaq_n_s32(s1, vmovl_high_s16(b0), q), shift);
        s2 = vshlq_s32(vmlaq_n_s32(s2, vmovl_s16(vget_low_s16(b1)), q), shift);
        s3 = vshlq_s32(vmlaq_n_s32(s3, vmovl_high_s16(b1), q), shift);
        sum = neon_narrow8_twice(s0, s1, s2, s3, zero, least, most);
        if (left < 16) {
            neon_store(y + i, sum, left);
        } else {
            vst1q_s8(y + i, sum);
        }
    }
}""",
    (SOME, STORE, NARROW8_TWICE),
)


def sum_of(layer: Sum, variant: str, budget: int) -> Implementation | None:
    """A sum or difference of two tensors of one shape and type; None for others."""
    del variant, budget
    first, second, output = *layer.inputs, layer.output
    if not first.size == second.size == output.size or not output.size:
        return None
    if not first.dtype == second.dtype == output.dtype or output.dtype not in ("int8", "int16"):
        return None
    found = affine_sum(layer)
    if found is not None:
        p, q = found.factors
        low, high = _clamp(layer.rescale, output)
        call = (
            f"/* Equal to the exact sum of rescaled values for each of the 65536 pairs. */\n"
            f"neon_sum_affine(x0, x1, {output.size}, {number(p)}, {number(q)},\n"
            f"    {number(found.offset)}, {found.places}, {low}, {high}, y);"
        )
        return Implementation(call, (_AFFINE,), in_place=overwritable(layer))
    return _exact_sum(layer)


def _exact_sum(layer: Sum) -> Implementation | None:
    tails: list[Tail] = []
    bound = 0
    for tensor, rescale in zip(layer.inputs, (layer.first, layer.second), strict=True):
        values = centered_values(tensor) << layer.left_shift
        tail = make_tail(rescale, np.abs(values).max(keepdims=True))
        plain = not rescale.zero_point and (rescale.minimum, rescale.maximum) == _INT32
        if tail is None or not plain:
            return None
        tails.append(tail)
        bound += int(np.abs(rescaled(rescale, values)).max())
    total = make_tail(layer.rescale, np.array([bound]))
    if total is None:
        return None
    wide = layer.output.dtype == "int16"
    lines, groups = [], 2 if wide else 4
    for name, tensor, tail in zip("ab", layer.inputs, tails, strict=True):
        lines += _loaded(name, tensor, f"{'x0' if name == 'a' else 'x1'} + i")
        for g in range(groups):
            value = f"vshlq_n_s32({name}{g}, {layer.left_shift})"
            lines.append(f"const int32x4_t {name}_{g} = {tail.call(value)};")
    operation = "vaddq_s32" if layer.sign > 0 else "vsubq_s32"
    results = [total.call(f"{operation}(a_{g}, b_{g})") for g in range(groups)]
    functions = (*(tail.function for tail in tails), total.function)
    return _loop(layer, total, lines, results, functions)


def requantization(layer: Requantization, variant: str, budget: int) -> Implementation | None:
    """A requantization; None where there is no vector tail."""
    del variant, budget
    source, output = layer.inputs[0], layer.output
    if not output.size or {source.dtype, output.dtype} - {"int8", "int16"}:
        return None
    values = centered_values(source)
    values = np.abs(values) if layer.magnitude else values
    if source.dtype == output.dtype == "int8":
        return looked_up(layer, rescaled(layer.rescale, values).astype(np.int8))
    tail = make_tail(layer.rescale, np.abs(values).max(keepdims=True))
    if tail is None or source.dtype != output.dtype:
        return None
    lines = _loaded("v", source, "x0 + i")
    names = [f"vabsq_s32(v{g})" if layer.magnitude else f"v{g}" for g in range(2)]
    return _loop(layer, tail, lines, [tail.call(name) for name in names], (tail.function,))


def _loaded(name: str, tensor: Tensor, place: str) -> list[str]:
    """Statements that load 16 bytes of a tensor and take the zero point from its elements.

    They become ``<name>0``, ``<name>1`` and so on, of four elements.
    """
    zero = f"vdupq_n_s32({tensor.zero_point})"
    size = tensor.itemsize
    whole = f"vld1q_s8({place})" if size == 1 else f"vreinterpretq_s8_s16(vld1q_s16({place}))"
    lines = [
        f"const int8x16_t {name}_all = left < {16 // size} ? "
        f"neon_some({place}, {f'{size} * ' if size > 1 else ''}left)\n    : {whole};"
    ]
    if tensor.dtype == "int16":
        lines.append(f"const int16x8_t {name}w0 = vreinterpretq_s16_s8({name}_all);")
    else:
        lines += [
            f"const int16x8_t {name}w0 = vmovl_s8(vget_low_s8({name}_all));",
            f"const int16x8_t {name}w1 = vmovl_high_s8({name}_all);",
        ]
    for g in range(4 // size):
        half = f"vget_low_s16({name}w{g // 2})" if g % 2 == 0 else f"{name}w{g // 2}"
        widened = f"vmovl_s16({half})" if g % 2 == 0 else f"vmovl_high_s16({half})"
        value = f"vsubq_s32({widened}, {zero})" if tensor.zero_point else widened
        lines.append(f"const int32x4_t {name}{g} = {value};")
    return lines


def _loop(
    layer: Sum | Requantization,
    tail: Tail,
    lines: list[str],
    results: list[str],
    functions: tuple[Function, ...],
) -> Implementation:
    """The loop over all elements, 16 bytes of the output at a time."""
    output = layer.output
    wide = output.dtype == "int16"
    count = 8 if wide else 16
    head = limits(wide, (tail.zero_point, *_clamp(layer.rescale, output)))
    if wide:
        parts = [f"neon_narrow16({result}, zero_point, low, high)" for result in results]
        made = f"vreinterpretq_s8_s16(vcombine_s16(\n    {parts[0]},\n    {parts[1]}))"
        stored = "vst1q_s16(y + i, vreinterpretq_s16_s8(result));"
    else:
        joined = ",\n    ".join(results)
        made = f"neon_narrow8_twice(\n    {joined},\n    zero_point, low, high)"
        stored = "vst1q_s8(y + i, result);"
    size = "2 * left" if wide else "left"
    body = [
        f"const size_t left = {output.size} - i;",
        *lines,
        f"const int8x16_t result = {made};",
        f"if (left < {count}) {{",
        f"    neon_store(y + i, result, {size});",
        "} else {",
        f"    {stored}",
        "}",
    ]
    text = "\n".join(body).split("\n")
    loop = block(f"for (size_t i = 0; i < {output.size}; i += {count})", text)
    narrow = NARROW16 if wide else NARROW8_TWICE
    return Implementation(
        "\n".join([*head, *loop]),
        (SOME, STORE, narrow, *functions),
        in_place=overwritable(layer),
    )


def _clamp(rescale: Rescale, output: Tensor) -> tuple[int, int]:
    limits_of = np.iinfo(output.dtype)
    return max(rescale.minimum, int(limits_of.min)), min(rescale.maximum, int(limits_of.max))
