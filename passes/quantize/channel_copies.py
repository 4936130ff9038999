"""Copies of channels in the place of dead ones.

A channel that is zero on every input is computed all the same. Put to work as a copy of another
channel it halves that channel's rounding error: the two are shifted against each other by half a
step, so that their mean has steps of half the size. With ``n`` copies, shifted by ``step / n``, the
error power falls to ``1 / n^2``. Shapes and cost stay what they are.

The layer that reads the channels takes ``1 / n`` of the weight for each copy. If that layer is
depthwise, its own outputs are copies too, and the next layer shares the weights. The shifts of the
copies add up to nothing, so no bias changes for them; that also holds where a Relu cuts all of
them off.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.errors import RecipeError
from intaglio.passes.marks import done_detail, mark_done
from intaglio.passes.quantize.channel_maps import Link, find_links
from intaglio.passes.quantize.layer_pairs import parameter, set_parameter, split_weight

#: The pass that chooses the copies from calibration samples.
COPIES_PASS = "calibrate.reuse_channels"

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Chain:
    """Layers between which a channel is one channel: two, or three around a depthwise one.

    Attributes:
        links: One link, or two that share the depthwise layer.
    """

    links: tuple[Link, ...]

    @property
    def makers(self) -> list[ir.Node]:
        """The layers that make the channels: the first, and a depthwise one behind it."""
        return [link.first for link in self.links]

    @property
    def reader(self) -> ir.Node:
        """The layer that reads them all for each of its outputs."""
        return self.links[-1].second

    @property
    def channels(self) -> int:
        """Channels between the layers."""
        return self.links[0].channels

    @property
    def name(self) -> str:
        """Name of the first activation."""
        return str(self.links[0].value.name)


@dataclasses.dataclass(frozen=True)
class Copies:
    """A channel and its copies.

    Attributes:
        channels: The channel itself, then the dead channels that become copies of it.
        steps: Quantization step of the activation behind each maker, in real units.
    """

    channels: tuple[int, ...]
    steps: tuple[float, ...]


def find_chains(graph: ir.Graph) -> list[Chain]:
    """All chains in graph order."""
    links = find_links(graph)
    after = {link.first: link for link in links}
    chains = []
    for link in links:
        if not has_bias(link.first):
            continue
        if not is_depthwise(link.second):
            if link.second.attributes.get_int("group", 1) == 1:
                chains.append(Chain((link,)))
        elif link.second in after and has_bias(link.second):
            last = after[link.second]
            if last.second.attributes.get_int("group", 1) == 1:
                chains.append(Chain((link, last)))
    return chains


def is_depthwise(node: ir.Node) -> bool:
    """Whether a layer makes each output channel of the same one input channel."""
    if node.op_type != "Conv":
        return False
    view = split_weight(node, parameter(node, 1))
    return bool(view.shape[0] > 1 and view.shape[1] == view.shape[2] == 1)


def channel_rows(node: ir.Node, weight: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Views of the weights of each output channel of a layer."""
    view = split_weight(node, weight)
    return [view[group, row] for group in range(view.shape[0]) for row in range(view.shape[1])]


def has_bias(node: ir.Node) -> bool:
    """Whether a layer has a bias."""
    return len(node.inputs) > 2 and node.inputs[2] is not None


def apply_copies(chain: Chain, copies: Sequence[Copies]) -> None:
    """Makes dead channels copies of others.

    Args:
        chain: The layers; weights and biases of the makers and weights of the reader change.
        copies: The channels, each in no more than one entry.
    """
    _fold_constants(chain, [channel for found in copies for channel in found.channels[1:]])
    for found in copies:
        source, count = found.channels[0], len(found.channels)
        places = (np.arange(count) - (count - 1) / 2) / count
        moved = np.zeros(count)
        for maker, step in zip(chain.makers, found.steps, strict=True):
            weight = parameter(maker, 1).copy()
            rows = channel_rows(maker, weight)
            bias = parameter(maker, 2).astype(np.float64)
            if maker is not chain.makers[0]:
                # A depthwise layer passes the shift of its input on.
                moved = moved * float(rows[source].sum(dtype=np.float64))
            for channel in found.channels[1:]:
                rows[channel][...] = rows[source]
            bias[list(found.channels)] = bias[source] + places * step - moved
            moved = places * step
            set_parameter(maker.inputs[1], weight)
            set_parameter(maker.inputs[2], bias)
        weight = parameter(chain.reader, 1).copy()
        view = split_weight(chain.reader, weight)
        view[0][:, list(found.channels)] = view[0][:, [source]] / count
        set_parameter(chain.reader.inputs[1], weight)


def dead_values(chain: Chain) -> Array:
    """What the reader sees of each channel if the first activation is zero there."""
    if len(chain.links) == 1:
        return np.zeros(chain.channels)
    bias = parameter(chain.makers[1], 2).astype(np.float64)
    return np.asarray(np.clip(bias, 0.0, chain.links[1].upper))


def takes_constants(chain: Chain) -> bool:
    """Whether constant channels can be moved into the reader's bias."""
    return chain.links[-1].takes_offsets


def _fold_constants(chain: Chain, dead: Sequence[int]) -> None:
    """Moves what dead channels give the reader into its bias."""
    values = dead_values(chain)[list(dead)]
    if values.any():
        view = split_weight(chain.reader, parameter(chain.reader, 1)).astype(np.float64)[0]
        shift = (view[:, list(dead)].sum(axis=2) * values).sum(axis=1)
        bias = parameter(chain.reader, 2).astype(np.float64)
        set_parameter(chain.reader.inputs[2], bias + shift)


def note_copies(model: ir.Model, copies: Mapping[str, Sequence[Copies]]) -> None:
    """Marks ``model`` with the copies that were made, by name of the chain's first activation."""
    listed = {
        name: [[list(c.channels), list(c.steps)] for c in found] for name, found in copies.items()
    }
    mark_done(model, COPIES_PASS, json.dumps(listed, sort_keys=True))


def replay_copies(model: ir.Model) -> None:
    """Makes the copies that a model's mark lists (a plan brought the mark along).

    Raises:
        RecipeError: The mark does not fit the model.
    """
    detail = done_detail(model, COPIES_PASS)
    if detail is None:
        return
    remedy = "a plan belongs to one model and one recipe"
    chains = {chain.name: chain for chain in find_chains(model.graph)}
    try:
        noted = {
            str(name): [
                Copies(tuple(int(i) for i in channels), tuple(float(s) for s in steps))
                for channels, steps in listed
            ]
            for name, listed in json.loads(detail).items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise RecipeError(f"the plan's copies are damaged: {error}", remedy=remedy) from error
    for name, found in noted.items():
        chain = chains.get(name)
        if chain is None or not all(_fits(chain, copies) for copies in found):
            raise RecipeError(f"the plan's copies of '{name}' do not fit the model", remedy=remedy)
        apply_copies(chain, found)


def _fits(chain: Chain, copies: Copies) -> bool:
    return (
        len(copies.steps) == len(chain.links)
        and len(set(copies.channels)) == len(copies.channels) > 0
        and all(0 <= channel < chain.channels for channel in copies.channels)
        and all(0.0 < step < np.inf for step in copies.steps)
    )
