"""What several emitters need: parameters of a rescale, ranks, cut and padded windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike, NDArray

from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.tflite.emitters.windows import Window
from intaglio.targets.tosa.scope import PROPAGATE, Scope
from intaglio.targets.tosa.writer import Field

#: Number of ``INT32`` in the schema: what sums are kept in.
INT32 = 5

#: Ending of functions that rescale sums of 64 bits; those that fit 32 round as Single does.
_WIDE = "Wide"

_ROUNDINGS = {"Single": False, "Double": True, _WIDE: False}


class Stage(NamedTuple):
    """The rescale at the end of a function.

    Attributes:
        multiplier: In Q31.
        shift: Total right shifts.
        zero_point: Of the result.
        limits: Smallest and largest result.
        double: Whether it rounds twice.
    """

    multiplier: NDArray[np.int64]
    shift: NDArray[np.int64]
    zero_point: int
    limits: tuple[int, int]
    double: bool


def rounds_twice(node: ir.Node) -> bool:
    """Whether a function rounds twice.

    Raises:
        RefusedError: It rounds in a way that TOSA does not have.
    """
    for word, double in _ROUNDINGS.items():
        if node.op_type.endswith(word):
            return double
    raise RefusedError(
        f"TOSA has no rescale that rounds as {node.op_type}",
        "lower for it: --set lower.profile=tosa-single, or tflm with recipe int8",
    )


def stage_of(scope: Scope, node: ir.Node) -> Stage:
    """The rescale of a function: its last five inputs."""
    multiplier, shift, zero_point, low, high = node.inputs[-5:]
    factors = scope.numbers(multiplier).astype(np.int64).reshape(-1)
    if node.op_type.endswith(_WIDE):
        # Its own multiplier has 15 bits and shifts by 16 places less, which is the same.
        factors = np.minimum((factors + (1 << 15)) >> 16, 0x7FFF) << 16
    return Stage(
        factors,
        scope.numbers(shift).astype(np.int64).reshape(-1),
        scope.number(zero_point),
        (scope.number(low), scope.number(high)),
        rounds_twice(node),
    )


def finish(
    scope: Scope,
    data: str,
    value: ir.Value,
    stage: Stage,
    *,
    dtype: str = "int32",
    zero_point: int = 0,
    shape: Sequence[int] | None = None,
    reach: ArrayLike | None = None,
) -> None:
    """Appends the RESCALE that makes ``value``, a CLAMP where its limits are narrower, a RESHAPE.

    Args:
        scope: The file.
        data: What is rescaled.
        value: The result.
        stage: How.
        dtype: Element type of the data.
        zero_point: Its zero point.
        shape: Its shape, where that is not the result's.
        reach: The largest magnitude of the data, of each channel or of all; None where every
            RESCALE takes it.
    """
    made = scope.dtype(value)
    kind = np.iinfo(made)
    clamps = stage.limits[0] > kind.min or stage.limits[1] < kind.max
    final = scope.result(value)
    size = scope.shape(value) if shape is None else tuple(shape)
    reshapes = size != scope.shape(value)
    if reach is not None:
        data = bounded(scope, data, size, stage, reach)
    target = final
    if clamps or reshapes:
        target = scope.intermediate(f"{value.name}_rescaled", size, made)
    scope.rescale(
        data, target, dtypes=(dtype, made), zero_points=(zero_point, stage.zero_point),
        multiplier=stage.multiplier, shift=stage.shift, double=stage.double,
    )  # fmt: skip
    if clamps:
        clamped = final
        if reshapes:
            clamped = scope.intermediate(f"{value.name}_clamped", size, made)
        target = scope.clamp(target, clamped, made, *stage.limits)
    if reshapes:
        scope.reshape(target, scope.shape(value), final)


def bounded(scope: Scope, data: str, shape: Sequence[int], stage: Stage, reach: ArrayLike) -> str:
    """int32 within what a RESCALE takes: below ``2^(shift - 1)``.

    Multipliers are at least 2^30 (or 0), so that what is cut off lies far beyond the ends of int8.
    Scales above 2^10 or so need it: those of results that are clipped to next to nothing.

    Args:
        scope: The file.
        data: What is rescaled.
        shape: Its shape.
        stage: The rescale.
        reach: The largest magnitude of the data, of each channel or of all.
    """
    most = np.minimum((1 << (stage.shift - 1)) - 1, 2**31 - 1)
    if (np.asarray(reach) <= most).all():
        return data
    for operator, end in (("MAXIMUM", -most), ("MINIMUM", most)):
        limit = scope.constant("limit", end.reshape((1,) * (len(shape) - 1) + (-1,)), "int32")
        target = scope.intermediate(f"{data}_bounded", shape, "int32")
        data = scope.operator(operator, [data, limit], target, [Field(0, "enum", PROPAGATE)])
    return data


def as_rank(scope: Scope, data: str, shape: Sequence[int], rank: int, dtype: str) -> str:
    """Data with ones in front of its shape: TOSA broadcasts between equal ranks only."""
    if len(shape) == rank:
        return data
    wide = (1,) * (rank - len(shape)) + tuple(shape)
    return scope.reshape(data, wide, scope.intermediate(f"{data}_rank", wide, dtype))


def widened(scope: Scope, data: str, shape: Sequence[int], zero_point: int) -> str:
    """int8 less its zero point, in int32."""
    target = scope.intermediate(f"{data}_wide", shape, "int32")
    return scope.rescale(data, target, dtypes=("int8", "int32"), zero_points=(zero_point, 0))


def window_fields(window: Window) -> tuple[list[int], list[int], list[int]]:
    """Pads (top, bottom, left, right), strides and dilations; what is below 0 is cut off before."""
    after = [_after(window, axis) for axis in (0, 1)]
    pads = [window.before[0], max(after[0], 0), window.before[1], max(after[1], 0)]
    return pads, list(window.strides), list(window.dilations)


def cut_to_window(
    scope: Scope, data: str, shape: Sequence[int], window: Window
) -> tuple[str, tuple[int, ...]]:
    """The data without the last rows and columns that no window reads: TOSA wants none of these."""
    size = list(shape)
    for axis in (0, 1):
        size[axis + 1] += min(_after(window, axis), 0)
    if size == list(shape):
        return data, tuple(shape)
    target = scope.intermediate(f"{data}_cut", size, "int8")
    return cut(scope, data, [0] * len(size), size, target), tuple(size)


def cut(scope: Scope, data: str, start: Sequence[int], size: Sequence[int], target: str) -> str:
    """Appends a SLICE."""
    inputs = [data, scope.sizes("start", start), scope.sizes("size", size)]
    return scope.operator("SLICE", inputs, target)


def reduced(
    scope: Scope, operator: str, data: str, shape: Sequence[int], axis: int, dtype: str
) -> str:
    """Appends a reduction over one axis, which stays with size 1."""
    size = [1 if place == axis else length for place, length in enumerate(shape)]
    fields = [Field(0, "int", axis)]
    if operator != "REDUCE_SUM":
        fields.append(Field(1, "enum", PROPAGATE))
    target = scope.intermediate(f"{data}_reduced", size, dtype)
    return scope.operator(operator, [data], target, fields)


def sliding(window: Window, *, accumulator: bool = True) -> list[Field]:
    """The attribute of CONV2D and DEPTHWISE_CONV2D."""
    pads, strides, dilations = window_fields(window)
    fields = [Field(0, "ints", pads), Field(1, "ints", strides), Field(2, "ints", dilations)]
    return [*fields, Field(4, "enum", INT32)] if accumulator else fields


def _after(window: Window, axis: int) -> int:
    """Padding behind the data such that the last window ends with it; below 0 to cut."""
    reach = (window.output[axis] - 1) * window.strides[axis] + window.span(axis)
    return reach - window.size[axis] - window.before[axis]
