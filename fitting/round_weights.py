"""Rounds weights so that each layer's output stays near its real value (AdaRound-style).

Plain rounding takes the nearest integer for every weight. Here the choice for a whole output
channel minimizes the expected squared error of its output, from the second moments of the layer's
input (see :mod:`intaglio.transforms.rounding`); what remains in the mean goes into the bias.
Afterwards every weight lies exactly on its planned grid, so the later plain rounding keeps it.

The moments are those of the float model. Taking those of the quantized model gained nothing in
measurements, and letting weights make up for the errors of the activations before them lost.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import Field

from intaglio.fitting.base import DataPass
from intaglio.fitting.column_statistics import Moments, collect_moments, moment_bytes
from intaglio.fitting.layers import Layer, array_of, find_layers, planned_scheme, set_array
from intaglio.passes.base import APPROXIMATE, Change, Outcome, PassConfig, Skip, outcome
from intaglio.passes.marks import ALREADY_QUANTIZED, is_done, is_quantized, mark_done
from intaglio.passes.provenance import source_name
from intaglio.passes.train.marks import get_trained
from intaglio.transforms.rounding import round_to_gram

#: Sums of the layers that are looked at together may take so many bytes.
MOMENT_BYTES = 256 << 20

#: The same of a single layer. Rounding works on about four matrices of that size, in time that
#: grows with the cube of its side: columns of up to 4,096 elements, of a layer without groups.
LAYER_BYTES = 128 << 20


class RoundConfig(PassConfig):
    """Options of :class:`RoundWeights`.

    Attributes:
        samples: Use only the first so many calibration samples; None for all.
        rows: Output positions of each layer to look at (at least 4 for each weight of a channel).
        adjust_bias: Whether the bias takes up the change of the mean.
        damping: Added to the diagonal of the moments, relative to their mean: guards against too
            few samples.
        reach: Farthest that an integer may be from the real weight; 1 allows both neighbors.
        seed: Of the choice of positions.
    """

    samples: int | None = Field(default=256, ge=1)
    rows: int = Field(default=8192, ge=1)
    adjust_bias: bool = True
    damping: float = Field(default=0.1, gt=0.0)
    reach: float = Field(default=1.0, ge=0.5, le=8.0)
    seed: int = Field(default=0, ge=0)


class RoundWeights(DataPass):
    """Moves weights onto their planned grid, where the layer's output error is least."""

    name = "calibrate.round_weights"
    semantics = APPROXIMATE
    Config = RoundConfig

    def call(self, model: ir.Model) -> Outcome:
        """Changes weights (and biases) of ``model`` in place.

        Raises:
            RecipeError: There is no calibration data.
            InputError: The samples are damaged.
        """
        if is_quantized(model):
            return outcome(model, [], [Skip("", ALREADY_QUANTIZED)])
        if is_done(model, self.name):
            return outcome(model, [], [Skip("", "the weights are rounded already")])
        layers, left_out = find_layers(model)
        skips = [Skip(source_name(node), reason) for node, reason in left_out]
        planned = []
        for layer in layers:
            scheme = planned_scheme(layer)
            if scheme is None:
                continue
            if get_trained(layer.node) is not None:
                reason = "its weights train: they are rounded to the nearest"
                skips.append(Skip(source_name(layer.node), reason))
            elif moment_bytes(layer) > LAYER_BYTES:
                reason = (
                    f"its columns of {layer.columns:,} elements need {moment_bytes(layer) >> 20:,} "
                    "MiB of moments; its weights are rounded to the nearest"
                )
                skips.append(Skip(source_name(layer.node), reason))
            else:
                planned.append(layer)
        if not planned:
            return outcome(model, [], [*skips, Skip("", "no weights have a plan")])
        data = self.require_data()
        rounded: list[tuple[Layer, NDArray[np.float32], NDArray[np.float64]]] = []
        changes: list[Change] = []
        parts = _in_parts(planned)
        for number, part in enumerate(parts):
            moments = collect_moments(
                model,
                part,
                data,
                rows=self.config.rows,
                seed=self.config.seed,
                limit=self.config.samples,
                progress=lambda done, total, n=number: self.report(  # type: ignore[misc]
                    n * total + done, len(parts) * total
                ),
            )
            for layer, found in zip(part, moments, strict=True):
                weights, shift, change = self._round(layer, found)
                rounded.append((layer, weights, shift))
                changes.append(change)
        # Not before all moments are known: they are to be those of the float model.
        for layer, weights, shift in rounded:
            set_array(layer.weight, weights)
            if layer.bias is not None and self.config.adjust_bias:
                bias = array_of(layer.bias).astype(np.float64) + shift.reshape(-1)
                set_array(layer.bias, bias.astype(np.float32))
        mark_done(model, self.name)
        samples = len(data) if self.config.samples is None else min(len(data), self.config.samples)
        return outcome(model, changes, skips, {"layers": len(planned), "samples": samples})

    def _round(
        self, layer: Layer, moments: Moments
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], Change]:
        """New weights in the layer's layout, and what to add to the bias."""
        config = self.config
        scheme = planned_scheme(layer)
        assert scheme is not None
        weight = layer.matrix()
        scales = layer.scales(scheme)
        centered = config.adjust_bias and layer.bias is not None
        before, after = 0.0, 0.0
        q = np.empty_like(weight)
        for g in range(layer.groups):
            gram = moments.covariance(g) if centered else moments.gram[g]
            found = round_to_gram(
                weight[g], scales[g], gram, damping=config.damping, reach=config.reach
            )
            q[g] = found.q
            before += float(found.nearest_error.sum())
            after += float(found.error.sum())
        new = q * scales[..., None]
        shift = np.einsum("gok,gk->go", weight - new, moments.mean)
        moved = float(np.mean(np.rint(weight / scales[..., None]) != q))
        gain = 10 * np.log10(before / after) if after > 0 else 0.0
        change = Change(
            "round",
            source_name(layer.node),
            "nearest",
            f"{100 * moved:.1f} % of the weights to another integer",
            f"output error {gain:.1f} dB less",
        )
        return layer.weights(new), shift, change


def _in_parts(layers: list[Layer]) -> list[list[Layer]]:
    """Divides layers in graph order, so that the sums of each part stay within the bound."""
    parts: list[list[Layer]] = [[]]
    held = 0
    for layer in layers:
        if parts[-1] and held + moment_bytes(layer) > MOMENT_BYTES:
            parts.append([])
            held = 0
        parts[-1].append(layer)
        held += moment_bytes(layer)
    return parts
