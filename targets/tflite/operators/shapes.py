"""RESHAPE, SQUEEZE, EXPAND_DIMS, SHAPE and RANK, and folding of arithmetic on shapes.

A converter writes ``x.reshape(n, -1)`` as SHAPE, STRIDED_SLICE, PACK and RESHAPE. Where the sizes
are known, :func:`fold` leaves nothing of that; where one is open, RESHAPE still sees that it is the
input's own ("keep the first dimension").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from intaglio.targets.tflite.operators.arguments import (
    Size,
    as_int64,
    cast,
    given,
    integers,
    known_integers,
    moving,
    one_axis,
    sizes,
    vector,
)
from intaglio.targets.tflite.operators.folding import FOLDS
from intaglio.targets.tflite.scope import Operator, Reader, Scope


def fold(operator: Operator, scope: Scope) -> bool:
    """Computes an operator on integers whose inputs are all known, at read time.

    Args:
        operator: Any operator.
        scope: Gets the results as constants.

    Returns:
        Whether it was folded; if not, it has to be read.

    Raises:
        InputError: Its constants do not fit together.
    """
    folding = FOLDS.get(operator.name)
    if folding is None or not operator.inputs:
        return False
    if any(t.is_quantized or t.dtype.startswith("float") for t in operator.outputs):
        return False
    inputs = [known_integers(scope, tensor) for tensor in operator.inputs]
    known = [array for array in inputs if array is not None]
    if len(known) != len(inputs):
        return False
    try:
        with np.errstate(all="ignore"):
            results = folding(scope, operator, known)
    except (ValueError, IndexError, TypeError, MemoryError) as error:
        raise scope.damaged(f"has constants that do not fit: {error}") from error
    if len(results) != len(operator.outputs):
        raise scope.damaged(f"has {len(operator.outputs)} outputs, not {len(results)}")
    for tensor, array in zip(operator.outputs, results, strict=True):
        scope.give_constant(tensor, np.asarray(array).astype(tensor.dtype))
    return True


def read_reshape(scope: Scope, operator: Operator) -> None:
    """RESHAPE; the dimensions come from the second input, or from its options."""
    value = moving(scope, operator, operator.inputs[0])
    before = scope.shape(value)
    shape = given(operator, 1)
    if shape is not None and len(shape.shape) == 1:
        wanted = sizes(scope, shape)
    else:
        stated = operator.options.newShape if operator.options is not None else None
        wanted = [] if stated is None else [int(d) for d in stated]
        # Old files mean a scalar by [0].
        wanted = [] if wanted == [0] else wanted
        shape = None
    if sum(1 for size in wanted if size == -1) > 1 or any(
        isinstance(size, int) and size < -1 for size in wanted
    ):
        raise scope.damaged(f"has the shape {wanted}")
    known = [d for d in before if isinstance(d, int)]
    if len(known) == len(before) and all(isinstance(size, int) for size in wanted):
        numbers = _resolved(scope, known, [int(size) for size in wanted if isinstance(size, int)])
        result = value if numbers == known else _reshaped(scope, value, numbers)
    else:
        target = _symbolic(before, wanted)
        if target is not None:
            result = _reshaped(scope, value, target)
        elif shape is not None:
            # TFLite's 0 is a size, not "keep this dimension".
            result = scope.node("Reshape", [value, as_int64(scope, shape)], {"allowzero": 1})
        else:
            raise scope.damaged(f"has the shape {wanted}")
    scope.give(operator.outputs[0], result)


def _resolved(scope: Scope, before: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """``wanted`` with the number that -1 stands for."""
    total = math.prod(before)
    rest = math.prod(size for size in wanted if size != -1)
    numbers = list(wanted)
    if -1 in numbers:
        if rest == 0 or total % rest:
            raise scope.damaged(f"cannot make {list(wanted)} of {list(before)}")
        numbers[numbers.index(-1)] = total // rest
    if math.prod(numbers) != total:
        raise scope.damaged(f"cannot make {list(wanted)} of {list(before)}")
    return numbers


def _symbolic(before: Sequence[Size], wanted: Sequence[Size]) -> list[int] | None:
    """ONNX's form of ``wanted``: 0 keeps a dimension, -1 takes the rest; None if that is not it."""
    target: list[int] = []
    for axis, size in enumerate(wanted):
        if isinstance(size, int):
            if size == 0:
                return None
            target.append(size)
        else:
            same = size is not None and axis < len(before) and before[axis] == size
            target.append(0 if same else -1)
    return target if target.count(-1) <= 1 else None


