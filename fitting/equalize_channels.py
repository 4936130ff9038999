"""Evens out the channels of activations, from calibration samples.

An activation has one scale for all its channels, so a channel much smaller than the largest keeps
few of the 256 levels. Between two layers the scale of each channel is free (see
:mod:`intaglio.passes.quantize.layer_pairs`): small channels are scaled up in the first layer and
down in the second, by powers of two, so the float model stays the same to the bit.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import Field

from intaglio.fitting.base import DataPass
from intaglio.fitting.runner import Runner, batch_size
from intaglio.passes.base import EXACT, Outcome, PassConfig, Skip, outcome
from intaglio.passes.marks import ALREADY_QUANTIZED, is_done, is_quantized
from intaglio.passes.operators import find_units
from intaglio.passes.provenance import source_name
from intaglio.passes.quantize.equalize_layers import describe_factors
from intaglio.passes.quantize.layer_pairs import (
    CHANNELS_PASS,
    LayerPair,
    find_pairs,
    move_scale,
    note_factors,
    weight_view,
)
from intaglio.transforms.equalization import evening_factors, predicted_noise

#: Strengths that are tried, the weakest first.
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)

#: The predicted error power must fall to this part of it: smaller predicted gains were no gains.
WORTHWHILE = 0.5


class EqualizeChannelsConfig(PassConfig):
    """Options of :class:`EqualizeChannels`.

    Attributes:
        strength: 1 makes all channels alike, at the cost of uneven weights behind them. None
            chooses for each pair what promises the least error.
        weight_share: Weight of the error of weights, which ``calibrate.round_weights`` lowers to
            a part, beside that of activations.
        samples: Use only the first so many samples; None for all.
    """

    strength: float | None = Field(default=None, gt=0.0, le=1.0)
    weight_share: float = Field(default=1.0, ge=0.0, le=1.0)
    samples: int | None = Field(default=64, ge=1)


@dataclasses.dataclass
class Channels:
    """What was seen of the channels between two layers.

    Attributes:
        magnitudes: Largest magnitude of each channel.
        powers: Mean square of each channel at the second layer's input.
        samples: Samples seen.
    """

    magnitudes: NDArray[np.float64]
    powers: NDArray[np.float64]
    samples: int = 0


class EqualizeChannels(DataPass):
    """Scales channels between layers, so that they use the levels of their tensor alike."""

    name = CHANNELS_PASS
    semantics = EXACT
    Config = EqualizeChannelsConfig

    def call(self, model: ir.Model) -> Outcome:
        """Changes weights and biases of ``model`` in place.

        Raises:
            RecipeError: There is no calibration data.
            InputError: The samples are damaged.
        """
        if is_quantized(model):
            return outcome(model, [], [Skip("", ALREADY_QUANTIZED)])
        if is_done(model, self.name):
            return outcome(model, [], [Skip("", "the channels are evened out already")])
        pairs, left_out = find_pairs(model.graph)
        skips = [Skip(source_name(node), reason) for node, reason in left_out]
        changes = []
        moved: dict[str, NDArray[np.float64]] = {}
        if pairs:
            for pair, found in zip(pairs, self._observe(model, pairs), strict=True):
                factors = self._factors(pair, found)
                if (factors != 1.0).any():
                    move_scale(pair, factors)
                    moved[str(pair.first.outputs[0].name)] = factors
                    changes.append(describe_factors(pair, factors))
        if moved:
            note_factors(model, moved)
        return outcome(model, changes, skips, {"pairs": len(pairs), "equalized": len(changes)})

    def _factors(self, pair: LayerPair, found: Channels) -> NDArray[np.float64]:
        if self.config.strength is not None:
            return evening_factors(found.magnitudes, self.config.strength)
        weight = weight_view(pair.second)
        candidates = [evening_factors(found.magnitudes, strength) for strength in STRENGTHS]
        noise = [
            predicted_noise(
                factors, found.magnitudes, found.powers, weight, self.config.weight_share
            )
            for factors in candidates
        ]
        best = int(np.argmin(noise))
        return candidates[best if noise[best] < WORTHWHILE * noise[0] else 0]

    def _observe(self, model: ir.Model, pairs: list[LayerPair]) -> list[Channels]:
        """Looks at the channels between the layers of each pair.

        Of several quantized tensors between two layers (before and after a PRelu), the larger
        counts: normalizing each one first lets the smaller spoil the larger.
        """
        points = {value.name for value in find_units(model.graph).points}
        watched = [[str(v.name) for v in pair.values if v.name in points] for pair in pairs]
        last = [str(pair.values[-1].name) for pair in pairs]
        result = [Channels(np.zeros(pair.channels), np.zeros(pair.channels)) for pair in pairs]
        names = [*last, *(name for group in watched for name in group)]
        stream = Runner(model, names, outputs=False).stream(
            self.require_data(),
            batch=batch_size(model),
            limit=self.config.samples,
            progress=self.report,
        )
        for found in stream:
            for channels, group, end in zip(result, watched, last, strict=True):
                for name in group:
                    seen = np.abs(_by_channel(found[name])).max(axis=(0, 2))
                    np.maximum(channels.magnitudes, seen, out=channels.magnitudes)
                values = _by_channel(found[end])
                channels.powers += np.square(values, dtype=np.float64).mean(axis=2).sum(axis=0)
                channels.samples += len(values)
        for channels in result:
            channels.powers /= max(channels.samples, 1)
        return result


def _by_channel(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values.reshape(*values.shape[:2], -1)
