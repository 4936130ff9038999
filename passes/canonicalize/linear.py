"""What the linear operators have in common: channels, weights, biases, and scaling them.

Conv, ConvTranspose and Gemm (in normal form) compute, per output channel c,
``y_c = sum(w_c * x) + b_c``. A following ``y * s_c + t_c`` is absorbed by ``w_c * s_c`` and
``b_c * s_c + t_c``. The products are formed in float64 and narrowed once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.canonicalize.editing import (
    constant,
    integer,
    is_standard,
    operand,
    rank,
    set_constant,
    static_dims,
)

LINEAR = ("Conv", "ConvTranspose", "Gemm")


def is_linear(node: ir.Node | None) -> bool:
    """Whether ``node`` is a Conv, a ConvTranspose, or a Gemm in normal form."""
    if not is_standard(node, *LINEAR) or node is None:
        return False
    return node.op_type != "Gemm" or is_normal_gemm(node)


def is_normal_gemm(node: ir.Node) -> bool:
    """Whether a Gemm is ``x @ w.T + b`` with nothing else."""
    return (
        integer(node, "transA", 0) == 0
        and integer(node, "transB", 0) == 1
        and all(node.attributes[k].as_float() == 1.0 for k in _FACTORS if k in node.attributes)
    )


_FACTORS = ("alpha", "beta")


def output_channels(node: ir.Node) -> int | None:
    """Number of output channels, None when the weight's shape is not known."""
    weight = node.inputs[1]
    shape = static_dims(weight)
    if shape is None:
        return None
    if node.op_type == "ConvTranspose":
        return shape[1] * integer(node, "group", 1)  # weight is [in, out / group, k...]
    return shape[0]


def bias(node: ir.Node) -> NDArray[np.float64] | None:
    """The bias in float64, zeros when there is none; None when it is computed in the graph."""
    channels = output_channels(node)
    value = operand(node, 2)
    if channels is None:
        return None
    if value is None:
        return np.zeros(channels)
    array = constant(value)
    if array is None:
        return None
    if array.ndim > 1 and array.shape[-1] != array.size:
        return None
    return _spread(array, channels)


def per_channel(array: NDArray[Any], output: ir.Value, channels: int) -> NDArray[np.float64] | None:
    """A constant operand as one number for each channel of ``output``.

    Args:
        array: The operand as it stands in the file, such as ``[C, 1, 1]`` or a scalar.
        output: What it is combined with; channels on axis 1.
        channels: Their number.

    Returns:
        ``[channels]`` in float64, or None when it varies along another axis, or would broadcast
        the result to a larger shape.
    """
    axes = rank(output)
    if axes is None or axes < 2 or array.ndim > axes:
        return None
    shape = (1,) * (axes - array.ndim) + array.shape
    if any(dim != 1 for axis, dim in enumerate(shape) if axis != 1):
        return None
    if shape[1] not in (1, channels):
        return None
    return _spread(array, channels)


def _spread(array: NDArray[Any], channels: int) -> NDArray[np.float64]:
    return np.array(np.broadcast_to(array.reshape(-1), (channels,)), np.float64)


def absorb_affine(
    node: ir.Node, scale: NDArray[np.float64] | None, shift: NDArray[np.float64] | None
) -> str | None:
    """Absorbs ``y * scale + shift`` into weight and bias of a linear node.

    Args:
        node: Conv, ConvTranspose or normal Gemm with constant weight.
        scale: ``[C]``, None for 1.
        shift: ``[C]``, None for 0.

    Returns:
        The reason why it cannot be done (nothing changed), or None.
    """
    weight = constant(node.inputs[1])
    old = bias(node)
    if weight is None:
        return "its weight is not a constant"
    if old is None:
        return "its bias is not a constant"
    if weight.dtype.kind != "f":
        return "its weight is not float"
    with np.errstate(invalid="ignore", over="ignore"):  # not finite is refused below
        new = old if scale is None else old * scale
        new = new if shift is None else new + shift
        narrowed = new.astype(weight.dtype)
        scaled = weight if scale is None else _scale_weight(node, weight, scale)
    if not (np.isfinite(narrowed).all() and np.isfinite(scaled).all()):
        return "the result would not be finite"
    if scale is not None:
        set_constant(node, 1, scaled, f"{node.name}_weight")
    set_constant(node, 2, narrowed, f"{node.name}_bias")
    return None


def _scale_weight(node: ir.Node, weight: NDArray[Any], scale: NDArray[np.float64]) -> NDArray[Any]:
    wide = weight.astype(np.float64)
    if node.op_type == "ConvTranspose":
        group = integer(node, "group", 1)
        # [in, out/group, k...]: input channels g*in/group.. make output channels g*out/group..
        factor = np.repeat(scale.reshape(group, -1), weight.shape[0] // group, axis=0)
        factor = factor.reshape(factor.shape + (1,) * (weight.ndim - 2))
    else:
        factor = scale.reshape((-1,) + (1,) * (weight.ndim - 1))
    return np.asarray((wide * factor).astype(weight.dtype))
