"""Functions of one tensor: the operator whose kernel has exactly these entries, else a GATHER."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.tflite.emitters.activations import RELUS, activation_limits
from intaglio.targets.tflite.emitters.multipliers import expect_equal
from intaglio.targets.tflite.emitters.options import options
from intaglio.targets.tflite.emitters.scope import Emitter, Scope, required
from intaglio.targets.tflite.resolver import MICRO_OPERATORS, MICRO_PROFILE
from intaglio.targets.tflite.schema import schema
from intaglio.transforms.fixed_point import quantize_multiplier, requantize
from intaglio.transforms.function_tables import function_table, function_table_int16
from intaglio.transforms.kernel_tables import leaky_relu_table
from intaglio.transforms.logistic import (
    INT16_OUTPUT_SCALE,
    LOGISTIC_OUTPUT,
    TANH_OUTPUT,
    logistic_scale,
    tanh_scale,
)
from intaglio.transforms.profiles import Profile
from intaglio.transforms.scales import TensorQuantization

_CODES = np.arange(-128, 128, dtype=np.int64)
#: Decimal digits of the slopes that are tried for a table, and how many of each.
_DIGITS = 4
_MOST_SLOPES = 64
#: Axes that ADD broadcasts over.
_MOST_AXES = 4


class Function(NamedTuple):
    """A TFLite operator of one tensor.

    Attributes:
        operator: Its name.
        onnx: ONNX operator that it is, and its attributes.
        versions: For int8 and int16; None where it has no such kernel.
        options: Table of its options and their fields; None where it has none.
        output: Scale and zero point that its int8 result must have; None for any.
    """

    operator: str
    onnx: tuple[str, dict[str, Any]]
    versions: tuple[int, int | None]
    options: tuple[str, dict[str, Any]] | None = None
    output: tuple[float, int] | None = None


# ELU is missing: LiteRT's reference kernels, on which every file is run, have none.
_FUNCTIONS = (
    Function("LOGISTIC", ("Sigmoid", {}), (2, None), None, LOGISTIC_OUTPUT),
    Function("TANH", ("Tanh", {}), (2, None), None, TANH_OUTPUT),
    Function("HARD_SWISH", ("HardSwish", {}), (1, None), ("HardSwishOptions", {})),
    Function("ABS", ("Abs", {}), (2, None), ("AbsOptions", {})),
    Function("EXP", ("Exp", {}), (2, 2), ("ExpOptions", {})),
    Function("LOG", ("Log", {}), (2, 2)),
    Function("GELU", ("Gelu", {}), (2, 2), ("GeluOptions", {"approximate": False})),
    Function(
        "GELU", ("Gelu", {"approximate": "tanh"}), (2, 2), ("GeluOptions", {"approximate": True})
    ),
)


class Kernel(NamedTuple):
    """A TFLite operator that might compute a table.

    Attributes:
        operator: Its name.
        version: Its version.
        entries: Its results.
        options: Its options.
    """

    operator: str
    version: int
    entries: NDArray[Any]
    options: Any


def _table(scope: Scope, node: ir.Node) -> None:
    source, value = required(node.inputs[0]), node.outputs[0]
    meaning, output = scope.quantization(source), scope.quantization(value)
    entries = scope.numbers(node.inputs[1])
    if output.dtype == "int8":
        for kernel in kernels(meaning, output, entries, scope.profile):
            if np.array_equal(kernel.entries, entries):
                inputs, outputs = [scope.index(source)], [scope.result(value)]
                scope.operator(kernel.operator, inputs, outputs, kernel.options, kernel.version)
                return
    _looked_up(scope, source, value, entries, np.array([128], np.int32))


def _table_channelwise(scope: Scope, node: ir.Node) -> None:
    """The tables one behind the other; those of channel c begin at 256 c."""
    source, value = required(node.inputs[0]), node.outputs[0]
    tables = scope.numbers(node.inputs[1])
    shape = scope.shape(value)
    if len(shape) > _MOST_AXES:
        raise RefusedError(
            f"a table for each channel of a tensor with {len(shape)} axes",
            f"it has at most {_MOST_AXES}",
        )
    middles = 256 * np.arange(len(tables), dtype=np.int32) + 128
    along = middles.reshape([1, -1] + [1] * (len(shape) - 2))
    _looked_up(scope, source, value, tables.reshape(-1), along)


def _looked_up(
    scope: Scope,
    source: ir.Value,
    value: ir.Value,
    entries: NDArray[Any],
    middle: NDArray[np.int32],
) -> None:
    """CAST, ADD and GATHER: any table, exact in every runtime that has int8 GATHER.

    Args:
        scope: The file.
        source: What is looked up.
        value: What is found.
        entries: All entries.
        middle: Places of the entries for 0, as broadcast to the source.
    """
    output, shape = scope.quantization(value), scope.shape(value)
    wide = scope.intermediate(f"{value.name}_int32", shape, None, "int32")
    casting = options(
        "CastOptions", inDataType=schema.TensorType.INT8, outDataType=schema.TensorType.INT32
    )
    scope.operator("CAST", [scope.index(source)], [wide], casting, 3)
    index = scope.intermediate(f"{value.name}_index", shape, None, "int32")
    lowest = scope.constant("lowest", middle)
    scope.operator("ADD", [wide, lowest], [index], options("AddOptions"))
    table = scope.constant(f"{value.name}_table", entries, output)
    version = 2 if output.dtype == "int8" else 4
    scope.operator(
        "GATHER", [table, index], [scope.result(value)], options("GatherOptions", axis=0), version
    )


def _interpolated(scope: Scope, node: ir.Node) -> None:
    """int16: the operators of LiteRT that interpolate the same 513 entries."""
    source, value = required(node.inputs[0]), node.outputs[0]
    meaning, output = scope.quantization(source), scope.quantization(value)
    entries = scope.numbers(node.inputs[1])
    for function, version in _available(scope.profile, "int16"):
        name, attributes = function.onnx
        found = function_table_int16(name, attributes, meaning, output, scope.profile)
        if found is not None and np.array_equal(found, entries):
            chosen = _named(function)
            inputs, outputs = [scope.index(source)], [scope.result(value)]
            scope.operator(function.operator, inputs, outputs, chosen, version)
            return
    raise RefusedError(
        "no int16 kernel of TFLite computes this function as the graph does",
        "keep this tensor at int8",
    )


def _sigmoid(scope: Scope, node: ir.Node) -> None:
    """int16 LOGISTIC and TANH, which interpolate one table of sigmoids."""
    source, value = required(node.inputs[0]), node.outputs[0]
    meaning = scope.quantization(source)
    natural = TensorQuantization("int16", (INT16_OUTPUT_SCALE,), (0,))
    expect_equal(scope.quantization(value), natural)
    logistic = node.op_type == "SigmoidInteger16"
    wanted = (logistic_scale if logistic else tanh_scale)(meaning.scale[0])
    stated = (scope.number(node.inputs[2]), scope.number(node.inputs[3]))
    if stated != (wanted.multiplier, wanted.shift):
        raise RefusedError("its constants are not those of its input scale")
    name = "LOGISTIC" if logistic else "TANH"
    scope.operator(name, [scope.index(source)], [scope.result(value)], None, 3)


def _available(profile: Profile, dtype: str) -> Iterator[tuple[Function, int]]:
    """The functions with a kernel of that type in the runtime of a profile."""
    for function in _FUNCTIONS:
        version = function.versions[dtype == "int16"]
        present = profile.name != MICRO_PROFILE or function.operator in MICRO_OPERATORS
        if present and version is not None:
            yield function, version


def _named(function: Function) -> Any:
    if function.options is None:
        return None
    kind, fields = function.options
    return options(kind, **fields)


def kernels(
    meaning: TensorQuantization,
    output: TensorQuantization,
    entries: NDArray[Any],
    profile: Profile,
) -> Iterator[Kernel]:
    """The operators of TFLite with one int8 input, and what they compute here.

    Args:
        meaning: Quantization of the input.
        output: Quantization of the result.
        entries: The wanted table, from which the slope of LEAKY_RELU is guessed.
        profile: The arithmetic profile.
    """
    with contextlib.suppress(ValueError):  # scales too far apart for any multiplier
        yield from _clamps(meaning, output, profile)
    for function, version in _available(profile, "int8"):
        if function.output not in (None, (output.scale[0], output.zero_point[0])):
            continue
        name, attributes = function.onnx
        with contextlib.suppress(ValueError):  # scales that the kernel does not take
            found = function_table(name, attributes, meaning, output, profile)
            if found is not None:
                yield Kernel(function.operator, version, found, _named(function))
    with contextlib.suppress(ValueError):
        yield from _leaky_relus(meaning, output, entries, profile)


def _clamps(
    meaning: TensorQuantization, output: TensorQuantization, profile: Profile
) -> Iterator[Kernel]:
    """RELU and its relatives."""
    fixed = quantize_multiplier(profile.scale("relu", meaning.scale, output.scale[0]))
    for relu in RELUS:
        if not relu.rescales(profile) and meaning != output:
            continue
        low, high = activation_limits(relu.activation, output)
        entries = requantize(
            _CODES - meaning.zero_point[0],
            fixed,
            profile.rounding("relu"),
            output.zero_point[0],
            low,
            high,
            "int8",
        )
        if profile.name != MICRO_PROFILE or relu.operator in MICRO_OPERATORS:
            yield Kernel(relu.operator, relu.versions[0], entries, None)


def _leaky_relus(
    meaning: TensorQuantization, output: TensorQuantization, entries: NDArray[Any], profile: Profile
) -> Iterator[Kernel]:
    """LEAKY_RELU with the slopes that the table leaves possible, the roundest first."""
    rounding, narrow = profile.rounding("leaky_relu"), "leaky_relu" in profile.narrow
    for alpha in _slopes(meaning, output, entries):
        found = leaky_relu_table(meaning, output, alpha, rounding, narrow)
        yield Kernel("LEAKY_RELU", 1, found, options("LeakyReluOptions", alpha=alpha))


def _slopes(
    meaning: TensorQuantization, output: TensorQuantization, entries: NDArray[Any]
) -> list[float]:
    """Slopes of which each negative input's entry could be the rounded product."""
    steps = (_CODES - meaning.zero_point[0]).astype(np.float64) * meaning.scale[0]
    levels = (entries.astype(np.float64) - output.zero_point[0]) * output.scale[0]
    inner = (steps < 0) & (entries > output.minimum) & (entries < output.maximum)
    if not inner.any():
        return []
    # Two roundings in a row are up to three quarters of a step off, not half a one.
    slack = 0.75 * output.scale[0]
    highest = float(np.min((levels[inner] - slack) / steps[inner]))
    lowest = max(0.0, float(np.max((levels[inner] + slack) / steps[inner])))
    if lowest > highest:
        return []
    found: list[float] = []
    for digits in range(1, _DIGITS + 1):
        unit = 10.0**-digits
        first, last = int(np.ceil(lowest / unit)), int(np.floor(highest / unit))
        found += [n * unit for n in range(first, min(last, first + _MOST_SLOPES) + 1)]
    found += [2.0**-k for k in range(8) if lowest <= 2.0**-k <= highest]
    found += np.linspace(lowest, highest, _MOST_SLOPES).tolist()
    return list(dict.fromkeys(float(np.float32(alpha)) for alpha in found))


EMITTERS: dict[str, Emitter] = {
    "SigmoidInteger16": _sigmoid,
    "Table": _table,
    "TableChannelwise": _table_channelwise,
    "TableInterpolated": _interpolated,
    "TanhInteger16": _sigmoid,
}