def _reshaped(scope: Scope, value: ir.Value, target: Sequence[int]) -> ir.Value:
    dims = scope.shape(value)
    # Only a tensor without elements has a dimension of 0 that is meant so.
    empty = bool(dims) and all(isinstance(d, int) for d in dims) and 0 in target
    attributes = {"allowzero": 1} if empty else None
    found: ir.Value = scope.node("Reshape", [value, vector(target)], attributes)
    return found


def read_squeeze(scope: Scope, operator: Operator) -> None:
    """SQUEEZE; without axes, all dimensions of 1 go."""
    value = moving(scope, operator, operator.inputs[0])
    dims = scope.shape(value)
    stated = operator.options.squeezeDims if operator.options is not None else None
    if stated is None or len(stated) == 0:
        axes = [axis for axis, dim in enumerate(dims) if dim == 1]
    else:
        axes = sorted({one_axis(scope, int(a), len(dims)) for a in stated})
    if any(isinstance(dims[a], int) and dims[a] != 1 for a in axes):
        raise scope.damaged(f"removes axes {axes} of {list(dims)}")
    if axes:
        value = scope.node("Squeeze", [value, vector(axes)])
    scope.give(operator.outputs[0], value)


def read_expand_dims(scope: Scope, operator: Operator) -> None:
    """EXPAND_DIMS."""
    value = moving(scope, operator, operator.inputs[0])
    [axis] = integers(scope, operator, 1, "axis") or [0]
    place = one_axis(scope, axis, len(scope.shape(value)) + 1)
    scope.give(operator.outputs[0], scope.node("Unsqueeze", [value, vector([place])]))


def read_shape(scope: Scope, operator: Operator) -> None:
    """SHAPE: a constant where all dimensions are known, else ONNX's Shape."""
    tensor = operator.outputs[0]
    dims = scope.shape(operator.inputs[0])
    if all(isinstance(d, int) for d in dims):
        scope.give_constant(tensor, np.array(dims, tensor.dtype).reshape(len(dims)))
        return
    shape = scope.node("Shape", [scope.value(operator.inputs[0])], dtype="int64")
    scope.give(tensor, cast(scope, shape, tensor.dtype))


def read_rank(scope: Scope, operator: Operator) -> None:
    """RANK: always known."""
    tensor = operator.outputs[0]
    scope.give_constant(tensor, np.array(len(scope.shape(operator.inputs[0])), tensor.dtype))


def read_floor_mod(scope: Scope, operator: Operator) -> None:
    """FLOOR_MOD of integers that are not known: ONNX's Mod has the sign of the divisor, too."""
    if operator.outputs[0].is_quantized or operator.outputs[0].dtype.startswith("float"):
        scope.refuse(
            operator, "it divides real numbers", "write it as x - floor(x / y) * y in the model"
        )
    values = [scope.value(tensor) for tensor in operator.inputs]
    scope.give(operator.outputs[0], scope.node("Mod", values))


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "EXPAND_DIMS": read_expand_dims,
        "FLOOR_MOD": read_floor_mod,
        "RANK": read_rank,
        "RESHAPE": read_reshape,
        "SHAPE": read_shape,
        "SQUEEZE": read_squeeze,
    }
)
