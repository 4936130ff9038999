"""Recognizes TinyLUT's own structure: the inverse of :mod:`.write_branches`.

The two batches of turned images have a pipeline each, of the same constants; both are read, and
must be the same network.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.table_networks.matching import (
    GraphReader,
    integer,
    integers,
    present,
    require,
    require_attributes,
)
from intaglio.passes.table_networks.write_branches import TURNS
from intaglio.transforms.table_networks.reference import (
    REACH,
    TAPS,
    Branch,
    ReferenceNetwork,
    Stage,
)


def read_reference(reader: GraphReader, image: ir.Value, result: ir.Value) -> ReferenceNetwork:
    """Reads a network with branches and rotations.

    Args:
        reader: Of the graph.
        image: The graph's input.
        result: Its output.

    Raises:
        NoMatchError: It is not one.
        ValueError: Its tables do not fit together.
    """
    last = reader.maker(result, "TurnedSum")
    require(last.inputs[0] is image)
    upscale = integer(last, "upscale")
    found = []
    for (_, perm, steps), cells in zip(TURNS, last.inputs[1:], strict=True):
        branches = _read_side(reader, image, cells, perm, steps)
        found.append(branches)
    require(len(found[0]) == len(found[1]))
    for one, other in zip(*found, strict=True):
        require(_same(one, other))
    return ReferenceNetwork(tuple(found[0]), upscale)


def _read_side(
    reader: GraphReader,
    image: ir.Value,
    cells: ir.Value | None,
    perm: tuple[int, ...],
    steps: tuple[int, ...],
) -> list[Branch]:
    ends = [cells]
    if reader.is_made_by(cells, "BranchSum"):
        ends = list(reader.maker(cells, "BranchSum").inputs)
    branches, turned = [], set()
    for end in ends:
        branch, start = _BranchReader(reader).read(end)
        node = reader.maker(start, "TurnPair")
        require(node.inputs[0] is image)
        require(integers(node, "perm") == perm and integers(node, "steps") == steps)
        branches.append(branch)
        turned.add(node)
    require(len(turned) == 1)
    return branches


class _BranchReader:
    """Reads one branch from its end."""

    def __init__(self, reader: GraphReader) -> None:
        self._reader = reader
        self._low = 0
        self._high = 0
        self._channels = 0

    def read(self, end: ir.Value | None) -> tuple[Branch, ir.Value | None]:
        """Returns the branch and the image that it reads."""
        reader = self._reader
        last = reader.maker(end, "BranchMean")
        require((integer(last, "low"), integer(last, "high")) == (-128, 127))
        lookup = reader.maker(last.inputs[0], "AdditiveLut")
        up = reader.constant(lookup.inputs[1])
        require(up.ndim == 3 and integer(last, "count") == up.shape[0])
        self._channels, self._low = up.shape[0], integer(lookup, "low")
        self._high = self._low + up.shape[1] - 1
        require_attributes(lookup, low=self._low)
        features = last.inputs[1]
        require(lookup.inputs[0] is features)
        stages: list[Stage] = []
        while not self._is_stem(features):
            stage, features = self._stage(features)
            stages.append(stage)
        stem, scale, index = self._stem(features)
        node = reader.maker(index, "BranchIndex")
        require(integer(node, "low") == self._low)
        require(integer(node, "mask") == self._high - self._low)
        branch = Branch(
            index_shift=integer(node, "shift"),
            low=self._low,
            stem=stem,
            stages=tuple(reversed(stages)),
            up=up,
            stem_scale=scale,
        )
        return branch, node.inputs[0]

    def _is_stem(self, features: ir.Value | None) -> bool:
        """Whether ``features`` are those behind the stem, its scale included."""
        node = present(self._in_front_of_scale(features).producer())
        require(len(node.inputs) == 2)
        return self._reader.is_made_by(node.inputs[1], "BranchIndex")

    def _stem(
        self, features: ir.Value | None
    ) -> tuple[NDArray[Any], NDArray[Any] | None, ir.Value | None]:
        """Tables, scale, and the pixels' own levels."""
        reader = self._reader
        scale, features = self._scale(features)
        lookup, own = self._mean(features, TAPS)
        require_attributes(lookup, kernel_shape=(3, 3), low=self._low)
        border = reader.maker(lookup.inputs[0], "ReflectBefore")
        require(integer(border, "reach") == REACH and border.inputs[0] is own)
        return reader.constant(lookup.inputs[1]), scale, own

    def _stage(self, features: ir.Value | None) -> tuple[Stage, ir.Value | None]:
        reader = self._reader
        pointwise_scale, features = self._scale(features)
        lookup, before = self._mean(features, self._channels)
        require_attributes(lookup, low=self._low)
        require(lookup.inputs[0] is before)
        pointwise = reader.constant(lookup.inputs[1])
        depthwise = depthwise_scale = None
        if self._is_behind_depthwise(before):
            depthwise_scale, before = self._scale(before)
            node, first = self._mean(before, TAPS, "BranchDepthwise")
            require(integer(node, "low") == self._low and node.inputs[0] is first)
            depthwise = reader.constant(node.inputs[1])
            before = first
        return Stage(pointwise, pointwise_scale, depthwise, depthwise_scale), before

    def _is_behind_depthwise(self, features: ir.Value | None) -> bool:
        node = self._in_front_of_scale(features).producer()
        return node is not None and self._reader.is_made_by(node.inputs[0], "BranchDepthwise")

    def _in_front_of_scale(self, features: ir.Value | None) -> ir.Value:
        if self._reader.is_made_by(features, "BranchScale"):
            features = present(present(features).producer()).inputs[0]
        return present(features)

    def _scale(self, features: ir.Value | None) -> tuple[NDArray[Any] | None, ir.Value | None]:
        """The scale that makes ``features``, where there is one, and what is in front of it."""
        reader = self._reader
        if not reader.is_made_by(features, "BranchScale"):
            return None, features
        node = reader.maker(features, "BranchScale")
        require(integer(node, "low") == self._low)
        return reader.constant(node.inputs[1]), node.inputs[0]

    def _mean(
        self, features: ir.Value | None, count: int, function: str = "AdditiveLut"
    ) -> tuple[ir.Node, ir.Value | None]:
        """The look-up whose mean ``features`` are, and the features that it is added to."""
        node = self._reader.maker(features, "BranchMean")
        require((integer(node, "low"), integer(node, "high")) == (self._low, self._high))
        require(integer(node, "count") == count)
        return self._reader.maker(node.inputs[0], function), node.inputs[1]


def _same(one: Branch, other: Branch) -> bool:
    """Whether two branches are of the very same constants."""
    return (
        (one.index_shift, one.low, len(one.stages))
        == (other.index_shift, other.low, len(other.stages))
        and one.stem is other.stem
        and one.up is other.up
        and one.stem_scale is other.stem_scale
        and all(
            getattr(a, name) is getattr(b, name)
            for a, b in zip(one.stages, other.stages, strict=True)
            for name in ("pointwise", "pointwise_scale", "depthwise", "depthwise_scale")
        )
    )
