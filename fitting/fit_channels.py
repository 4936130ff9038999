"""Fits the range of each channel between two layers into the range of their tensor.

An activation has one scale for all its channels. A channel that only spans ``[low, high]`` leaves
the other levels unused, and after a Relu6 it often spans little: not its size alone is free, as in
``calibrate.equalize_channels``, but also where it begins (see
:mod:`intaglio.passes.quantize.channel_maps`). Shifting a channel that never comes near zero is the
"absorption of high biases" of Nagel et al., "Data-Free Quantization Through Weight Equalization and
Bias Correction", 2019, section 4.1.3; here with the range that calibration samples give it.

Inputs that leave the range seen in calibration, and a margin around it, are clipped there. So the
model keeps its function for inputs like the calibration samples only.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import Field

from intaglio.fitting.base import DataPass
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
from intaglio.passes.quantize.layer_pairs import weight_view
from intaglio.transforms.equalization import DEAD_SHARE, predicted_noise

Array = NDArray[np.float64]

#: Strengths that are tried, the weakest first.
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


class FitConfig(PassConfig):
    """Options of :class:`FitChannels`.

    Attributes:
        margin: Room left on either side of what a channel spans, as a share of it.
        offsets: Whether channels may be shifted, not only scaled.
        worthwhile: A link is changed where the predicted error power falls to this share.
        weight_share: Weight of the error of weights, which ``calibrate.round_weights`` lowers to
            a part, beside that of activations.
        samples: Use only the first so many samples; None for all.
    """

    margin: float = Field(default=0.05, ge=0.0, le=1.0)
    offsets: bool = True
    worthwhile: float = Field(default=0.7, ge=0.0, le=1.0)
    weight_share: float = Field(default=0.3, ge=0.0, le=1.0)
    samples: int | None = Field(default=None, ge=1)


@dataclasses.dataclass
class Seen:
    """What was seen of a link's channels, and of what the second layer made of them.

    Attributes:
        low: Smallest value of each channel behind the clamp.
        high: Largest value.
        sums: Count, sum and sum of squares of each channel.
        outputs: The same of the second layer's outputs.
    """

    low: Array
    high: Array
    sums: Array
    outputs: Array


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
        links = find_links(model.graph)
        changes: list[Change] = []
        skips: list[Skip] = []
        maps: dict[str, tuple[Array, Array]] = {}
        for link, seen in zip(links, self._observe(model, links) if links else [], strict=True):
            scale, offset, share = self._choose(link, seen)
            if (scale != 1.0).any() or offset.any():
                maps[str(link.value.name)] = scale, offset
                changes.append(_describe(link, scale, offset, share))
            else:
                skips.append(Skip(source_name(link.first), "its channels are even enough"))
        # Not before all are chosen: what was seen is what the unchanged layers gave.
        for link in links:
            if str(link.value.name) in maps:
                apply_map(link, *maps[str(link.value.name)])
        if maps:
            note_maps(model, maps)
        return outcome(model, changes, skips, {"links": len(links), "fitted": len(maps)})

    def _choose(self, link: Link, seen: Seen) -> tuple[Array, Array, float]:
        """Scale and offset of each channel, and the share of the error power that is left."""
        config = self.config
        room = config.margin * (seen.high - seen.low)
        offset = np.zeros(link.channels)
        if config.offsets and link.takes_offsets:
            offset = np.maximum(seen.low - room, 0.0)
        width = np.minimum(seen.high + room, link.upper) - offset
        alive = seen.high > DEAD_SHARE * seen.high.max(initial=0.0)
        if not alive.any():
            return np.ones(link.channels), np.zeros(link.channels), 1.0
        offset[~alive] = 0.0
        full = min(float(width[alive].max()) if np.isinf(link.upper) else link.upper, 1e30)
        width[~alive] = full
        count, total, squares = seen.sums
        variance = np.maximum(squares / count - np.square(total / count), 0.0)
        weight = weight_view(link.second)
        count, total, squares = seen.outputs
        spread = np.sqrt(np.maximum(squares / count - np.square(total / count), 0.0))
        floor = 1e-3 * float(spread.max(initial=0.0))
        if floor > 0.0:
            weight = weight / np.maximum(spread, floor).reshape(*weight.shape[:2], 1, 1)

        def noise(scale: Array, widths: Array) -> float:
            magnitudes = np.where(alive, widths, 0.0)
            return predicted_noise(1 / scale, magnitudes, variance, weight, config.weight_share)

        before = noise(np.ones(link.channels), np.where(alive, seen.high, 0.0))
        candidates = [np.power(full / width, strength) for strength in STRENGTHS]
        found = [noise(scale, width) for scale in candidates]
        best = int(np.argmin(found))
        if not found[best] < config.worthwhile * before:
            return np.ones(link.channels), np.zeros(link.channels), 1.0
        return candidates[best], offset, found[best] / before

    def _observe(self, model: ir.Model, links: list[Link]) -> list[Seen]:
        inner = [str(link.value.name) for link in links]
        outer = [str(link.second.outputs[0].name) for link in links]
        result = [
            Seen(
                np.full(link.channels, np.inf),
                np.full(link.channels, -np.inf),
                np.zeros((3, link.channels)),
                np.zeros((3, _outputs(link.second))),
            )
            for link in links
        ]
        stream = Runner(model, [*inner, *outer], outputs=False).stream(
            self.require_data(),
            batch=batch_size(model),
            limit=self.config.samples,
            progress=self.report,
        )
        for found in stream:
            for seen, name, after in zip(result, inner, outer, strict=True):
                values = _by_channel(found[name])
                np.minimum(seen.low, values.min(axis=(0, 2)), out=seen.low)
                np.maximum(seen.high, values.max(axis=(0, 2)), out=seen.high)
                seen.sums += _sums(values)
                seen.outputs += _sums(_by_channel(found[after]))
        return result


def _outputs(node: ir.Node) -> int:
    view = weight_view(node)
    return int(view.shape[0] * view.shape[1])


def _by_channel(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values.reshape(*values.shape[:2], -1)


def _sums(values: NDArray[np.float32]) -> Array:
    """Count, sum and sum of squares of each channel; values are (samples, channels, elements)."""
    count = np.full(values.shape[1], float(values.shape[0] * values.shape[2]))
    total = values.sum(axis=(0, 2), dtype=np.float64)
    squares = np.einsum("scn,scn->c", values, values, dtype=np.float64)
    return np.stack([count, total, squares])


def _describe(link: Link, scale: Array, offset: Array, share: float) -> Change:
    shifted = int(np.count_nonzero(offset))
    return Change(
        "fit",
        source_name(link.first),
        "scale 1",
        f"scales {scale.min():.3g} to {scale.max():.3g}, {shifted} of {len(scale)} shifted",
        f"{-10 * np.log10(max(share, 1e-12)):.1f} dB less predicted error in "
        f"{source_name(link.second)}",
    )
