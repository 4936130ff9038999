"""Pools, reductions over axes, and linear resizing."""

from __future__ import annotations

import onnx_ir as ir

from intaglio.targets.c.grouping.functions import constants
from intaglio.targets.c.grouping.images import for_each_image
from intaglio.targets.c.grouping.reader import Begun, Grouping, Reader
from intaglio.targets.c.grouping.shapes import Freedom
from intaglio.targets.c.grouping.stages import integers, output_stage
from intaglio.targets.c.grouping.windows import read_window
from intaglio.targets.c.network import Pool, Reduction, ResizeLinear
from intaglio.targets.integer_graph import required


def _pool(reader: Reader, node: ir.Node) -> None:
    source, value = reader.outside(node.inputs[0]), reader.behind(node.outputs[0])
    kernel = integers(node, "kernel_shape", [])
    window = read_window(node, reader.shape(source), reader.shape(value), kernel)
    average = node.op_type == "AveragePoolInteger"
    for_each_image(
        reader, reader.tensor(source), value, (node,), lambda begun: Pool(*begun, window, average)
    )


def _sum(reader: Reader, node: ir.Node) -> None:
    """Means too: the division by the count is part of the multiplier."""
    begun, axes = _reduced(reader, node)
    stage = output_stage(reader, node, 3)
    reader.layers.append(Reduction(*begun, axes, "sum", reader.number(node.inputs[2]), stage))


def _extreme(reader: Reader, node: ir.Node) -> None:
    begun, axes = _reduced(reader, node)
    kind = "max" if node.op_type == "ReduceMaxInteger" else "min"
    reader.layers.append(Reduction(*begun, axes, kind))


def _reduced(reader: Reader, node: ir.Node) -> tuple[Begun, tuple[int, ...]]:
    shape = reader.shape(required(node.inputs[0]))
    source = reader.shaped(node.inputs[0])
    # The tensor may lack leading axes of size one.
    offset = len(source.shape) - len(shape)
    stated = {int(axis) % len(shape) for axis in reader.numbers(node.inputs[1]).reshape(-1)}
    axes = tuple(axis + offset for axis in sorted(stated) if axis + offset >= 0)
    return reader.begin([source], reader.new(node.outputs[0]), node), axes


def _resize(reader: Reader, node: ir.Node) -> None:
    source, value = reader.outside(node.inputs[0]), reader.behind(node.outputs[0])
    taps = constants(reader, node)
    for_each_image(
        reader,
        reader.shaped(source),
        value,
        (node,),
        lambda begun: ResizeLinear(*begun, taps),
        Freedom.NONE,
    )


GROUPINGS: dict[str, Grouping] = {
    **dict.fromkeys(("AveragePoolInteger", "MaxPool", "MaxPoolInteger16"), _pool),
    **dict.fromkeys(("MeanDouble", "MeanSingle", "SumDouble", "SumSingle"), _sum),
    **dict.fromkeys(("ReduceMaxInteger", "ReduceMinInteger"), _extreme),
    "ResizeLinearInteger": _resize,
}
