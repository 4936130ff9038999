"""Which layers of a training step run how often.

Layers that depend on no trained weight are the *prefix*. A step may go through its batch in two
ways:

* *sample by sample*: the prefix of a sample runs once, and its results stay alive while the other
  layers run twice for each probe. The weights are moved to and fro for each sample.
* *probe by probe*: the weights are moved once for all samples, and every layer runs every time.

With one sample, the first is never more work; with more, the sizes tell up to how many samples it
is less. It needs memory for what stays alive, which may be too much: then there is no prefix,
unless ``c.memory=fast`` takes what it needs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from intaglio.errors import InternalError
from intaglio.targets.c.lifetimes import Layout, Memory, lay_out
from intaglio.targets.c.network import Convolution, Layer, Network, Tensor, TrainedConvolution
from intaglio.transforms.forward_gradient.specification import StepSpecification

#: What an element of other layers, and moving a weight, costs in multiplications.
_ELEMENT_COST = 4
_MOVE_COST = 12
#: How much larger the arena of a step may be than that of an inference.
MOST_MEMORY = 1.10


@dataclasses.dataclass(frozen=True, eq=False)
class Schedule:
    """Layers in an order: the prefix, those of each probe, and those of inferences alone.

    Attributes:
        network: The network in that order.
        frozen: Number of layers that depend on no trained weight.
        prefix: As many, or 0 where their results cannot stay alive.
        probed: Number of layers behind them that run for every loss.
        most_by_sample: Largest batch that the step goes through sample by sample; None for any.
        layouts: Code and memory on each kind of processor.
        inference: Bytes of the arena of an inference on each, as without training.
    """

    network: Network
    frozen: int
    prefix: int
    probed: int
    most_by_sample: int | None
    layouts: Mapping[str, Layout]
    inference: Mapping[str, int]

    @property
    def logits(self) -> Tensor:
        """What the loss reads."""
        return _logits(self.network)

    @property
    def mode(self) -> str:
        """Which way the step goes through a batch, in words."""
        if self.most_by_sample is None:
            return "sample by sample"
        if self.most_by_sample == 0:
            return "probe by probe"
        return f"sample by sample up to {self.most_by_sample}, probe by probe beyond"

    @property
    def fits(self) -> bool:
        """Whether the arenas are not much larger than those of an inference."""
        return all(
            layout.plan.bytes <= MOST_MEMORY * self.inference[name]
            for name, layout in self.layouts.items()
        )


def plan_schedule(
    network: Network,
    specification: StepSpecification,
    variants: Collection[str],
    memory: Memory,
) -> Schedule:
    """Chooses the way through a batch, and places tensors.

    Args:
        network: The network, with what the loss reads.
        specification: What the step does.
        variants: Names of the processors.
        memory: What may be spent on scratch memory.
    """
    inference = _inference(network)
    bytes_of = {name: lay_out(inference, name, memory).plan.bytes for name in variants}
    frozen = _frozen(network)
    most = _most_by_sample(network, specification, frozen)
    if frozen:
        chosen = _scheduled(network, frozen, most, bytes_of, memory)
        if chosen.fits or memory == "fast":
            return chosen
    placed = _scheduled(network, [], 0, bytes_of, memory)
    return dataclasses.replace(placed, frozen=len(frozen))


def _scheduled(
    network: Network,
    prefix: list[Layer],
    most_by_sample: int | None,
    inference: Mapping[str, int],
    memory: Memory,
) -> Schedule:
    needed = network.needed([_logits(network)])
    first = set(prefix)
    probed = [layer for layer in network.layers if layer in needed and layer not in first]
    rest = [layer for layer in network.layers if layer not in needed]
    ordered = dataclasses.replace(network, layers=(*prefix, *probed, *rest))
    last = len(prefix) + len(probed) - 1
    made = {layer.output for layer in prefix}
    kept = {t: last for layer in probed for t in layer.inputs if t in made}
    return Schedule(
        network=ordered,
        frozen=len(prefix),
        prefix=len(prefix),
        probed=len(probed),
        most_by_sample=most_by_sample,
        layouts={name: lay_out(_placed(ordered, needed), name, memory, kept) for name in inference},
        inference=inference,
    )


def _placed(network: Network, needed: Collection[Layer]) -> Network:
    """The network as memory sees it: outputs that the step computes on the way lie in the arena."""
    read = {tensor for layer in needed for tensor in (*layer.inputs, layer.output)}
    outputs = tuple(tensor for tensor in network.outputs if tensor not in read)
    weights = tuple(variable.tensor for variable in network.variables)
    return dataclasses.replace(network, inputs=(*network.inputs, *weights), outputs=outputs)


def _inference(network: Network) -> Network:
    """The network without what only the loss reads."""
    needed = network.needed(network.outputs)
    layers = tuple(layer for layer in network.layers if layer in needed)
    return dataclasses.replace(network, layers=layers, logits=None)


def _frozen(network: Network) -> list[Layer]:
    """Layers of the loss that depend on no trained weight."""
    needed = network.needed([_logits(network)])
    moved = {variable.tensor for variable in network.variables}
    for layer in network.layers:
        if any(tensor in moved for tensor in layer.inputs):
            moved.add(layer.output)
    return [layer for layer in network.layers if layer in needed and layer.output not in moved]


def _most_by_sample(
    network: Network, specification: StepSpecification, frozen: list[Layer]
) -> int | None:
    """Up to how many samples the prefix is worth moving the weights for each; None for any.

    Every sample saves ``2 * probes - 1`` runs of the prefix, and all but one move the weights
    thrice a probe: ``count * saved >= (count - 1) * moved``.
    """
    if not frozen:
        return 0
    count = sum(parameter.size for parameter in specification.parameters)
    moved = 3 * specification.probes * count * _MOVE_COST
    saved = (2 * specification.probes - 1) * sum(map(_cost, frozen))
    return None if saved >= moved else moved // (moved - saved)


def _cost(layer: Layer) -> int:
    products = layer.macs if isinstance(layer, (Convolution, TrainedConvolution)) else 0
    return products + _ELEMENT_COST * layer.output.size


def _logits(network: Network) -> Tensor:
    if network.logits is None:
        raise InternalError(f"'{network.name}' has nothing that a loss reads")
    return network.logits
