"""Puts dead channels to work as copies of the channels whose rounding costs most.

Training drives whole channels to zero, and more so in narrow models (MobileNetV1 0.25 has two dead
ones among the eight of its first layer). They are computed all the same. As shifted copies of
another channel they lower its rounding error; see :mod:`intaglio.passes.quantize.channel_copies`.

A channel counts as dead if it was zero on all calibration samples and stayed far below zero: its
largest value before the Relu is negative by half of what it varied, at least.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import Field

from intaglio.fitting.base import DataPass
from intaglio.fitting.output_noise import OutputNoise
from intaglio.fitting.runner import Runner, batch_size
from intaglio.passes.annotations import get_range
from intaglio.passes.base import CALIBRATED, Change, Outcome, PassConfig, Skip, outcome
from intaglio.passes.marks import ALREADY_QUANTIZED, is_done, is_quantized
from intaglio.passes.provenance import source_name
from intaglio.passes.quantize.channel_copies import (
    COPIES_PASS,
    Chain,
    Copies,
    apply_copies,
    dead_values,
    find_chains,
    note_copies,
    takes_constants,
)
from intaglio.passes.quantize.layer_pairs import parameter, weight_view
from intaglio.transforms.scales import TensorQuantization, activation_quantization

Array = NDArray[np.float64]


#: How much finer the steps of channels are that are not looked at; 255 steps still fit 16 bits.
_FINER = 64


class ReuseConfig(PassConfig):
    """Options of :class:`ReuseChannels`.

    Attributes:
        most: Most channels that may carry the same values.
        clearance: How far below zero a dead channel has to stay, as a share of what it varied.
        worthwhile: Copies are made where the error power that the 8 bits of the channels cost at
            the output falls to this share.
        matters: Channels are looked at where that power is this share of that of all channels.
        shortlist: Channels of a layer whose cost at the output is measured.
        samples: Use only the first so many samples to find dead channels; None for all.
        trial_samples: Measure errors at the output on the first so many samples.
    """

    most: int = Field(default=4, ge=2)
    clearance: float = Field(default=0.5, ge=0.0)
    worthwhile: float = Field(default=0.7, gt=0.0, lt=1.0)
    matters: float = Field(default=0.03, ge=0.0, le=1.0)
    shortlist: int = Field(default=12, ge=1)
    samples: int | None = Field(default=None, ge=1)
    trial_samples: int = Field(default=16, ge=1)


@dataclasses.dataclass
class Seen:
    """What was seen of a chain.

    Attributes:
        low: Smallest value of each channel before the first clamp.
        high: Largest value.
        sums: Count, sum and sum of squares of each output channel of the reader.
    """

    low: Array
    high: Array
    sums: Array

    @property
    def spread(self) -> Array:
        """Standard deviation of each output channel of the reader."""
        count, total, squares = self.sums
        return np.asarray(np.sqrt(np.maximum(squares / count - np.square(total / count), 0.0)))


class ReuseChannels(DataPass):
    """Makes dead channels copies of others, shifted by fractions of a quantization step."""

    name = COPIES_PASS
    semantics = CALIBRATED
    Config = ReuseConfig

    def call(self, model: ir.Model) -> Outcome:
        """Changes weights and biases of ``model`` in place.

        Raises:
            RecipeError: There is no calibration data.
            InputError: The samples are damaged.
        """
        if is_quantized(model):
            return outcome(model, [], [Skip("", ALREADY_QUANTIZED)])
        if is_done(model, self.name):
            return outcome(model, [], [Skip("", "dead channels are in use already")])
        chains = [chain for chain in find_chains(model.graph) if _has_ranges(chain)]
        observed = self._observe(model, chains) if chains else {}
        dead = {chain.name: self._dead(chain, observed[chain.name]) for chain in chains}
        changes: list[Change] = []
        skips: list[Skip] = []
        made: dict[str, list[Copies]] = {}
        if any(len(found) for found in dead.values()):
            noise = OutputNoise(model, self.require_data(), self.config.trial_samples)
            everything = {name: q for chain in chains for name, q in plan_of(chain).items()}
            least = self.config.matters * noise.measure(model, everything)
            for number, chain in enumerate(chains):
                found = dead[chain.name]
                if not len(found):
                    continue
                cost = noise.measure(model, plan_of(chain))
                if not cost > least:
                    skips.append(_skip(chain, len(found), "8 bits cost little at the output here"))
                    continue
                powers = self._powers(model, chain, found, observed[chain.name], noise)
                copies = self._allot(chain, found, powers)
                share = self._try(model, chain, copies, cost, noise)
                if share < self.config.worthwhile:
                    made[chain.name] = copies
                    for link in chain.links[1:]:
                        # What a depthwise layer makes of copies are copies, no longer dead.
                        used = [channel for made_of in copies for channel in made_of.channels]
                        name = str(link.value.name)
                        dead[name] = np.setdiff1d(dead.get(name, found), used)
                    changes.append(_describe(chain, copies, share))
                else:
                    skips.append(_skip(chain, len(found), "copies would gain little"))
                self.report(number + 1, len(chains))
        if made:
            note_copies(model, made)
        count = sum(len(found) for found in dead.values())
        return outcome(model, changes, skips, {"dead_channels": count, "chains": len(chains)})

    def _dead(self, chain: Chain, seen: Seen) -> NDArray[np.int64]:
        room = self.config.clearance * (seen.high - seen.low)
        dead = seen.high + room <= 0.0
        if not takes_constants(chain):
            dead &= dead_values(chain) == 0.0
        return np.flatnonzero(dead)

    def _powers(
        self,
        model: ir.Model,
        chain: Chain,
        dead: NDArray[np.int64],
        seen: Seen,
        noise: OutputNoise,
    ) -> Array:
        """Error power that the 8 bits of each channel cost at the output.

        Measured for those that promise most: what later layers make of an error cannot be told.
        """
        promise = _promise(chain, seen.spread)
        promise[dead] = 0.0
        powers = np.zeros(chain.channels)
        for channel in np.argsort(-promise)[: self.config.shortlist]:
            if promise[channel] > 0.0:
                plan = {
                    name: _only(found, channel, chain) for name, found in plan_of(chain).items()
                }
                powers[channel] = noise.measure(model, plan)
        return powers

    def _allot(self, chain: Chain, dead: NDArray[np.int64], powers: Array) -> list[Copies]:
        """Gives the dead channels, one by one, to the channel whose error that lowers most."""
        steps = tuple(found.scale[0] for found in plan_of(chain).values())
        count = np.ones(chain.channels)
        targets: dict[int, list[int]] = {}
        for target in dead:
            lowered = powers * (1 / np.square(count) - 1 / np.square(count + 1))
            lowered[count >= self.config.most] = 0.0
            source = int(np.argmax(lowered))
            if lowered[source] <= 0.0:
                break
            count[source] += 1
            targets.setdefault(source, []).append(int(target))
        return [Copies((source, *found), steps) for source, found in sorted(targets.items())]

    def _try(
        self, model: ir.Model, chain: Chain, copies: list[Copies], cost: float, noise: OutputNoise
    ) -> float:
        """Share of the error power that is left with the copies, which stay if that is enough."""
        saved = _parameters(chain)
        apply_copies(chain, copies)
        share = float(noise.measure(model, plan_of(chain)) / cost)
        if not share < self.config.worthwhile:
            for value, constant in saved:
                value.const_value = constant
        return share

    def _observe(self, model: ir.Model, chains: list[Chain]) -> dict[str, Seen]:
        result = {
            chain.name: Seen(
                np.full(chain.channels, np.inf),
                np.full(chain.channels, -np.inf),
                np.zeros((3, len(parameter(chain.reader, 1)))),
            )
            for chain in chains
        }
        made = {chain.name: str(chain.makers[0].outputs[0].name) for chain in chains}
        read = {chain.name: str(chain.reader.outputs[0].name) for chain in chains}
        runner = Runner(model, [*made.values(), *read.values()], outputs=False)
        for found in runner.stream(
            self.require_data(), batch=batch_size(model), limit=self.config.samples
        ):
            for name, seen in result.items():
                values = _by_channel(found[made[name]])
                np.minimum(seen.low, values.min(axis=(0, 2)), out=seen.low)
                np.maximum(seen.high, values.max(axis=(0, 2)), out=seen.high)
                seen.sums += _sums(_by_channel(found[read[name]]))
        return result


def plan_of(chain: Chain) -> Mapping[str, TensorQuantization]:
    """The plan in which only the channels of ``chain`` are quantized."""
    plan = {}
    for link in chain.links:
        limits = get_range(link.value)
        assert limits is not None
        plan[str(link.value.name)] = activation_quantization(*limits, "int8")
    return plan


def _has_ranges(chain: Chain) -> bool:
    return all(get_range(link.value) is not None for link in chain.links)


def _only(found: TensorQuantization, channel: int, chain: Chain) -> TensorQuantization:
    """Steps as planned in one channel, and far finer ones in all others."""
    scale = np.full(chain.channels, found.scale[0] / _FINER)
    scale[channel] = found.scale[0]
    return TensorQuantization("int16", tuple(scale.tolist()), (0,) * chain.channels, axis=1)


def _promise(chain: Chain, spread: Array) -> Array:
    """Error power that each channel's rounding gives the reader's outputs, relative to theirs."""
    steps = [found.scale[0] for found in plan_of(chain).values()]
    view = weight_view(chain.reader)[0]
    floor = max(1e-3 * float(spread.max(initial=0.0)), 1e-30)
    onward = np.square(view / np.maximum(spread, floor)[:, None, None]).sum(axis=(0, 2))
    power = onward * steps[-1] ** 2
    if len(chain.links) > 1:
        through = np.square(weight_view(chain.makers[1])).sum(axis=(1, 2, 3))
        power = power + onward * through * steps[0] ** 2
    return np.asarray(power)


def _parameters(chain: Chain) -> list[tuple[ir.Value, ir.TensorProtocol | None]]:
    nodes = [*chain.makers, chain.reader]
    values = [value for node in nodes for value in node.inputs[1:3] if value is not None]
    return [(value, value.const_value) for value in values]


def _by_channel(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values.reshape(*values.shape[:2], -1)


def _sums(values: NDArray[np.float32]) -> Array:
    """Count, sum and sum of squares of each channel; values are (samples, channels, elements)."""
    count = np.full(values.shape[1], float(values.shape[0] * values.shape[2]))
    total = values.sum(axis=(0, 2), dtype=np.float64)
    squares = np.einsum("scn,scn->c", values, values, dtype=np.float64)
    return np.stack([count, total, squares])


def _describe(chain: Chain, copies: list[Copies], share: float) -> Change:
    used = sum(len(found.channels) - 1 for found in copies)
    listed = ", ".join(f"{len(c.channels) - 1} of channel {c.channels[0]}" for c in copies[:4])
    return Change(
        "reuse",
        source_name(chain.makers[0]),
        f"{used} dead channels",
        f"copies: {listed}" + (", …" if len(copies) > 4 else ""),
        f"8 bits cost {-10 * np.log10(max(share, 1e-12)):.1f} dB less at the output",
    )


def _skip(chain: Chain, dead: int, reason: str) -> Skip:
    return Skip(source_name(chain.makers[0]), f"{dead} dead channels; {reason}")
