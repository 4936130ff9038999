"""TinyLUT's own structure as layers of the dialect."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.table_networks.graph import GraphWriter
from intaglio.transforms.table_networks.reference import (
    REACH,
    TAPS,
    Branch,
    ReferenceNetwork,
    Stage,
)

#: Name, axes and steps of the two batches of turned images.
TURNS = (("upright", (0, 1, 2, 3), (1, 1)), ("sideways", (0, 1, 3, 2), (-1, 1)))

_WINDOW: dict[str, Any] = {"kernel_shape": (3, 3)}


def reference_graph(
    graph: GraphWriter, network: ReferenceNetwork, image: ir.Value, output: str
) -> ir.Value:
    """Adds the layers of a network with branches and rotations.

    Args:
        graph: Where to.
        network: The network.
        image: Its input.
        output: Name of its output.

    Returns:
        The output.
    """
    sums = []
    for side, perm, steps in TURNS:
        turned = graph.call("TurnPair", [image], "uint8", side, perm=perm, steps=steps)
        cells = [
            _BranchWriter(graph, branch, f"branch{number}", side).write(turned)
            for number, branch in enumerate(network.branches, 1)
        ]
        if len(cells) == 2:
            sums.append(graph.call("BranchSum", cells, "int8", f"{side}_sum"))
        else:
            sums.append(cells[0])
    return graph.call("TurnedSum", [image, *sums], "uint8", output, upscale=network.upscale)


class _BranchWriter:
    """Writes one branch for one pair of rotations."""

    def __init__(self, graph: GraphWriter, branch: Branch, name: str, side: str) -> None:
        self._graph = graph
        self._branch = branch
        # Constants are the same for both pairs.
        self._name = name
        self._prefix = f"{side}_{name}"

    def write(self, image: ir.Value) -> ir.Value:
        """Returns the sub-pixels of the branch, int8."""
        graph, branch, prefix = self._graph, self._branch, self._prefix
        own = graph.call(
            "BranchIndex",
            [image],
            "int8",
            f"{prefix}_index",
            shift=branch.index_shift,
            mask=branch.rows - 1,
            low=branch.low,
        )
        bordered = graph.call("ReflectBefore", [own], "int8", f"{prefix}_border", reach=REACH)
        acc = self._sums(bordered, branch.stem, "stem", **_WINDOW)
        features = self._mean(acc, own, TAPS, "stem")
        features = self._scaled(features, branch.stem_scale, "stem")
        for number, stage in enumerate(branch.stages, 1):
            features = self._stage(features, stage, f"stage{number}")
        acc = self._sums(features, branch.up, "up")
        return self._mean(acc, features, branch.channels, "up", low=-128, high=127)

    def _stage(self, features: ir.Value, stage: Stage, name: str) -> ir.Value:
        if stage.depthwise is not None:
            layer = f"{name}_depthwise"
            tables = self._graph.constant(stage.depthwise, f"{self._name}_{layer}_tables")
            acc = self._graph.call(
                "BranchDepthwise",
                [features, tables],
                "int32",
                f"{self._prefix}_{layer}_sums",
                low=self._branch.low,
            )
            features = self._mean(acc, features, TAPS, layer)
            features = self._scaled(features, stage.depthwise_scale, layer)
        layer = f"{name}_pointwise"
        acc = self._sums(features, stage.pointwise, layer)
        features = self._mean(acc, features, self._branch.channels, layer)
        return self._scaled(features, stage.pointwise_scale, layer)

    def _sums(
        self,
        features: ir.Value,
        tables: NDArray[Any],
        layer: str,
        **attributes: Any,
    ) -> ir.Value:
        constant = self._graph.constant(tables, f"{self._name}_{layer}_tables")
        return self._graph.call(
            "AdditiveLut",
            [features, constant],
            "int32",
            f"{self._prefix}_{layer}_sums",
            low=self._branch.low,
            **attributes,
        )

    def _mean(
        self,
        acc: ir.Value,
        features: ir.Value,
        count: int,
        layer: str,
        low: int | None = None,
        high: int | None = None,
    ) -> ir.Value:
        return self._graph.call(
            "BranchMean",
            [acc, features],
            "int8",
            f"{self._prefix}_{layer}",
            count=count,
            low=self._branch.low if low is None else low,
            high=self._branch.high if high is None else high,
        )

    def _scaled(self, features: ir.Value, scale: NDArray[Any] | None, layer: str) -> ir.Value:
        if scale is None:
            return features
        name = f"{layer}_scale"
        constant = self._graph.constant(scale, f"{self._name}_{name}")
        return self._graph.call(
            "BranchScale",
            [features, constant],
            "int8",
            f"{self._prefix}_{name}",
            low=self._branch.low,
        )
