"""Table: the TFLite operator whose kernel has exactly these 256 entries, else a GATHER."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.tflite.emitters.activations import activation_limits
from intaglio.targets.tflite.emitters.options import options
from intaglio.targets.tflite.emitters.scope import Emitter, Scope, required
from intaglio.targets.tflite.schema import schema
from intaglio.transforms.fixed_point import quantize_multiplier, requantize
from intaglio.transforms.kernel_tables import hard_swish_table, leaky_relu_table
from intaglio.transforms.profiles import Profile
from intaglio.transforms.scales import TensorQuantization
from intaglio.transforms.tables import bind, table_int8, table_int16

_CODES = np.arange(-128, 128, dtype=np.int64)


class Lookup(NamedTuple):
    """An operator that both runtimes of TFLite or one of them compute by a table of its own.

    Attributes:
        operator: Its name.
        version: Its version for int8.
        function: The real function.
        output: Scale and zero point that its result must have; None for any.
        profiles: Where its entries are the function rounded once. Measured on LiteRT 2.3's
            reference kernels and TFLite Micro; elsewhere it rounds otherwise or is missing.
        options: Table of its options and their fields, or None.
    """

    operator: str
    version: int
    function: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    output: tuple[float, int] | None
    profiles: tuple[str, ...]
    options: tuple[str, dict[str, Any]] | None = None


_BOTH = ("tflm", "litert")
LOOKUPS = (
    Lookup("LOGISTIC", 2, bind("Sigmoid"), (1 / 256, -128), _BOTH),
    Lookup("TANH", 2, bind("Tanh"), (1 / 128, 0), _BOTH),
    Lookup("ABS", 2, bind("Abs"), None, ("tflm",), ("AbsOptions", {})),
    Lookup("RSQRT", 2, lambda x: 1.0 / np.sqrt(x), None, ("tflm",)),
    Lookup("EXP", 2, bind("Exp"), None, ("litert",), ("ExpOptions", {})),
    Lookup("LOG", 2, bind("Log"), None, ("litert",)),
    Lookup("GELU", 2, bind("Gelu"), None, ("litert",), ("GeluOptions", {"approximate": False})),
    Lookup(
        "GELU",
        2,
        bind("Gelu", {"approximate": "tanh"}),
        None,
        ("litert",),
        ("GeluOptions", {"approximate": True}),
    ),
)
#: Operators of LiteRT that look int16 values up in a table of 513 entries.
_INT16 = ("EXP", "GELU")
_ACTIVATIONS = schema.ActivationFunctionType
#: Clamps by themselves: operator, activation and version.
_RELUS = (
    ("RELU", _ACTIVATIONS.RELU, 2),
    ("RELU6", _ACTIVATIONS.RELU6, 2),
    ("RELU_N1_TO_1", _ACTIVATIONS.RELU_N1_TO_1, 1),
)


class Kernel(NamedTuple):
    """A TFLite operator that might compute a table.

    Attributes:
        operator: Its name.
        version: Its version.
        entries: Its 256 results.
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
    _looked_up(scope, source, value, entries)


def _looked_up(scope: Scope, source: ir.Value, value: ir.Value, entries: NDArray[Any]) -> None:
    """CAST, ADD and GATHER: any table, exact in every runtime that has int8 GATHER."""
    output, shape = scope.quantization(value), scope.shape(value)
    wide = scope.intermediate(f"{value.name}_int32", shape, None, "int32")
    casting = options(
        "CastOptions", inDataType=schema.TensorType.INT8, outDataType=schema.TensorType.INT32
    )
    scope.operator("CAST", [scope.index(source)], [wide], casting, 3)
    index = scope.intermediate(f"{value.name}_index", shape, None, "int32")
    lowest = scope.constant("lowest", np.array([128], np.int32))
    scope.operator("ADD", [wide, lowest], [index], options("AddOptions"))
    table = scope.constant(f"{value.name}_table", entries, output)
    version = 2 if output.dtype == "int8" else 4
    scope.operator(
        "GATHER", [table, index], [scope.result(value)], options("GatherOptions", axis=0), version
    )
    scope.notes.append(f"{value.name}: a table that no TFLite operator computes, as GATHER")


