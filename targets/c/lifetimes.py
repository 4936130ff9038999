"""When each tensor of a network lives, which share memory, and what scratch costs nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

from intaglio.targets.c.kernels.base import Implementation
from intaglio.targets.c.kernels.choose import implement, implement_within
from intaglio.targets.c.memory import Buffer, Plan, live_bytes, plan_memory
from intaglio.targets.c.network import Network, Tensor
from intaglio.targets.c.variants import BY_NAME

#: How much larger than the live tensors at their peak an arena may be, for scratch memory.
_SHARE = 0.05
#: So many bytes it may be in any case, with ``balanced``: 5 % of a kilobyte hold no kernel.
_FLOOR = 768

Memory = Literal["balanced", "small", "fast"]

#: Scratch memory up to this lies on the stack of a processor that has large ones.
_STACK_BYTES = 1 << 16


@dataclasses.dataclass(frozen=True)
class Layout:
    """Code and memory of a network on one kind of processor.

    Attributes:
        variant: Name of the processor.
        implementations: One for each layer.
        plan: The arena.
        offsets: Offset of each tensor in the arena; those of the caller are not there.
        scratch: Offset of each layer's scratch memory, None where it has none in the arena.
        live_peak: Largest sum of the bytes of tensors that live at one layer, none sharing memory,
            without scratch: what an interpreter's arena needs at least.
        slower: Layers that got a slower kernel, since the fastest needs more scratch memory.
    """

    variant: str
    implementations: tuple[Implementation, ...]
    plan: Plan
    offsets: Mapping[Tensor, int]
    scratch: tuple[int | None, ...]
    live_peak: int
    slower: tuple[str, ...] = ()


def lay_out(
    network: Network,
    variant: str,
    memory: Memory = "balanced",
    kept: Mapping[Tensor, int] | None = None,
) -> Layout:
    """Chooses kernels and places tensors.

    Kernels are asked twice: with no scratch memory to spare, which tells what shares memory, then
    with what is free beside the live tensors at each layer. Where fragments spoil that, the
    allowance shrinks until the arena is small enough.

    Args:
        network: The network.
        variant: Name of the processor.
        memory: ``small`` keeps the arena within 5 % of the live tensors, ``balanced`` within 5 %
            or 768 bytes, whichever is more; ``fast`` takes the fastest kernels whatever they need.
        kept: Tensors that must last until a layer behind their last reader, and which: layers from
            some place on may run again and again.

    Returns:
        The layout.
    """
    kept = kept or {}
    roomy = BY_NAME[variant].roomy
    select = implement if memory == "fast" or roomy else implement_within
    spans = lifetimes(network, kept)
    peak = live_peak(network, kept)
    limit = peak + max(int(peak * _SHARE), 0 if memory == "small" or roomy else _FLOOR)
    frugal = [implement(layer, variant, 0) for layer in network.layers]
    shared = _shared(network, spans, frugal, kept)
    live = live_bytes(_tensor_buffers(spans, shared), len(network.layers))
    best: Layout | None = None
    for share in (1.0, 0.85, 0.6, 0.3, 0.0):
        budgets = [max(0, int((limit - taken) * share)) // 16 * 16 for taken in live]
        chosen = [
            select(layer, variant, budget)
            for layer, budget in zip(network.layers, budgets, strict=True)
        ]
        owner = _shared(network, spans, chosen, kept)
        layout = _place(network, variant, spans, owner, chosen, budgets, peak)
        if best is None or layout.plan.bytes < best.plan.bytes:
            best = layout
        if best.plan.bytes <= limit:
            break
    assert best is not None
    return dataclasses.replace(best, slower=_slower(network, best, frugal))


def _slower(network: Network, layout: Layout, fastest: Sequence[Implementation]) -> tuple[str, ...]:
    """Layers whose kernel has less scratch memory than the fastest one wants at least."""
    return tuple(
        layer.name
        for layer, code, best in zip(network.layers, layout.implementations, fastest, strict=True)
        if code.scratch < best.scratch
    )


def lifetimes(
    network: Network, kept: Mapping[Tensor, int] | None = None
) -> dict[Tensor, tuple[int, int]]:
    """First and last layer of each tensor in the arena: those that are not the caller's."""
    outside = {*network.inputs, *network.outputs}
    spans: dict[Tensor, tuple[int, int]] = {}
    for step, layer in enumerate(network.layers):
        if layer.output not in outside:
            spans[layer.output] = (step, step)
        for tensor in layer.inputs:
            if tensor in spans:
                spans[tensor] = (spans[tensor][0], step)
    for tensor, last in (kept or {}).items():
        spans[tensor] = (spans[tensor][0], max(last, spans[tensor][1]))
    return spans


