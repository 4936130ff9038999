"""DEPTH_TO_SPACE and SPACE_TO_DEPTH."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from intaglio.targets.tflite.emitters.moves import gather
from intaglio.targets.tflite.emitters.multipliers import expect_equal
from intaglio.targets.tflite.emitters.options import options
from intaglio.targets.tflite.emitters.products import reshape
from intaglio.targets.tflite.emitters.scope import Emitter, Scope
from intaglio.targets.tflite.emitters.transposes import coalesced, transpose


def _depth_to_space(scope: Scope, node: ir.Node) -> None:
    """TFLite's order is ONNX's DCR; in CRD the channels are brought into that order first."""
    source, value = scope.outside(node.inputs[0]), scope.behind(node.outputs[0])
    meaning = scope.quantization(value)
    expect_equal(scope.quantization(source), meaning)
    block = node.attributes.get_int("blocksize", 1)
    data, shape = scope.index(source), scope.shape(source)
    batch, height, width, channels = shape
    kept = channels // (block * block)
    column_row = node.attributes.get_string("mode", "DCR") == "CRD" and kept > 1
    if meaning.dtype == "int16":
        cut = [
            batch,
            height,
            width,
            *((kept, block, block) if column_row else (block, block, kept)),
        ]
        order = [0, 1, 4, 2, 5, 3] if column_row else [0, 1, 3, 2, 4, 5]
        _by_transpose(scope, data, cut, order, value)
        return
    if column_row:
        places = np.arange(channels).reshape(kept, block * block).T.reshape(-1)
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
    if meaning.dtype == "int16":
        cut = [batch, height // block, block, width // block, block, channels]
        _by_transpose(scope, scope.index(source), cut, [0, 1, 3, 2, 4, 5], value)
        return
    chosen = options("SpaceToDepthOptions", blockSize=block)
    inputs, outputs = [scope.index(source)], [scope.result(value)]
    scope.operator("SPACE_TO_DEPTH", inputs, outputs, chosen, 2)


def _by_transpose(
    scope: Scope, data: int, cut: Sequence[int], order: Sequence[int], value: ir.Value
) -> None:
    """RESHAPE, TRANSPOSE, RESHAPE: the kernels of the operator itself have no int16."""
    meaning = scope.quantization(value)
    sizes, order = coalesced(cut, order)
    blocks = scope.intermediate(f"{value.name}_blocks", sizes, meaning, meaning.dtype)
    reshape(scope, data, blocks, tuple(sizes))
    turned_sizes = [sizes[axis] for axis in order]
    turned = scope.intermediate(f"{value.name}_turned", turned_sizes, meaning, meaning.dtype)
    transpose(scope, blocks, turned, order, meaning.dtype)
    reshape(scope, turned, scope.result(value), scope.shape(value))


EMITTERS: dict[str, Emitter] = {
    "DepthToSpace": _depth_to_space,
    "DepthToSpaceInteger16": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "SpaceToDepthInteger16": _space_to_depth,
}
