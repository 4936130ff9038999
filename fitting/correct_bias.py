"""Corrects biases for the shift that quantization gives to a layer's mean output.

Rounding errors of weights and clipped activations do not cancel out on average: each output channel
is off by some constant, and what is constant a bias can take up (Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction", 2019, section 4.2; here with
calibration data). Layers are corrected in graph order, each with the quantized and corrected ones
before it.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import Field

from intaglio.fitting.base import DataPass
from intaglio.fitting.layers import Layer, array_of, find_layers, planned_scheme, set_array
from intaglio.fitting.runner import Runner, activation_plan, batch_size
from intaglio.passes.annotations import get_quantization
from intaglio.passes.base import APPROXIMATE, Change, Outcome, PassConfig, Skip, outcome
from intaglio.passes.marks import ALREADY_QUANTIZED, is_done, is_quantized, mark_done
from intaglio.passes.provenance import source_name

Means = dict[str, NDArray[np.float64]]


class CorrectConfig(PassConfig):
    """Options of :class:`CorrectBias`.

    Attributes:
        samples: Use only the first so many calibration samples; None for all. Each layer needs a
            run of its own.
        activations: Whether to correct for quantized activations too, not for weights alone.
    """

    samples: int | None = Field(default=64, ge=1)
    activations: bool = True


class CorrectBias(DataPass):
    """Shifts biases so that each layer's mean output is what it is in the float model."""

    name = "calibrate.correct_bias"
    semantics = APPROXIMATE
    Config = CorrectConfig

    def call(self, model: ir.Model) -> Outcome:
        """Changes biases of ``model`` in place.

        Raises:
            RecipeError: There is no calibration data.
            InputError: The samples are damaged.
        """
        if is_quantized(model):
            return outcome(model, [], [Skip("", ALREADY_QUANTIZED)])
        if is_done(model, self.name):
            return outcome(model, [], [Skip("", "the biases are corrected already")])
        layers, left_out = find_layers(model)
        skips = [Skip(source_name(node), reason) for node, reason in left_out]
        chosen: list[Layer] = []
        for layer in layers:
            if planned_scheme(layer) is None:
                skips.append(Skip(source_name(layer.node), "its weights have no plan"))
            elif layer.bias is None:
                skips.append(Skip(source_name(layer.node), "it has no bias of its own"))
            else:
                chosen.append(layer)
        if not chosen:
            return outcome(model, [], skips)
        changes = self._correct(model, chosen, rounded_weights(layers))
        mark_done(model, self.name)
        return outcome(model, changes, skips, {"layers": len(chosen)})

    def _correct(
        self, model: ir.Model, layers: list[Layer], weights: dict[str, NDArray[np.float32]]
    ) -> list[Change]:
        quantized = activation_plan(model) if self.config.activations else {}
        wanted = self._means(Runner(model, _outputs(layers), outputs=False), model, layers)
        changes: list[Change] = []
        biases: dict[str, NDArray[np.float32]] = {}
        for number, layer in enumerate(layers):
            # The layer's own output is looked at before it is quantized.
            name = str(layer.output.name)
            plan = {key: value for key, value in quantized.items() if key != name}
            runner = Runner(
                model, [name], quantized=plan, weights={**weights, **biases}, outputs=False
            )
            found = self._means(runner, model, [layer])
            shift = wanted[name] - found[name]
            bias = layer.bias
            assert bias is not None
            biases[str(bias.name)] = (array_of(bias).astype(np.float64) + shift).astype(np.float32)
            changes.append(
                Change(
                    "correct",
                    source_name(layer.node),
                    "bias",
                    f"bias shifted by up to {np.abs(shift).max():.3g}",
                    "to keep the mean output",
                )
            )
            self.report(number + 1, len(layers))
        for layer in layers:
            assert layer.bias is not None
            set_array(layer.bias, biases[str(layer.bias.name)])
        return changes

    def _means(self, runner: Runner, model: ir.Model, layers: list[Layer]) -> Means:
        """Mean output of each channel of the layers, by the output's name."""
        sums: Means = {}
        count = dict.fromkeys(_outputs(layers), 0)
        for found in runner.stream(
            self.require_data(), batch=batch_size(model), limit=self.config.samples
        ):
            for layer in layers:
                name = str(layer.output.name)
                values = np.moveaxis(found[name], 1 if layer.kernel else -1, -1)
                rows = values.reshape(-1, values.shape[-1])
                sums[name] = sums.get(name, 0.0) + rows.sum(axis=0, dtype=np.float64)
                count[name] += len(rows)
        return {name: total / max(count[name], 1) for name, total in sums.items()}


def rounded_weights(layers: list[Layer]) -> dict[str, NDArray[np.float32]]:
    """What the planned weights are after rounding, by name."""
    result = {}
    for layer in layers:
        scheme = get_quantization(layer.weight)
        if scheme is not None:
            result[str(layer.weight.name)] = scheme.dequantize(
                scheme.quantize(array_of(layer.weight))
            )
    return result


def _outputs(layers: list[Layer]) -> list[str]:
    return [str(layer.output.name) for layer in layers]
