"""Fits the range of each channel between two layers into the range of their tensor.

An activation has one scale for all its channels. A channel that only spans ``[low, high]`` leaves
the other levels unused, and behind a Relu6 many do. As long as the bound of the clamp stays out of
its way, both its size and where it begins are free (see
:mod:`intaglio.passes.quantize.channel_maps`). Shifting a channel that never comes near zero is the
"absorption of high biases" of Nagel et al., "Data-Free Quantization Through Weight Equalization and
Bias Correction", 2019, section 4.1.3; here with the range that calibration samples give it.

Inputs that leave the range seen in calibration, and a margin around it, are clipped there. So the
model keeps its function for inputs like the calibration samples only.

Only channels behind a clamp with an upper bound are looked at. Behind a plain Relu, whose tensor's
range is free, ``calibrate.equalize_channels`` and the choice of that range leave nothing to gain:
measured on four models, fitting these as well changed the error by -0.6 to +0.4 dB.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import Field

from intaglio.fitting.base import DataPass
from intaglio.fitting.output_noise import OutputNoise
from intaglio.fitting.runner import Runner, batch_size
from intaglio.passes.base import CALIBRATED, Change, Outcome, PassConfig, Skip, outcome
from intaglio.passes.marks import ALREADY_QUANTIZED, is_done, is_quantized
from intaglio.passes.provenance import source_name
from intaglio.passes.quantize.channel_maps import (
    MAPS_PASS,
    Link,
    apply_map,
    find_links,
    note_maps,
)
from intaglio.transforms.scales import TensorQuantization, activation_quantization

Array = NDArray[np.float64]

#: Strengths that are tried; 1 makes all channels alike.
STRENGTHS = (0.5, 1.0)

#: Channels smaller than this share of the largest are dead, and left alone.
DEAD_SHARE = 2.0**-12


class FitConfig(PassConfig):
    """Options of :class:`FitChannels`.

    Attributes:
        margin: Room left on either side of what a channel spans, as a share of it.
        offsets: Whether channels may be shifted, not only scaled.
        worthwhile: A link is changed where the error power that its 8 bits cost at the output
            falls to this share.
        matters: A link is looked at where that power is this share of the sum over all links.
        samples: Use only the first so many samples for the ranges; None for all.
        trial_samples: Measure errors at the output on the first so many samples.
    """

    margin: float = Field(default=0.05, ge=0.0, le=1.0)
    offsets: bool = True
    worthwhile: float = Field(default=0.8, gt=0.0, lt=1.0)
    matters: float = Field(default=0.03, ge=0.0, le=1.0)
    samples: int | None = Field(default=None, ge=1)
    trial_samples: int = Field(default=16, ge=1)


@dataclasses.dataclass
class Seen:
    """What was seen of a link's channels behind the clamp.

    Attributes:
        low: Smallest value of each channel.
        high: Largest value.
    """

    low: Array
    high: Array


class FitChannels(DataPass):
    """Shifts and scales channels between layers, so that they fill the range of their tensor."""

    name = MAPS_PASS
    semantics = CALIBRATED
    Config = FitConfig

    def call(self, model: ir.Model) -> Outcome:
        """Changes weights and biases of ``model`` in place.

        Raises:
            RecipeError: There is no calibration data.
            InputError: The samples are damaged.
        """
        if is_quantized(model):
            return outcome(model, [], [Skip("", ALREADY_QUANTIZED)])
        if is_done(model, self.name):
            return outcome(model, [], [Skip("", "the channels are fitted already")])
        links = [link for link in find_links(model.graph) if math.isfinite(link.upper)]
        changes: list[Change] = []
        skips: list[Skip] = []
        maps: dict[str, tuple[Array, Array]] = {}
        if links:
            noise = OutputNoise(model, self.require_data(), self.config.trial_samples)
            ranges = self._observe(model, links)
            costs = [
                noise.measure(model, quantized_alone(link.value, seen.high.max(initial=0.0)))
                for link, seen in zip(links, ranges, strict=True)
            ]
            for number, (link, seen, cost) in enumerate(zip(links, ranges, costs, strict=True)):
                reason = "its 8 bits cost little at the output"
                if cost > self.config.matters * sum(costs):
                    reason = "its channels are even enough"
                    found = self._best(model, link, seen, cost, noise)
                    if found is not None:
                        scale, offset, share = found
                        apply_map(link, scale, offset)
                        maps[str(link.value.name)] = scale, offset
                        changes.append(_describe(link, scale, offset, share))
                        continue
                skips.append(Skip(source_name(link.first), reason))
                self.report(number + 1, len(links))
        if maps:
            note_maps(model, maps)
        return outcome(model, changes, skips, {"links": len(links), "fitted": len(maps)})

    def _best(
        self, model: ir.Model, link: Link, seen: Seen, cost: float, noise: OutputNoise
    ) -> tuple[Array, Array, float] | None:
        """Scale, offset and the share of the error power that is left; None if nothing helps."""
        best: tuple[Array, Array, float] | None = None
        limit = self.config.worthwhile * cost
        for scale, offset, top in self._candidates(link, seen):
            with link.restored():
                apply_map(link, scale, offset)
                found = noise.measure(model, quantized_alone(link.value, top))
            if found < limit:
                best, limit = (scale, offset, found / cost), found
        return best

    def _candidates(self, link: Link, seen: Seen) -> Iterator[tuple[Array, Array, float]]:
        """Scales, offsets, and the largest value that they give."""
        alive = seen.high > DEAD_SHARE * seen.high.max(initial=0.0)
        if not alive.any():
            return
        room = self.config.margin * (seen.high - seen.low)
        offset = np.zeros(link.channels)
        if self.config.offsets and link.takes_offsets:
            # What the samples show at one value only has no range to be shifted to the start of.
            spread = seen.high - seen.low > DEAD_SHARE * seen.high.max(initial=0.0)
            shifted = alive & spread
            offset[shifted] = np.maximum(seen.low - room, 0.0)[shifted]
        width = np.minimum(seen.high + room, link.upper) - offset
        width[~alive] = link.upper
        for strength in STRENGTHS:
            scale = np.power(link.upper / width, strength)
            top = scale * (seen.high - offset)
            yield scale, offset, float(top[alive].max())

    def _observe(self, model: ir.Model, links: list[Link]) -> list[Seen]:
        names = [str(link.value.name) for link in links]
        result = [
            Seen(np.full(link.channels, np.inf), np.full(link.channels, -np.inf)) for link in links
        ]
        stream = Runner(model, names, outputs=False).stream(
            self.require_data(), batch=batch_size(model), limit=self.config.samples
        )
        for found in stream:
            for seen, name in zip(result, names, strict=True):
                values = found[name].reshape(*found[name].shape[:2], -1)
                np.minimum(seen.low, values.min(axis=(0, 2)), out=seen.low)
                np.maximum(seen.high, values.max(axis=(0, 2)), out=seen.high)
        return result


def quantized_alone(value: ir.Value, top: float) -> dict[str, TensorQuantization]:
    """The plan in which only ``value`` is quantized, over 0 to ``top``."""
    return {str(value.name): activation_quantization(0.0, max(top, 1e-30), "int8")}


def _describe(link: Link, scale: Array, offset: Array, share: float) -> Change:
    shifted = int(np.count_nonzero(offset))
    return Change(
        "fit",
        source_name(link.first),
        "scale 1",
        f"scales {scale.min():.3g} to {scale.max():.3g}, {shifted} of {len(scale)} shifted",
        f"its 8 bits cost {-10 * np.log10(max(share, 1e-12)):.1f} dB less at the output",
    )
