"""PAD, PADV2 and MIRROR_PAD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.targets.tflite.operators.arguments import (
    LARGEST_FOLD,
    given,
    integers,
    moving,
    static_dims,
    vector,
)
from intaglio.targets.tflite.schema import schema
from intaglio.targets.tflite.scope import Operator, Reader, Scope


def read_pad(scope: Scope, operator: Operator) -> None:
    """PAD with zeros (the zero point of a quantized tensor), PADV2 with a number of its own."""
    value = moving(scope, operator, operator.inputs[0])
    pads = _paddings(scope, operator, len(scope.shape(value)))
    if any(before or after for before, after in pads):
        amounts = vector([p[0] for p in pads] + [p[1] for p in pads])
        fill = [] if given(operator, 2) is None else [_fill(scope, operator)]
        value = scope.node("Pad", [value, amounts, *fill])
    scope.give(operator.outputs[0], value)


def _fill(scope: Scope, operator: Operator) -> ir.Value | NDArray[Any]:
    tensor = given(operator, 2)
    constant = scope.constant(tensor)
    if constant is None:
        number: ir.Value = scope.value(tensor)
        return number
    if constant.size != 1:
        raise scope.damaged(f"pads with {constant.size} numbers, not one")
    return constant.reshape(())


def read_mirror_pad(scope: Scope, operator: Operator) -> None:
    """MIRROR_PAD: REFLECT is ONNX's reflect; SYMMETRIC, which it lacks, a Gather for each axis."""
    value = moving(scope, operator, operator.inputs[0])
    pads = _paddings(scope, operator, len(scope.shape(value)))
    if operator.options.mode == schema.MirrorPadMode.REFLECT:
        _check_reach(scope, scope.shape(value), pads, 1)
        if any(before or after for before, after in pads):
            amounts = vector([p[0] for p in pads] + [p[1] for p in pads])
            value = scope.node("Pad", [value, amounts], {"mode": "reflect"})
        scope.give(operator.outputs[0], value)
        return
    dims = static_dims(scope, operator, value, "MIRROR_PAD SYMMETRIC")
    _check_reach(scope, dims, pads, 0)
    if max((d for d, p in zip(dims, pads, strict=True) if any(p)), default=0) > LARGEST_FOLD:
        scope.refuse(operator, f"it mirrors a tensor of {dims}", "cut the tensor into parts")
    for axis, (before, after) in enumerate(pads):
        if not before and not after:
            continue
        places = np.pad(np.arange(dims[axis], dtype=np.int64), (before, after), "symmetric")
        value = scope.node("Gather", [value, places], {"axis": axis})
    scope.give(operator.outputs[0], value)


def _check_reach(
    scope: Scope, dims: Sequence[object], pads: Sequence[tuple[int, int]], edge: int
) -> None:
    """A mirror shows each element once: no more than the tensor has (less its edge)."""
    for dim, amounts in zip(dims, pads, strict=True):
        if isinstance(dim, int) and max(amounts) > max(0, dim - edge):
            raise scope.damaged(f"mirrors {max(amounts)} of {dim} elements")


def _paddings(scope: Scope, operator: Operator, rank: int) -> list[tuple[int, int]]:
    """(before, after) of each axis."""
    numbers = integers(scope, operator, 1, "paddings")
    if len(numbers) != 2 * rank or min(numbers, default=0) < 0:
        raise scope.damaged(f"has the paddings {numbers} for {rank} dimensions")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


READERS: Mapping[str, Reader] = MappingProxyType(
    {"MIRROR_PAD": read_mirror_pad, "PAD": read_pad, "PADV2": read_pad}
)