def live_peak(network: Network, kept: Mapping[Tensor, int] | None = None) -> int:
    """Largest sum of bytes of the arena's tensors that live at one layer."""
    changes = [0] * (len(network.layers) + 1)
    for tensor, (first, last) in lifetimes(network, kept).items():
        changes[first] += tensor.bytes
        changes[last + 1] -= tensor.bytes
    total, most = 0, 0
    for change in changes:
        total += change
        most = max(most, total)
    return most


def _shared(
    network: Network,
    spans: Mapping[Tensor, tuple[int, int]],
    implementations: Sequence[Implementation],
    kept: Mapping[Tensor, int],
) -> dict[Tensor, Tensor]:
    """The tensor whose memory each tensor uses: itself, or an input that its layer overwrites."""
    owner: dict[Tensor, Tensor] = {}
    for step, (layer, code) in enumerate(zip(network.layers, implementations, strict=True)):
        output = layer.output
        if output not in spans:
            continue
        owner[output] = output
        for place in code.in_place:
            tensor = layer.inputs[place]
            free = tensor in spans and spans[tensor][1] == step and output.bytes <= tensor.bytes
            free = free and tensor not in kept
            if free and sum(other is tensor for other in layer.inputs) == 1:
                owner[output] = owner[tensor]
                break
    return owner


def _tensor_buffers(
    spans: Mapping[Tensor, tuple[int, int]], owner: Mapping[Tensor, Tensor]
) -> list[Buffer]:
    """One buffer for the tensors that share memory, in the order of their owners."""
    found: dict[Tensor, Buffer] = {}
    for tensor, (first, last) in spans.items():
        root = owner[tensor]
        before = found.get(root)
        if before is None:
            found[root] = Buffer(tensor.name, tensor.bytes, first, last)
        else:
            found[root] = dataclasses.replace(
                before, name=f"{before.name}, {tensor.name}", last=last
            )
    return list(found.values())


def _place(
    network: Network,
    variant: str,
    spans: Mapping[Tensor, tuple[int, int]],
    owner: Mapping[Tensor, Tensor],
    implementations: Sequence[Implementation],
    budgets: Sequence[int],
    peak: int,
) -> Layout:
    roomy = BY_NAME[variant].roomy
    tensors = _tensor_buffers(spans, owner)
    roots = [tensor for tensor in spans if owner[tensor] is tensor]
    using = [
        step
        for step, (code, budget) in enumerate(zip(implementations, budgets, strict=True))
        if code.scratch and not (roomy and budget < code.scratch <= _STACK_BYTES)
    ]
    scratch = [
        Buffer(f"scratch of {network.layers[step].name}", implementations[step].scratch, step, step)
        for step in using
    ]
    plan = plan_memory([*tensors, *scratch])
    root_offsets = dict(zip(roots, plan.offsets, strict=False))
    scratch_offsets: list[int | None] = [None] * len(implementations)
    for step, offset in zip(using, plan.offsets[len(roots) :], strict=True):
        scratch_offsets[step] = offset
    return Layout(
        variant=variant,
        implementations=tuple(implementations),
        plan=plan,
        offsets={tensor: root_offsets[owner[tensor]] for tensor in spans},
        scratch=tuple(scratch_offsets),
        live_peak=peak,
    )
