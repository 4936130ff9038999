"""Rounds weights so that each layer's output stays near its real value (AdaRound-style).

Plain rounding takes the nearest integer for every weight. Here the choice for a whole output
channel minimizes the expected squared error of its output, from second moments of the layer's
input (see :mod:`intaglio.transforms.rounding`), and a layer makes up for the rounding of the ones
before it: the moments are those of the quantized model. The bias takes up what is left in the mean.
Afterwards every weight lies exactly on its planned grid, so the later plain rounding keeps it.
"""

from __future__ import annotations


import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import Field

from intaglio.fitting.base import DataPass
from intaglio.fitting.column_statistics import Moments, collect_moments, moment_bytes
from intaglio.fitting.layers import Layer, array_of, find_layers, planned_scheme
from intaglio.passes.annotations import all_values, get_quantization
from intaglio.passes.base import APPROXIMATE, Change, PassConfig, Outcome, Skip, outcome
from intaglio.passes.marks import ALREADY_QUANTIZED, is_done, is_quantized, mark_done
from intaglio.passes.provenance import source_name
from intaglio.transforms.rounding import retarget, round_to_gram
from intaglio.transforms.scales import TensorQuantization

#: Sums of the layers that are looked at together may take so many bytes.
MOMENT_BYTES = 256 << 20


class RoundConfig(PassConfig):
    """Options of :class:`RoundWeights`.

    Attributes:
        samples: Use only the first so many calibration samples; None for all.
        rows: Output positions of each layer to look at (at least 4 for each weight of a channel).
        stages: Passes over the samples; layers of a later one see the rounding of earlier ones.
        quantized_inputs: Whether layers see the quantized model's activations.
        compensate: Whether a layer also makes up for the errors in its input.
        adjust_bias: Whether the bias takes up the change of the mean.
        damping: Added to the diagonal of the moments, relative to their mean.
        reach: Farthest that an integer may be from the real weight; 1 allows both neighbors.
        seed: Of the choice of positions.
    """

    samples: int | None = Field(default=256, ge=1)
    rows: int = Field(default=8192, ge=1)
    stages: int = Field(default=4, ge=1)
    quantized_inputs: bool = True
    compensate: bool = True
    adjust_bias: bool = True
    damping: float = Field(default=0.01, gt=0.0)
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
        planned = [layer for layer in layers if planned_scheme(layer) is not None]
        if not planned:
            return outcome(model, [], [*skips, Skip("", "no weights have a plan")])
        data = self.require_data()
        quantized = activation_plan(model) if self.config.quantized_inputs else {}
        original: dict[str, NDArray[np.float32]] = {}
        changes: list[Change] = []
        groups = _in_stages(planned, self.config.stages)
        for number, group in enumerate(groups):
            moments = collect_moments(
                model,
                group,
                data,
                quantized=quantized,
                original=original,
                rows=self.config.rows,
                seed=self.config.seed,
                limit=self.config.samples,
                progress=lambda done, total, n=number: self.report(  # type: ignore[misc]
                    n * total + done, len(groups) * total
                ),
            )
            for layer, found in zip(group, moments, strict=True):
                changes.append(self._round(layer, found, original))
        mark_done(model, self.name)
        facts = {"layers": len(planned), "samples": min(len(data), self.config.samples or 1 << 62)}
        return outcome(model, changes, skips, facts)

    def _round(
        self, layer: Layer, moments: Moments, original: dict[str, NDArray[np.float32]]
    ) -> Change:
        config = self.config
        scheme = planned_scheme(layer)
        assert scheme is not None
        weight = layer.matrix()
        scales = layer.scales(scheme)
        centered = config.adjust_bias and layer.bias is not None
        before, after = 0.0, 0.0
        new = np.empty_like(weight)
        shift = np.zeros(weight.shape[:2])
        for g in range(layer.groups):
            gram, cross = moments.gram[g], moments.cross[g]
            mean, real_mean = moments.mean[g], moments.real_mean[g]
            if centered:
                gram = gram - np.outer(mean, mean)
                cross = cross - np.outer(real_mean, mean)
            target = weight[g]
            if config.compensate and config.quantized_inputs:
                target = retarget(weight[g], gram, cross, config.damping)
            found = round_to_gram(
                target, scales[g], gram, damping=config.damping, reach=config.reach
            )
            new[g] = found.q * scales[g][:, None]
            before += float(found.nearest_error.sum())
            after += float(found.error.sum())
            shift[g] = weight[g] @ real_mean - new[g] @ mean
        name = str(layer.weight.name)
        original[name] = array_of(layer.weight)
        set_array(layer.weight, layer.weights(new))
        if centered and layer.bias is not None:
            original[str(layer.bias.name)] = array_of(layer.bias)
            bias = array_of(layer.bias).astype(np.float64) + shift.reshape(-1)
            set_array(layer.bias, bias.astype(np.float32))
        kept = np.rint(weight / scales[..., None]) == np.rint(new / scales[..., None])
        gain = 10 * np.log10(before / after) if after > 0 else 0.0
        return Change(
            "round",
            source_name(layer.node),
            "nearest",
            f"{100 * (1 - kept.mean()):.1f} % of the weights to another integer",
            f"output error {gain:.1f} dB less",
        )


def activation_plan(model: ir.Model) -> dict[str, TensorQuantization]:
    """The planned quantization of the activations by name."""
    return {
        str(value.name): found
        for value in all_values(model)
        if not value.is_initializer() and (found := get_quantization(value)) is not None
    }


def set_array(value: ir.Value, array: NDArray[np.float32]) -> None:
    """Replaces the value of an initializer."""
    value.const_value = ir.tensor(array, name=value.name)


def _in_stages(layers: list[Layer], stages: int) -> list[list[Layer]]:
    """Divides layers in graph order, so that the sums of each part stay within the bound."""
    size = max(1, -(-len(layers) // stages))
    parts: list[list[Layer]] = [[]]
    held = 0
    for layer in layers:
        if parts[-1] and (
            len(parts[-1]) == size or held + moment_bytes(layer) > MOMENT_BYTES
        ):
            parts.append([])
            held = 0
        parts[-1].append(layer)
        held += moment_bytes(layer)
    return parts


