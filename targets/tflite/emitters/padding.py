"""PAD with the zero point, PADV2 with another number; other modes repeat elements by GATHER."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike, NDArray

from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.move_operands import pad_operands
from intaglio.targets.tflite.emitters.moves import gather, move_ends
from intaglio.targets.tflite.emitters.options import options
from intaglio.targets.tflite.emitters.scope import Emitter, Scope
from intaglio.targets.tflite.emitters.slices import slice_version
from intaglio.targets.tflite.emitters.transposes import reshape
from intaglio.transforms.scales import TensorQuantization


def _pad(scope: Scope, node: ir.Node) -> None:
    """PAD with the zero point, PADV2 with another number; other modes by GATHER."""
    source, value = move_ends(scope, node)
    meaning, shape = scope.quantization(value), scope.shape(source)
    rank = len(shape)
    amounts, fill = pad_operands(scope, node, rank)
    mode = node.attributes.get_string("mode", "constant")
    if mode != "constant":
        _padded_by_gather(scope, source, value, amounts, mode)
        return
    data, target = scope.index(source), scope.result(value)
    if (amounts < 0).any():
        data = _cropped(scope, data, shape, amounts, meaning)
        amounts = np.maximum(amounts, 0)
    if fill == meaning.zero_point[0]:
        pad(scope, data, amounts, target, meaning.dtype)
        return
    number = scope.constant("fill", np.array([fill], meaning.numpy_dtype), meaning)
    inputs = [data, scope.parameter("paddings", amounts), number]
    version = pad_version(rank, meaning.dtype)
    scope.operator("PADV2", inputs, [target], options("PadV2Options"), version)


def _cropped(
    scope: Scope,
    data: int,
    shape: Sequence[int],
    amounts: NDArray[np.int64],
    meaning: TensorQuantization,
) -> int:
    """Appends a SLICE for negative amounts of padding."""
    crop = -np.minimum(amounts, 0)
    size = [d - int(c.sum()) for d, c in zip(shape, crop, strict=True)]
    target = scope.intermediate("cropped", size, meaning, meaning.dtype)
    inputs = [data, scope.parameter("begin", crop[:, 0]), scope.parameter("size", size)]
    version = slice_version(len(size), meaning.dtype)
    scope.operator("SLICE", inputs, [target], options("SliceOptions"), version)
    return target


def _padded_by_gather(
    scope: Scope, source: ir.Value, value: ir.Value, amounts: NDArray[np.int64], mode: str
) -> None:
    """reflect, edge and wrap repeat elements: a GATHER along every axis that grows."""
    if mode not in ("reflect", "edge", "wrap") or (amounts < 0).any():
        raise RefusedError(f"padding of mode '{mode}' has no TFLite operator")
    meaning, shape = scope.quantization(value), list(scope.shape(source))
    data = scope.index(source)
    changing = [axis for axis, pair in enumerate(amounts) if pair.any()]
    if not changing:
        reshape(scope, data, scope.result(value), tuple(shape))
    for axis in changing:
        places = np.pad(np.arange(shape[axis]), tuple(amounts[axis]), mode=mode)  # type: ignore[call-overload]
        shape[axis] = len(places)
        target = (
            scope.result(value)
            if axis == changing[-1]
            else scope.intermediate(f"{value.name}_axis_{axis}", shape, meaning, meaning.dtype)
        )
        gather(scope, data, places, axis, target, meaning.dtype)
        data = target


def pad(scope: Scope, source: int, amounts: ArrayLike, target: int, dtype: str) -> None:
    """Appends a PAD with the zero point."""
    constant = scope.parameter("paddings", amounts)
    version = pad_version(len(np.asarray(amounts)), dtype)
    scope.operator("PAD", [source, constant], [target], options("PadOptions"), version)


def pad_version(rank: int, dtype: str) -> int:
    """Lowest version of PAD and PADV2 that pads tensors of this rank and type."""
    return 4 if rank > 4 else 3 if dtype == "int16" else 2


EMITTERS: dict[str, Emitter] = {"Pad": _pad}
