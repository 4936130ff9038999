"""DEPTH_TO_SPACE and SPACE_TO_DEPTH."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from intaglio.targets.tflite.emitters.channel_order import column_row_order
from intaglio.targets.tflite.emitters.moves import gather
from intaglio.targets.tflite.emitters.multipliers import expect_equal
from intaglio.targets.tflite.emitters.options import options
from intaglio.targets.tflite.emitters.scope import Emitter, Scope
from intaglio.targets.tflite.emitters.transposes import transpose_blocks


def _depth_to_space(scope: Scope, node: ir.Node) -> None:
    """TFLite's order is ONNX's DCR; in CRD the channels are brought into that order first."""
    source, value = scope.outside(node.inputs[0]), scope.behind(node.outputs[0])
    meaning = scope.quantization(value)
    expect_equal(scope.quantization(source), meaning)
    block = node.attributes.get_int("blocksize", 1)
    data, shape = scope.index(source), scope.shape(source)
    batch, height, width, channels = shape
    places = None if source in scope.reordered else column_row_order(node, channels)
    if meaning.dtype == "int16" or scope.blocks_by_transpose:
        kept = channels // (block * block)
        depths = (block, block, kept) if places is None else (kept, block, block)
        order = [0, 1, 3, 2, 4, 5] if places is None else [0, 1, 4, 2, 5, 3]
        _by_transpose(scope, data, [batch, height, width, *depths], order, value)
        return
    if places is not None:
        moved = scope.intermediate(f"{value.name}_channels", shape, meaning, meaning.dtype)
        gather(scope, data, places, 3, moved, meaning.dtype)
        data = moved
    chosen = options("DepthToSpaceOptions", blockSize=block)
    scope.operator("DEPTH_TO_SPACE", [data], [scope.result(value)], chosen)


def _space_to_depth(scope: Scope, node: ir.Node) -> None:
    source, value = scope.outside(node.inputs[0]), scope.behind(node.outputs[0])
    meaning = scope.quantization(value)
    expect_equal(scope.quantization(source), meaning)
    block = node.attributes.get_int("blocksize", 1)
    batch, height, width, channels = scope.shape(source)
    if meaning.dtype == "int16" or scope.blocks_by_transpose:
        cut = [batch, height // block, block, width // block, block, channels]
        _by_transpose(scope, scope.index(source), cut, [0, 1, 3, 2, 4, 5], value)
        return
    chosen = options("SpaceToDepthOptions", blockSize=block)
    inputs, outputs = [scope.index(source)], [scope.result(value)]
    scope.operator("SPACE_TO_DEPTH", inputs, outputs, chosen, 2)


def _by_transpose(
    scope: Scope, data: int, cut: Sequence[int], order: Sequence[int], value: ir.Value
) -> None:
    """The kernels of the operator itself have no int16, and some devices lack it altogether."""
    target, meaning = scope.result(value), scope.quantization(value)
    transpose_blocks(scope, data, target, cut, order, scope.shape(value), meaning)


EMITTERS: dict[str, Emitter] = {
    "DepthToSpace": _depth_to_space,
    "DepthToSpaceInteger16": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "SpaceToDepthInteger16": _space_to_depth,
}
