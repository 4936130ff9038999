"""PRelu without a comparison: the larger or the smaller of two lines.

What is not below zero lies on one line, the rest on another, a slope for each channel. A channel is
the larger of both where its slope takes the second line above the first below zero, else the
smaller. NPUs have MAXIMUM and MINIMUM; few have GREATER and SELECT. A line with a slope for each
channel is a depthwise convolution of one place, which takes a tenth of the time of a MUL.

Where channels of both kinds stand side by side, it is ``min(max(line, lower), upper)``: the second
line is the lower bound of the first kind and the upper bound of the other; a bias takes the rest of
both bounds beyond the ends of int8. That all this gives the function, for every int8 and every
slope, is tried out; else the two halves are computed by themselves and added.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.targets.integer_graph import required
from intaglio.targets.tflite.emitters.windows import Window
from intaglio.targets.tosa.emitters.arithmetic import multiply
from intaglio.targets.tosa.emitters.common import rounds_twice, sliding, widened
from intaglio.targets.tosa.scope import PROPAGATE, Emitter, Scope
from intaglio.targets.tosa.writer import Field
from intaglio.transforms.fixed_point import rescale_double, rescale_single

_LOW, _HIGH = -128, 127
_CODES = np.arange(_LOW, _HIGH + 1, dtype=np.int64)
_MOST_BIAS = 1 << 30


@dataclasses.dataclass(frozen=True)
class Line:
    """``rescale(v * slope) + zero point`` in int8, for ``v = x - zero point``."""

    multiplier: int
    shift: int
    points: tuple[int, int]
    double: bool

    def of(self, slope: int) -> NDArray[np.int64]:
        """The line for each int8 from -128 up."""
        rescale = rescale_double if self.double else rescale_single
        found = rescale((_CODES - self.points[0]) * slope, self.multiplier, self.shift)
        return np.asarray(np.clip(found + self.points[1], _LOW, _HIGH), np.int64)

    @property
    def beyond(self) -> int:
        """A sum whose rescale lies beyond both ends of int8."""
        return -(-(512 << self.shift) // self.multiplier) if self.multiplier else _MOST_BIAS + 1


@dataclasses.dataclass(frozen=True)
class _Prelu:
    """One PRelu on its way into the file: its operands, both lines, and the name of its parts."""

    scope: Scope
    data: str
    shape: tuple[int, ...]
    slopes: NDArray[np.integer]
    above: Line
    below: Line
    name: str

    @property
    def is_channelwise(self) -> bool:
        """Whether the slopes differ along the last axis only."""
        return bool(self.slopes.size == self.slopes.shape[-1])

    def part(self, word: str, dtype: str = "int8") -> str:
        """A new tensor of the same shape."""
        return self.scope.intermediate(f"{self.name}_{word}", self.shape, dtype)


def kinds_of(above: Line, below: Line, slopes: NDArray[np.integer]) -> NDArray[np.bool_] | None:
    """Whether each slope's function is the larger line (true) or the smaller; None: some neither.

    Args:
        above: The line of what is not below zero.
        below: The line of what is.
        slopes: Slopes of the second.
    """
    kinds = {}
    first = above.of(1)
    for slope in np.unique(slopes):
        second = below.of(int(slope))
        wanted = np.where(above.points[0] > _CODES, second, first)
        if np.array_equal(np.maximum(first, second), wanted):
            kinds[int(slope)] = True
        elif np.array_equal(np.minimum(first, second), wanted):
            kinds[int(slope)] = False
        else:
            return None
    return np.array([kinds[int(slope)] for slope in slopes.reshape(-1)])


def _prelu(scope: Scope, node: ir.Node) -> None:
    source, value = required(node.inputs[0]), node.outputs[0]
    shape, slopes = scope.shape(source), scope.numbers(node.inputs[2])
    points, double = (
        (scope.number(node.inputs[1]), scope.number(node.inputs[-3])),
        rounds_twice(node),
    )
    above, below = (
        Line(scope.number(node.inputs[at]), scope.number(node.inputs[at + 1]), points, double)
        for at in (3, 5)
    )
    slopes = slopes.reshape((1,) * (len(shape) - slopes.ndim) + slopes.shape)
    each = _Prelu(scope, scope.name(source), shape, slopes, above, below, str(value.name))
    low, high = max(scope.number(node.inputs[-2]), _LOW), min(scope.number(node.inputs[-1]), _HIGH)
    clamps = (low, high) != (_LOW, _HIGH)
    final = each.part("all") if clamps else scope.result(value)
    kinds = kinds_of(above, below, slopes)
    if kinds is None or not (each.is_channelwise or kinds.all() or not kinds.any()):
        _halves(each, final)
    elif kinds.all() or not kinds.any():
        lines = [_above(each, each.data), _below(each, each.data)]
        _extreme(each, "MAXIMUM" if kinds.all() else "MINIMUM", lines, final)
    elif below.beyond > _MOST_BIAS:
        _halves(each, final)
    else:
        _bounded(each, kinds, final)
    if clamps:
        scope.clamp(final, scope.result(value), "int8", low, high)


def _bounded(each: _Prelu, kinds: NDArray[np.bool_], final: str) -> None:
    """The first line between bounds."""
    slopes = np.broadcast_to(each.slopes.reshape(-1), kinds.shape)
    kept = _above(each, each.data)
    for operator, own, beyond in (("MAXIMUM", kinds, -1), ("MINIMUM", ~kinds, 1)):
        bias = np.where(own, 0, beyond * each.below.beyond)
        bound = _line(each, each.data, each.below, np.where(own, slopes, 0), bias)
        target = final if operator == "MINIMUM" else each.part("bounded")
        kept = _extreme(each, operator, [kept, bound], target)


def _extreme(each: _Prelu, operator: str, lines: list[str], target: str) -> str:
    """Appends MAXIMUM or MINIMUM, which TOSA has for int32."""
    wide = [widened(each.scope, line, each.shape, 0) for line in lines]
    chosen = each.part("chosen", "int32")
    each.scope.operator(operator, wide, chosen, [Field(0, "enum", PROPAGATE)])
    return each.scope.rescale(chosen, target, dtypes=("int32", "int8"))


def _halves(each: _Prelu, final: str) -> None:
    """What is above zero on one line, what is below on the other, and their sum."""
    zero, result = each.above.points
    parts = [
        make(each, each.scope.clamp(each.data, each.part("half"), "int8", low, high))
        for make, low, high in ((_above, zero, _HIGH), (_below, _LOW, zero))
    ]
    total = each.part("sum", "int32")
    wide = [widened(each.scope, part, each.shape, result) for part in parts]
    each.scope.operator("ADD", wide, total)
    each.scope.rescale(total, final, dtypes=("int32", "int8"), zero_points=(0, result))


def _above(each: _Prelu, data: str) -> str:
    if np.array_equal(each.above.of(1), _CODES):
        return data
    return _line(each, data, each.above, np.ones(1, np.int64), np.zeros(1, np.int64))


def _below(each: _Prelu, data: str) -> str:
    if each.is_channelwise:
        return _line(each, data, each.below, each.slopes.reshape(-1), np.zeros(1, np.int64))
    scope = each.scope
    slopes = scope.constant(f"{each.name}_slope", each.slopes, "int8")
    first = widened(scope, data, each.shape, each.below.points[0])
    second = widened(scope, slopes, each.slopes.shape, 0)
    product = multiply(scope, first, second, each.part("product", "int32"))
    return _rescaled(each, product, each.below, each.part("line"))


def _line(
    each: _Prelu,
    data: str,
    line: Line,
    slopes: NDArray[np.integer],
    bias: NDArray[np.integer],
) -> str:
    """Data on a line, as a depthwise convolution of one place."""
    scope, shape = each.scope, each.shape
    channels = shape[-1]
    flat = shape if len(shape) == 4 else (1, int(np.prod(shape[:-1])), 1, channels)
    if flat != shape:
        data = scope.reshape(data, flat, scope.intermediate(f"{each.name}_flat", flat, "int8"))
    kernel = np.broadcast_to(slopes, (channels,)).reshape(1, 1, channels, 1)
    size = (flat[1], flat[2])
    inputs = [
        data,
        scope.constant(f"{each.name}_slopes", kernel, "int8"),
        scope.constant(f"{each.name}_bias", np.broadcast_to(bias, (channels,)), "int32"),
        scope.constant("input_zero_point", [line.points[0]], "int8"),
        scope.constant("weight_zero_point", [0], "int8"),
    ]
    sums = scope.intermediate(f"{each.name}_sums", flat, "int32")
    window = Window(size, size, (1, 1), (1, 1), (1, 1), (0, 0))
    scope.operator("DEPTHWISE_CONV2D", inputs, sums, sliding(window))
    made = _rescaled(each, sums, line, scope.intermediate(f"{each.name}_line", flat, "int8"))
    return made if flat == shape else scope.reshape(made, shape, each.part("line"))


def _rescaled(each: _Prelu, data: str, line: Line, target: str) -> str:
    return each.scope.rescale(
        data, target, dtypes=("int32", "int8"), zero_points=(0, line.points[1]),
        multiplier=line.multiplier, shift=line.shift, double=line.double,
    )  # fmt: skip


EMITTERS: dict[str, Emitter] = dict.fromkeys(("PReluDouble", "PReluSingle"), _prelu)