def _interpolated(scope: Scope, node: ir.Node) -> None:
    """int16: the operators of LiteRT that look up the same 513 entries."""
    source, value = required(node.inputs[0]), node.outputs[0]
    meaning, output = scope.quantization(source), scope.quantization(value)
    entries = scope.numbers(node.inputs[1])
    for lookup in LOOKUPS:
        if lookup.operator not in _INT16 or scope.profile.name != "litert":
            continue
        try:
            found = table_int16(lookup.function, meaning, output)
        except ValueError:
            continue
        if np.array_equal(found, entries) and lookup.options is not None:
            chosen = options(lookup.options[0], **lookup.options[1])
            inputs, outputs = [scope.index(source)], [scope.result(value)]
            scope.operator(lookup.operator, inputs, outputs, chosen, lookup.version)
            return
    raise RefusedError(
        "no int16 kernel of TFLite computes this function as the graph does",
        "keep this tensor at int8",
    )


def kernels(
    meaning: TensorQuantization, output: TensorQuantization, entries: NDArray[Any], profile: Profile
) -> Iterator[Kernel]:
    """The operators of TFLite with one int8 input, and what they compute here.

    Args:
        meaning: Quantization of the input.
        output: Quantization of the result.
        entries: The wanted table, from which the slope of LEAKY_RELU is guessed.
        profile: The arithmetic profile.
    """
    yield from _clamps(meaning, output, profile)
    for lookup in LOOKUPS:
        fixed = lookup.output is None or lookup.output == (output.scale[0], output.zero_point[0])
        if fixed and profile.name in lookup.profiles:
            try:
                found = table_int8(lookup.function, meaning, output)
            except ValueError:
                continue  # not defined for some input
            chosen = (
                None if lookup.options is None else options(lookup.options[0], **lookup.options[1])
            )
            yield Kernel(lookup.operator, lookup.version, found, chosen)
    with contextlib.suppress(ValueError):  # scales that HARD_SWISH does not take
        entries_of = hard_swish_table(meaning, output)
        yield Kernel("HARD_SWISH", 1, entries_of, options("HardSwishOptions"))
    yield from _leaky_relus(meaning, output, entries, profile)


def _clamps(
    meaning: TensorQuantization, output: TensorQuantization, profile: Profile
) -> Iterator[Kernel]:
    """RELU and its relatives; those of TFLite Micro but RELU do not rescale."""
    ratio = np.float32(meaning.scale[0]) / np.float32(output.scale[0])
    rounding = profile.rounding("requantize")
    for operator, activation, version in _RELUS:
        if (
            operator != "RELU"
            and (meaning != output or operator == "RELU_N1_TO_1")
            and (profile.name != "litert")
        ):
            continue
        low, high = activation_limits(activation, output)
        entries = requantize(
            _CODES - meaning.zero_point[0],
            quantize_multiplier(float(ratio)),
            rounding,
            output.zero_point[0],
            low,
            high,
            "int8",
        )
        yield Kernel(operator, version, entries, None)


def _leaky_relus(
    meaning: TensorQuantization, output: TensorQuantization, entries: NDArray[Any], profile: Profile
) -> Iterator[Kernel]:
    """LEAKY_RELU with the slopes that the table leaves possible, the roundest first."""
    rounding = profile.rounding("leaky_relu")
    for alpha in _slopes(meaning, output, entries):
        found = leaky_relu_table(meaning, output, alpha, rounding)
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
    half = output.scale[0] / 2
    highest = float(np.min((levels[inner] - half) / steps[inner]))
    lowest = float(np.max((levels[inner] + half) / steps[inner]))
    if lowest > highest or highest < 0:
        return []
    found = []
    for digits in range(1, 5):
        unit = 10.0**-digits
        first, last = int(np.ceil(lowest / unit)), int(np.floor(highest / unit))
        found += [n * unit for n in range(max(first, 0), min(last, first + 3) + 1)]
    found += [2.0**-k for k in range(8) if lowest <= 2.0**-k <= highest]
    return [float(np.float32(a)) for a in (*dict.fromkeys(found), (lowest + highest) / 2) if a >= 0]


EMITTERS: dict[str, Emitter] = {"Table": _table, "TableInterpolated": _interpolated}
