"""Tables: any chain of one-input element-wise functions as 256 or 513 integers.

An 8-bit input has 256 values, so a function of it *is* a table of 256 entries. A 16-bit input is
split: the upper 9 bits choose one of 512 segments, the lower 7 bits interpolate in it.

The real functions follow the ONNX operator definitions in float64. The tables follow TensorFlow
Lite's LUTPopulate (``lite/kernels/internal/common.h``). Measured on LiteRT 2.3's reference kernels:
the 8-bit tables of LOGISTIC, TANH, GELU and EXP and the 16-bit ones of GELU and EXP are the same,
entry by entry. Its 16-bit TANH and LOGISTIC are other kernels (up to 6 steps away), and so are
LEAKY_RELU and HARD_SWISH; see ``kernel_tables`` and ``logistic``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from intaglio.transforms.interpolation import SEGMENTS, interpolate, populate
from intaglio.transforms.scales import TensorQuantization

Real = NDArray[np.float64]
#: A function of real values alone, its attributes bound.
RealFunction = Callable[[Real], Real]
#: A function of real values and the attributes of its ONNX node.
UnaryFunction = Callable[[Real, Mapping[str, Any]], Real]

#: Segments of a 16-bit table; it has one entry more, the end of the last segment.
INT16_SEGMENTS = SEGMENTS

# Stands for infinity in the interpolation arithmetic of 16-bit tables: far outside int16, and
# sums of it stay finite.
_BEYOND_INT16 = float(1 << 31)


def table_int8(
    function: RealFunction, input_q: TensorQuantization, output_q: TensorQuantization
) -> NDArray[Any]:
    """Tabulate a function of an 8-bit tensor.

    Entry ``q - minimum`` is ``clip(round(f(x) / s_out) + z_out)`` for ``x = s_in * (q - z_in)``,
    rounded half away from zero before the zero point is added, as TensorFlow Lite does.

    Args:
        function: real values to real values, element by element.
        input_q: int8 or uint8, per tensor.
        output_q: int8 or uint8, per tensor; infinities saturate to its range.

    Returns:
        256 entries of the output's type. Look them up with :func:`lookup_int8`.

    Raises:
        ValueError: the types do not fit, or the function is not defined (NaN) at an input; the
            message names that input.
    """
    _require(input_q, ("int8", "uint8"), "input")
    _require(output_q, ("int8", "uint8"), "output")
    q = np.arange(input_q.minimum, input_q.maximum + 1, dtype=np.int64)
    x = (q - input_q.zero_point[0]).astype(np.float64) * input_q.scale[0]
    # Saturating before the cast: infinity has no integer, and no int8 lies beyond 2^31 steps.
    steps = np.clip(_evaluate(function, x) / output_q.scale[0], -_BEYOND_INT16, _BEYOND_INT16)
    entries = round_half_away(steps) + output_q.zero_point[0]
    clipped = np.clip(entries, output_q.minimum, output_q.maximum)
    return np.asarray(clipped.astype(output_q.numpy_dtype))


def table_int16(
    function: RealFunction, input_q: TensorQuantization, output_q: TensorQuantization
) -> NDArray[np.int16]:
    """Tabulate a function of a 16-bit tensor for linear interpolation.

    :func:`intaglio.transforms.interpolation.populate` in float32, from the real value of the
    smallest input to that of the largest, with the gain ``65536 / (out_hi - out_lo)`` (the inverse
    output scale times 65536/65535, as TensorFlow Lite's code has it).

    Args:
        function: real values to real values, element by element.
        input_q: int16, per tensor, zero point 0.
        output_q: int16, per tensor, zero point 0; infinities saturate.

    Returns:
        int16, 513 entries. Look them up with :func:`lookup_int16`.

    Raises:
        ValueError: the types or zero points do not fit, or the function is not defined (NaN) at
            an input; the message names that input.
    """
    for q, role in ((input_q, "input"), (output_q, "output")):
        _require(q, ("int16",), role)
        if q.zero_point[0] != 0:
            raise ValueError(f"the {role} of a 16-bit table has zero point 0")
    low, high = _float32_ends(input_q)
    output_low, output_high = _float32_ends(output_q)
    gain = np.float32(1 << 16) / (output_high - output_low)
    return populate(lambda x: _evaluate(function, x), float(low), float(high), float(gain))


def table_int8_float32(
    function: RealFunction, input_q: TensorQuantization, output_q: TensorQuantization
) -> NDArray[Any]:
    """Tabulate a function of an 8-bit tensor in float32, as TensorFlow Lite's LUTPopulate does.

    ``clip(round(float32(f(x) * (1 / s_out))) + z_out)`` for ``x = float32(s_in * (q - z_in))``,
    half away from zero.

    Args:
        function: real values to real values; its result is narrowed to float32.
        input_q: int8 or uint8, per tensor.
        output_q: int8 or uint8, per tensor; infinities saturate.

    Returns:
        256 entries of the output's type.

    Raises:
        ValueError: as :func:`table_int8`.
    """
    _require(input_q, ("int8", "uint8"), "input")
    _require(output_q, ("int8", "uint8"), "output")
    q = np.arange(input_q.minimum, input_q.maximum + 1)
    x = np.float32(input_q.scale[0]) * (q - input_q.zero_point[0]).astype(np.float32)
    with np.errstate(over="ignore"):
        y = _evaluate(function, x.astype(np.float64)).astype(np.float32)
        steps = y * (np.float32(1) / np.float32(output_q.scale[0]))
    steps = np.clip(steps, np.float32(-_BEYOND_INT16), np.float32(_BEYOND_INT16))
    entries = round_half_away(steps) + output_q.zero_point[0]
    clipped = np.clip(entries, output_q.minimum, output_q.maximum)
    return np.asarray(clipped.astype(output_q.numpy_dtype))


def lookup_int8(q: ArrayLike, table: NDArray[Any]) -> NDArray[Any]:
    """Apply an 8-bit table.

    Args:
        q: int8 or uint8, any shape.
        table: 256 entries of :func:`table_int8`, made for the type of ``q``.

    Returns:
        The entries, of the table's type and the shape of ``q``.

    Raises:
        ValueError: ``q`` is of another type or the table of another length.
    """
    values = np.asarray(q)
    if values.dtype not in (np.dtype(np.int8), np.dtype(np.uint8)) or table.shape != (256,):
        raise ValueError(f"cannot look {values.dtype} up in a table of shape {table.shape}")
    return np.asarray(table[values.astype(np.int64) - int(np.iinfo(values.dtype).min)])


def lookup_int16(q: ArrayLike, table: NDArray[np.int16]) -> NDArray[np.int16]:
    """Apply a 16-bit table with linear interpolation.

    ``index = (q + 32768) >> 7``, ``offset = q & 127``,
    ``table[index] + ((table[index + 1] - table[index]) * offset + 64 >> 7)``: TensorFlow Lite's
    LUTLookup. That code keeps the difference in int16; here it does not wrap, so the two differ
    only where neighboring entries are more than 32767 apart.

    Args:
        q: int16, any shape.
        table: int16, 513 entries of :func:`table_int16`.

    Returns:
        int16, the shape of ``q``.

    Raises:
        ValueError: ``q`` or the table is of another type or length.
    """
    values = np.asarray(q)
    if values.dtype != np.int16 or table.shape != (INT16_SEGMENTS + 1,):
        raise ValueError(f"cannot look {values.dtype} up in a table of shape {table.shape}")
    return interpolate(values, table).astype(np.int16)


def round_half_away(x: ArrayLike) -> Real:
    """Round to the nearest integer, ties away from zero (C's ``round``).

    Args:
        x: finite real values, any shape.

    Returns:
        float64, the same shape.
    """
    values = np.asarray(x, dtype=np.float64)
    whole = np.trunc(values)
    # Not floor(|x| + 0.5): the sum rounds up to 1.0 for the largest double below 0.5.
    return np.asarray(whole + np.copysign(np.abs(values - whole) >= 0.5, values))


def bind(name: str, attributes: Mapping[str, Any] | None = None) -> RealFunction:
    """A function of :data:`UNARY_FUNCTIONS` with its attributes fixed.

    Args:
        name: ONNX operator name.
        attributes: attributes of the node; absent ones have the operator's defaults.

    Returns:
        A function of real values alone.

    Raises:
        ValueError: there is no such function.
    """
    if name not in UNARY_FUNCTIONS:
        raise ValueError(f"no element-wise function {name!r}; known: {', '.join(UNARY_FUNCTIONS)}")
    function = UNARY_FUNCTIONS[name]
    fixed = dict(attributes or {})
    return lambda x: function(x, fixed)


def _float32_ends(q: TensorQuantization) -> tuple[np.float32, np.float32]:
    scale = np.float32(q.scale[0])
    return scale * np.float32(q.minimum), scale * np.float32(q.maximum)


def _evaluate(function: RealFunction, x: Real) -> Real:
    with np.errstate(all="ignore"):
        y = np.asarray(function(x), dtype=np.float64)
    undefined = np.isnan(y)
    if undefined.any():
        raise ValueError(f"the function is not defined at the input {x[undefined][0]:g}")
    return y


def _require(q: TensorQuantization, types: tuple[str, ...], role: str) -> None:
    if q.dtype not in types or q.per_channel:
        raise ValueError(f"the {role} of a table must be {' or '.join(types)}, per tensor")


def _with(function: Callable[..., Any], **defaults: Any) -> UnaryFunction:
    """Give a numpy function the attributes of an operator; unknown ones are errors."""

    def apply(x: Real, attributes: Mapping[str, Any]) -> Real:
        unknown = set(attributes) - set(defaults)
        if unknown:
            raise ValueError(f"unknown attributes {sorted(unknown)}; known: {sorted(defaults)}")
        given = {key: value for key, value in attributes.items() if value is not None}
        values = np.asarray(x, dtype=np.float64)
        with np.errstate(all="ignore"):
            return np.asarray(function(values, **{**defaults, **given}), dtype=np.float64)

    return apply


def _with_constant(function: Callable[[Real, Real], Any]) -> UnaryFunction:
    """Make a two-input operator a function of one, the other input a constant scalar."""

    def apply(x: Real, constant: float | None, constant_is_first: bool) -> Any:
        if constant is None:
            raise ValueError("the attribute 'constant' is missing")
        other = np.asarray(constant, dtype=np.float64)
        if other.size != 1:
            raise ValueError(f"the constant has {other.size} values; a table takes one")
        other = other.reshape(())
        return function(other, x) if constant_is_first else function(x, other)

    return _with(apply, constant=None, constant_is_first=False)


def _sigmoid(x: Real) -> Real:
    # exp of the negative magnitude only: no overflow at either end.
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, e) / (1.0 + e))


def _softplus(x: Real) -> Real:
    return np.asarray(np.logaddexp(0.0, x))


def _erf(x: Real) -> Real:
    return np.array([math.erf(v) for v in x.reshape(-1)], dtype=np.float64).reshape(x.shape)


def _gelu(x: Real, approximate: str) -> Real:
    if approximate == "none":
        return 0.5 * x * (1.0 + _erf(x / math.sqrt(2.0)))
    if approximate == "tanh":
        return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))
    raise ValueError(f"Gelu knows the approximations 'none' and 'tanh', not {approximate!r}")


def _elu(x: Real, alpha: float) -> Real:
    return np.asarray(np.where(x < 0, alpha * np.expm1(np.minimum(x, 0.0)), x))


#: ONNX operator name to its real function. Attributes are those of the operator (``Clip`` takes
#: ``min`` and ``max``); two-input operators take ``constant`` and ``constant_is_first``.
UNARY_FUNCTIONS: Mapping[str, UnaryFunction] = MappingProxyType(
    {
        "Relu": _with(lambda x: np.maximum(x, 0.0)),
        "LeakyRelu": _with(lambda x, alpha: np.where(x < 0, alpha * x, x), alpha=0.01),
        "ThresholdedRelu": _with(lambda x, alpha: np.where(x > alpha, x, 0.0), alpha=1.0),
        # The upper bound last: ONNX gives it precedence where the two cross.
        "Clip": _with(
            lambda x, min, max: np.minimum(np.maximum(x, min), max), min=-math.inf, max=math.inf
        ),
        "Sigmoid": _with(_sigmoid),
        "Tanh": _with(np.tanh),
        "HardSigmoid": _with(
            lambda x, alpha, beta: np.clip(alpha * x + beta, 0.0, 1.0), alpha=0.2, beta=0.5
        ),
        "HardSwish": _with(lambda x: x * np.clip(x / 6.0 + 0.5, 0.0, 1.0)),
        "Elu": _with(_elu, alpha=1.0),
        "Selu": _with(
            lambda x, alpha, gamma: gamma * _elu(x, alpha),
            alpha=1.67326319217681884765625,
            gamma=1.05070102214813232421875,
        ),
        "Celu": _with(
            lambda x, alpha: np.maximum(x, 0.0) + np.minimum(alpha * np.expm1(x / alpha), 0.0),
            alpha=1.0,
        ),
        "Softplus": _with(_softplus),
        "Softsign": _with(lambda x: x / (1.0 + np.abs(x))),
        "Mish": _with(lambda x: x * np.tanh(_softplus(x))),
        "Swish": _with(lambda x, alpha: x * _sigmoid(alpha * x), alpha=1.0),
        "Gelu": _with(_gelu, approximate="none"),
        "Erf": _with(_erf),
        "Exp": _with(np.exp),
        "Log": _with(np.log),
        "Sqrt": _with(np.sqrt),
        "Reciprocal": _with(lambda x: 1.0 / x),
        "Abs": _with(np.abs),
        "Neg": _with(np.negative),
        "Sign": _with(np.sign),
        "Floor": _with(np.floor),
        "Ceil": _with(np.ceil),
        "Round": _with(np.rint),
        "Sin": _with(np.sin),
        "Cos": _with(np.cos),
        "Add": _with_constant(np.add),
        "Sub": _with_constant(np.subtract),
        "Mul": _with_constant(np.multiply),
        "Div": _with_constant(np.divide),
        "Pow": _with_constant(np.power),
        "Max": _with_constant(np.maximum),
        "Min": _with_constant(np.minimum),
    }
)
