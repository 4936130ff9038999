"""Layers that take one image, for tensors of several: between copies, a layer for each."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from intaglio.targets.c.grouping.reader import Begun, Reader
from intaglio.targets.c.grouping.shapes import Freedom
from intaglio.targets.c.network import Block, Layer, Move, Tensor


def for_each_image(
    reader: Reader,
    source: Tensor,
    value: ir.Value,
    nodes: tuple[ir.Node, ...],
    make: Callable[[Begun], Layer],
    freedom: Freedom = Freedom.ANY,
) -> None:
    """Appends what makes ``value``: one layer, or one for each image.

    Args:
        reader: The reader.
        source: Tensor that is read.
        value: The result, four-dimensional; its first axis counts the images.
        nodes: What the layer stands for.
        make: Gives the layer of one image.
        freedom: Which shapes of its result the layer does not mind.
    """
    shape = reader.shape(value)
    batch = shape[0]
    if batch == 1:
        target = reader.new(value, freedom=freedom)
        reader.layers.append(make(reader.begin([source], target, *nodes)))
        return
    target = reader.new(value)
    size, result = source.size // batch, target.size // batch
    one = (1, *source.shape[1:]) if len(source.shape) == 4 else (1, size)
    made: list[Tensor] = []
    for index in range(batch):
        image = reader.part(source, f"{source.name}_image_{index}", one)
        cut = Block(0, (size,), (1,), index * size, (1,), 0)
        reader.layers.append(Move(*reader.begin([source], image, *nodes), (cut,)))
        made.append(reader.part(target, f"{target.name}_image_{index}", (1, *shape[1:])))
        reader.layers.append(make(reader.begin([image], made[-1], *nodes)))
    joined = [Block(index, (result,), (1,), 0, (1,), index * result) for index in range(batch)]
    reader.layers.append(Move(*reader.begin(made, target, *nodes), tuple(joined)))
