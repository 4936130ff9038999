"""Evens out the channels of activations, from calibration samples.

An activation has one scale for all its channels, so a channel much smaller than the largest keeps
few of the 256 levels. Between two layers the scale of each channel is free (see
:mod:`intaglio.passes.quantize.layer_pairs`): small channels are scaled up in the first layer and
down in the second, by powers of two, so the float model stays the same to the bit.
"""

from __future__ import annotations

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
)
from intaglio.transforms.equalization import evening_factors


class EqualizeChannelsConfig(PassConfig):
    """Options of :class:`EqualizeChannels`.

    Attributes:
        strength: 1 makes all channels alike, at the cost of uneven weights behind them.
        samples: Use only the first so many samples; None for all.
    """

    strength: float = Field(default=0.5, gt=0.0, le=1.0)
    samples: int | None = Field(default=64, ge=1)


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
            magnitudes = self._magnitudes(model, pairs)
            for pair, found in zip(pairs, magnitudes, strict=True):
                factors = evening_factors(found, self.config.strength)
                if (factors != 1.0).any():
                    move_scale(pair, factors)
                    moved[str(pair.first.outputs[0].name)] = factors
                    changes.append(describe_factors(pair, factors))
        if moved:
            note_factors(model, moved)
        return outcome(model, changes, skips, {"pairs": len(pairs), "equalized": len(changes)})

    def _magnitudes(self, model: ir.Model, pairs: list[LayerPair]) -> list[NDArray[np.float64]]:
        """The largest magnitude of each channel between the layers of each pair.

        Of several quantized tensors between two layers (before and after a PRelu), the larger
        counts: normalizing each one first lets the smaller spoil the larger.
        """
        points = {value.name for value in find_units(model.graph).points}
        names = [[str(v.name) for v in pair.values if v.name in points] for pair in pairs]
        largest: dict[str, NDArray[np.float64]] = {}
        runner = Runner(model, [name for group in names for name in group], outputs=False)
        for found in runner.stream(
            self.require_data(),
            batch=batch_size(model),
            limit=self.config.samples,
            progress=self.report,
        ):
            for name in (name for group in names for name in group):
                flat = np.abs(found[name].reshape(*found[name].shape[:2], -1))
                seen = flat.max(axis=(0, 2)).astype(np.float64)
                largest[name] = np.maximum(largest.get(name, 0.0), seen)
        result = []
        for pair, group in zip(pairs, names, strict=True):
            combined = np.zeros(pair.channels)
            for name in group:
                combined = np.maximum(combined, largest[name])
            result.append(combined)
        return result
