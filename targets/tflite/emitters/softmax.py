"""SOFTMAX over the last axis; another axis is brought there first."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.tflite.emitters.multipliers import expect_equal, expect_fixed
from intaglio.targets.tflite.emitters.options import options
from intaglio.targets.tflite.emitters.scope import Emitter, Scope, required
from intaglio.targets.tflite.emitters.transposes import reshape, transpose
from intaglio.transforms.scales import TensorQuantization
from intaglio.transforms.softmax import exp_table, int16_scale, int16_tables

_INT8_RESULT = TensorQuantization("int8", (1 / 256,), (-128,))
_INT16_RESULT = TensorQuantization("int16", (1 / 32768,), (0,))
_OTHER_TABLES = "its tables are not those of its input scale and profile"


def _narrow(scope: Scope, node: ir.Node) -> None:
    meaning = scope.quantization(required(node.inputs[0]))
    expect_equal(scope.quantization(node.outputs[0]), _INT8_RESULT)
    if not np.array_equal(scope.numbers(node.inputs[1]), exp_table(meaning.scale[0])):
        raise RefusedError(_OTHER_TABLES)
    _softmax(scope, node)


def _wide(scope: Scope, node: ir.Node) -> None:
    """int16: two interpolated tables, which runtimes fill in their own precision."""
    meaning = scope.quantization(required(node.inputs[0]))
    expect_equal(scope.quantization(node.outputs[0]), _INT16_RESULT)
    precise = scope.profile.kernel("softmax", "int16") == "float64_tables"
    tables = int16_tables(np.float64 if precise else np.float32)
    stated = [scope.numbers(value) for value in node.inputs[1:3]]
    if not all(np.array_equal(a, b) for a, b in zip(tables, stated, strict=True)):
        raise RefusedError(_OTHER_TABLES)
    factor = int16_scale(meaning.scale[0])
    expect_fixed(scope, node.inputs[3], node.inputs[4], factor.multiplier, factor.shift)
    _softmax(scope, node)


def _softmax(scope: Scope, node: ir.Node) -> None:
    source, value = required(node.inputs[0]), node.outputs[0]
    meaning, output = scope.quantization(source), scope.quantization(value)
    shape = scope.shape(source)
    axis = node.attributes.get_int("axis", -1) % len(shape)
    data, target = scope.index(source), scope.result(value)
    last = axis == len(shape) - 1
    order = [a for a in range(len(shape)) if a != axis] + [axis]
    turned = tuple(shape[a] for a in order)
    if not last:
        moved = scope.intermediate("turned", turned, meaning, meaning.dtype)
        transpose(scope, data, moved, shape, order, meaning)
        data = moved
    result = target if last else scope.intermediate("probabilities", turned, output, output.dtype)
    _last_axis(scope, data, result, turned, (meaning, output))
    if not last:
        back = [int(a) for a in np.argsort(order)]
        transpose(scope, result, target, turned, back, output)


def _last_axis(
    scope: Scope,
    data: int,
    target: int,
    shape: tuple[int, ...],
    meanings: tuple[TensorQuantization, TensorQuantization],
) -> None:
    if len(shape) <= 4:
        _append(scope, data, target, meanings[0].dtype)
        return
    rows = (math.prod(shape[:-1]), shape[-1])
    flat = scope.intermediate("rows", rows, meanings[0], meanings[0].dtype)
    reshape(scope, data, flat, rows)
    result = scope.intermediate("row_probabilities", rows, meanings[1], meanings[1].dtype)
    _append(scope, flat, result, meanings[0].dtype)
    reshape(scope, result, target, shape)


def _append(scope: Scope, data: int, target: int, dtype: str) -> None:
    version = 3 if dtype == "int16" else 2
    scope.operator("SOFTMAX", [data], [target], options("SoftmaxOptions", beta=1.0), version)


EMITTERS: dict[str, Emitter] = {"SoftmaxInteger": _narrow, "SoftmaxInteger16": _wide}
