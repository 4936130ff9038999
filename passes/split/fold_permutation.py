"""``split.fold_permutation``: lets weights take up an order of channels instead of a Gather.

The codec has its channels in an order of its own, which a Gather along axis 1 makes. Where all that
is linked to the tensor in front of it by operators on single channels can be in that order from the
beginning, the weights of the layers around take it up and the Gather goes; else what is behind it
is tried, in the same way. No bit of any output changes: products are summed in another order, in
integers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.base import EXACT, Change, Outcome, Pass, Skip, outcome
from intaglio.passes.canonicalize.editing import (
    bypass,
    constant,
    drop_unused_constants,
    integer,
    is_standard,
    operand,
)
from intaglio.passes.provenance import source_name
from intaglio.passes.split.channel_rules import grow, static_channels
from intaglio.passes.split.channel_space import ChannelSpace, FixedOrderError, Member
from intaglio.passes.split.marks import get_wire


class FoldPermutation(Pass):
    """Removes permutations of channels, into the weights around them."""

    name = "split.fold_permutation"
    semantics = EXACT

    def call(self, model: ir.Model) -> Outcome:
        """Folds every permutation that can be."""
        changes: list[Change] = []
        skips: list[Skip] = []
        graph = model.graph
        names = get_wire(model) or ()
        wire = [value for node in graph for value in node.outputs if value.name in names]
        for node in list(graph):
            order = _permutation(node)
            if order is None or node.graph is not graph:
                continue
            found = _fold(node, order, wire)
            if isinstance(found, Skip):
                skips.append(found)
            else:
                changes.append(found)
        drop_unused_constants(graph)
        return outcome(model, changes, skips, {"folded": len(changes), "kept": len(skips)})


def _permutation(node: ir.Node) -> NDArray[np.int64] | None:
    """The order that a Gather brings the channels into, None where it does something else."""
    if not is_standard(node, "Gather"):
        return None
    source, places = node.inputs[0], constant(operand(node, 1))
    channels = static_channels(source)
    if source is None or source.shape is None or places is None or channels is None:
        return None
    if integer(node, "axis", 0) % len(source.shape) != 1 or places.shape != (channels,):
        return None
    order = places.astype(np.int64) % channels
    return order if np.array_equal(np.sort(order), np.arange(channels)) else None


def _fold(node: ir.Node, order: NDArray[np.int64], wire: Sequence[ir.Value]) -> Change | Skip:
    """Folds one permutation, into what is in front of it or into what is behind it."""
    reasons = []
    source, made = node.inputs[0], node.outputs[0]
    if source is not None and np.array_equal(order, np.arange(len(order))):
        if bypass(node, source):
            return Change(
                "remove", source_name(node), f"Gather of {len(order)} channels", "nothing"
            )
        return Skip(source_name(node), "it stays: the model's border needs it")
    for value, wanted in ((source, order), (made, np.argsort(order))):
        if value is None or value.shape is None:
            continue
        space = ChannelSpace(wanted.tolist(), wire)
        try:
            space.add(value, Member(len(value.shape), 1))
            grow(space)
        except FixedOrderError as error:
            reasons.append(str(error))
            continue
        edited = space.apply()
        name, channels = source_name(node), len(order)
        if source is not None:
            bypass(node, source)  # neither is at the border, else growing had refused
        where = "in front" if value is source else "behind"
        return Change(
            "fold",
            name,
            f"Gather of {channels} channels",
            f"{edited} constants {where} in the new order",
            f"{len(space.members)} tensors are permuted together",
        )
    return Skip(source_name(node), f"it stays: {'; '.join(reasons)}")
