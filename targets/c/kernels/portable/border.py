"""Float borders: QuantizeLinear and DequantizeLinear of ONNX, the only code with float in it."""

from __future__ import annotations

from string import Template

import numpy as np

from intaglio.targets.c.kernels.base import Function, Implementation
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.network import Border

_ROUND = Function(
    "round_half_even",
    """\
/* To the nearest integer, ties to even; value is in the range of int32_t. */
static inline int32_t round_half_even(float value)
{
    const int32_t whole = (int32_t)value;
    const float rest = value - (float)whole;
    if (rest > 0.5f || (rest == 0.5f && whole % 2 != 0)) {
        return whole + 1;
    }
    if (rest < -0.5f || (rest == -0.5f && whole % 2 != 0)) {
        return whole - 1;
    }
    return whole;
}""",
)

# Clamped before it is rounded, as onnxruntime does; the first comparison takes NaN, too.
_QUANTIZE = Template("""\
/* y = saturate(round(x / scale) + zero_point), ties to even; not a number gives the smallest. */
static void ${name}(const float *x, int32_t count, float scale, int32_t zero_point, ${y} *y)
{
    const float low = (float)(${minimum} - zero_point);
    const float high = (float)(${maximum} - zero_point);
    int32_t i;
    for (i = 0; i < count; i++) {
        const float value = x[i] / scale;
        const float clamped = value > low ? (value < high ? value : high) : low;
        y[i] = (${y})(round_half_even(clamped) + zero_point);
    }
}""")

_DEQUANTIZE = Template("""\
/* y = (x - zero_point) * scale. */
static void ${name}(const ${x} *x, int32_t count, float scale, int32_t zero_point, float *y)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        y[i] = (float)(x[i] - zero_point) * scale;
    }
}""")


def cross_border(layer: Border, variant: str, budget: int) -> Implementation | None:
    """Code of a layer between float and integers."""
    quantizes = layer.inputs[0].dtype == "float32"
    integers = layer.output if quantizes else layer.inputs[0]
    limits = np.iinfo(integers.dtype)
    if quantizes:
        name = f"quantize_{integers.dtype}"
        text = _QUANTIZE.substitute(
            name=name,
            y=c_type(integers.dtype),
            minimum=f"({limits.min})",
            maximum=limits.max,
        )
        needs: tuple[Function, ...] = (_ROUND,)
    else:
        name = f"dequantize_{integers.dtype}"
        text, needs = _DEQUANTIZE.substitute(name=name, x=c_type(integers.dtype)), ()
    return Implementation(
        call=f"{name}(x0, {integers.size}, {_literal(integers.scale)}, {integers.zero_point}, y);",
        functions=(Function(name, text, needs),),
    )


def _literal(value: float) -> str:
    """A float literal: nine digits tell every float32 from its neighbours."""
    text = f"{float(np.float32(value)):.9g}"
    return f"{text}f" if set(text) & set(".e") else f"{text}.0f"
