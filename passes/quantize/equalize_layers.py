"""Cross-layer equalization from the weights alone.

Brings the largest weight of each channel to the same magnitude in two consecutive layers (see
:mod:`intaglio.transforms.equalization`), so that no weight is small beside its tensor's scale. It
needs no data and suits one weight scale per tensor; with a scale per output channel
``calibrate.equalize_channels`` does more, since it looks at the activations.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import Field

from intaglio.passes.base import EXACT, Change, Outcome, Pass, PassConfig, Skip, outcome
from intaglio.passes.marks import ALREADY_QUANTIZED, is_done, is_quantized, mark_done
from intaglio.passes.provenance import source_name
from intaglio.passes.quantize.layer_pairs import (
    LayerPair,
    find_pairs,
    input_ranges,
    move_scale,
    output_ranges,
)
from intaglio.transforms.equalization import balancing_factors


class EqualizeConfig(PassConfig):
    """Options of :class:`EqualizeLayers`.

    Attributes:
        iterations: Most rounds over all pairs; it ends earlier when nothing moves any more.
    """

    iterations: int = Field(default=20, ge=1)


class EqualizeLayers(Pass):
    """Evens out the weight ranges of consecutive layers by powers of two."""

    name = "quantize.equalize_layers"
    semantics = EXACT
    Config = EqualizeConfig

    def call(self, model: ir.Model) -> Outcome:
        """Changes weights and biases of ``model`` in place."""
        if is_quantized(model):
            return outcome(model, [], [Skip("", ALREADY_QUANTIZED)])
        if is_done(model, self.name):
            return outcome(model, [], [Skip("", "the layers are equalized already")])
        pairs, left_out = find_pairs(model.graph)
        skips = [Skip(source_name(node), reason) for node, reason in left_out]
        total = self._equalize(pairs)
        changes = [
            describe_factors(pair, factors)
            for pair, factors in zip(pairs, total, strict=True)
            if (factors != 1.0).any()
        ]
        if changes:
            mark_done(model, self.name)
        return outcome(model, changes, skips, {"pairs": len(pairs), "equalized": len(changes)})

    def _equalize(self, pairs: list[LayerPair]) -> list[NDArray[np.float64]]:
        """Equalizes pair after pair until nothing moves; the product of the factors of each."""
        total = [np.ones(pair.channels) for pair in pairs]
        for _ in range(self.config.iterations):
            moved = False
            for pair, product in zip(pairs, total, strict=True):
                factors = balancing_factors(output_ranges(pair.first), input_ranges(pair.second))
                if (factors != 1.0).any():
                    move_scale(pair, factors)
                    product *= factors
                    moved = True
            if not moved:
                break
        return total


def describe_factors(pair: LayerPair, factors: NDArray[np.float64]) -> Change:
    """The evidence of scaling the channels of a pair."""
    return Change(
        "equalize",
        source_name(pair.first),
        "factors 1",
        f"factors {factors.min():g} to {factors.max():g}",
        f"to balance it with {source_name(pair.second)}",
    )
