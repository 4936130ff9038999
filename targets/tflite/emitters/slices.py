"""SLICE for steps of one, else STRIDED_SLICE."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from intaglio.targets.move_operands import slice_operands
from intaglio.targets.tflite.emitters.moves import move_ends
from intaglio.targets.tflite.emitters.options import options
from intaglio.targets.tflite.emitters.scope import Emitter, Scope


def _slice(scope: Scope, node: ir.Node) -> None:
    """SLICE for steps of one, else STRIDED_SLICE."""
    source, value = move_ends(scope, node)
    shape = scope.shape(source)
    cuts = [slice(0, size, 1) for size in shape]
    for axis, start, end, step in slice_operands(scope, node, len(shape)):
        cuts[axis] = _cut(shape[axis], start, end, step)
    _append_slice(scope, source, value, cuts)


def _cut(size: int, start: int, end: int, step: int) -> slice:
    """ONNX's start and end within the axis; an end of -1 means before the first element."""
    first, last = (start + size if start < 0 else start), (end + size if end < 0 else end)
    if step > 0:
        return slice(min(max(first, 0), size), min(max(last, 0), size), step)
    return slice(min(max(first, 0), size - 1), min(max(last, -1), size - 1), step)


def _append_slice(scope: Scope, source: ir.Value, value: ir.Value, cuts: Sequence[slice]) -> None:
    dtype, shape = scope.quantization(value).dtype, scope.shape(value)
    data, target = scope.index(source), scope.result(value)
    rank, wide = len(shape), dtype == "int16"
    begin = scope.parameter("begin", [cut.start for cut in cuts])
    if all(cut.step == 1 for cut in cuts):
        inputs = [data, begin, scope.parameter("size", shape)]
        version = slice_version(rank, dtype)
        scope.operator("SLICE", inputs, [target], options("SliceOptions"), version)
        return
    # An end before the first element cannot be written as a number.
    mask = sum(1 << axis for axis, cut in enumerate(cuts) if cut.stop < 0)
    inputs = [
        data,
        begin,
        scope.parameter("end", [cut.stop for cut in cuts]),
        scope.parameter("strides", [cut.step for cut in cuts]),
    ]
    version = 4 if rank > 4 else 1 if wide else 2
    chosen = options("StridedSliceOptions", endMask=mask)
    scope.operator("STRIDED_SLICE", inputs, [target], chosen, version)


def slice_version(rank: int, dtype: str) -> int:
    """Lowest version of SLICE for tensors of this rank and type."""
    return 5 if rank > 4 else 4 if dtype == "int16" else 2


EMITTERS: dict[str, Emitter] = {"Slice": _slice}
