"""The same adaptations in float: by backpropagation, and by forward gradients.

Backpropagation trains weights and biases with Adam and a cosine schedule. The forward gradient is
that of the product without its integers: the same directions from the same seeds, the same
distances, the same batches, so that the two differ by rounding alone.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import torch
from intaglio.transforms.forward_gradient.randomness import (
    Law,
    counter_hash,
    perturbation,
    stream_seed,
)
from torch.nn import functional

from benchmarks.adaptation.base_models import base_model, layers_of
from benchmarks.adaptation.data import Samples
from benchmarks.adaptation.networks import Layer, Parameters, forward, read_parameters
from benchmarks.adaptation.ours import first_seed, typical_weight
from benchmarks.adaptation.schedule import Curve, Schedule, batches

# Pictures that go through at a time: tensors of this size stay in the processor's cache.
_CHUNK = 128


@dataclasses.dataclass(frozen=True)
class Descent:
    """One way of training by backpropagation.

    Attributes:
        rate: Adam's learning rate at first; it follows a cosine to zero.
        epochs: Passes over the samples.
        batch: Samples a step.
        scores: How often the test set is scored.
    """

    rate: float
    epochs: int
    batch: int
    scores: int = 10


@dataclasses.dataclass(frozen=True)
class Split:
    """A network cut before the first layer that trains.

    Attributes:
        layers: Those that train.
        parameters: Their weights and biases, a copy.
        before: The layers that do not.
        fixed: Parameters of the whole network.
    """

    layers: tuple[Layer, ...]
    parameters: Parameters
    before: tuple[Layer, ...]
    fixed: Parameters

    def inputs(self, samples: Samples) -> torch.Tensor:
        """What reaches the first layer that trains."""
        x = torch.from_numpy(samples.x)
        if not self.before:
            return x
        with torch.no_grad():
            return torch.cat([self._through(part) for part in x.split(_CHUNK)])

    def score(self, x: torch.Tensor, y: torch.Tensor) -> float:
        """Accuracy in percent."""
        own = self.parameters
        with torch.no_grad():
            right = sum(
                int((forward(self.layers, own.weights, own.biases, a).argmax(1) == b).sum())
                for a, b in zip(x.split(_CHUNK), y.split(_CHUNK), strict=True)
            )
        return 100 * right / len(y)

    def _through(self, x: torch.Tensor) -> torch.Tensor:
        return forward(self.before, self.fixed.weights, self.fixed.biases, x)


def split(task: str, shared: Path, layers: str) -> Split:
    """The float network of a task for training its ``head`` or ``all`` layers."""
    found = layers_of(task)
    parameters = read_parameters(base_model(task, shared), found)
    cut = len(found) - 1 if layers == "head" else 0
    return Split(found[cut:], parameters.clone(), found[:cut], parameters)


def backpropagate(
    task: str,
    shared: Path,
    layers: str,
    descent: Descent,
    adapt_to: Samples,
    test: Samples,
    seed: int,
) -> Curve:
    """Adapts by backpropagation; the arguments are those of ``ours.adapt``."""
    network = split(task, shared, layers)
    x, y = network.inputs(adapt_to), torch.from_numpy(adapt_to.y)
    x_test, y_test = network.inputs(test), torch.from_numpy(test.y)
    own = network.parameters
    trained = [own.weights[layer.name] for layer in network.layers]
    trained += [own.biases[layer.name] for layer in network.layers]
    for tensor in trained:
        tensor.requires_grad_()
    optimizer = torch.optim.Adam(trained, lr=descent.rate)
    steps = descent.epochs * math.ceil(len(y) / descent.batch)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    points = [(0, network.score(x_test, y_test))]
    step = 0
    for epoch in range(descent.epochs):
        for chosen in torch.randperm(len(y), generator=generator).split(descent.batch):
            logits = forward(network.layers, own.weights, own.biases, x[chosen])
            optimizer.zero_grad()
            functional.cross_entropy(logits, y[chosen]).backward()
            optimizer.step()
            cosine.step()
            step += 1
        done, of = epoch + 1, descent.epochs
        if done * descent.scores // of > epoch * descent.scores // of:
            points.append((step, network.score(x_test, y_test)))
    return Curve(tuple(points))


def forward_gradient(
    task: str,
    shared: Path,
    layers: str,
    schedule: Schedule,
    adapt_to: Samples,
    test: Samples,
    seed: int,
) -> Curve:
    """Adapts by forward gradients in float; the arguments are those of ``ours.adapt``."""
    network = split(task, shared, layers)
    x, y = network.inputs(adapt_to), torch.from_numpy(adapt_to.y)
    x_test, y_test = network.inputs(test), torch.from_numpy(test.y)
    weights, biases = network.parameters.weights, network.parameters.biases
    unit = typical_weight(task, shared, layers)
    factors = {layer.name: _factor(weights[layer.name], unit) for layer in network.layers}
    points = [(0, network.score(x_test, y_test))]
    with torch.no_grad():
        for step, chosen in enumerate(batches(len(adapt_to), schedule, seed)):
            whole = len(chosen) == len(y)
            batch = (x, y) if whole else (x[chosen], y[chosen])
            seed_of_step = first_seed(seed) + step * schedule.probes
            total: dict[str, torch.Tensor] = {}
            for probe in range(schedule.probes):
                z = directions(network.layers, weights, seed_of_step, probe)
                losses = []
                for side in (schedule.epsilon, -schedule.epsilon):
                    moved = {k: weights[k] + side * factors[k] * z[k] for k in z}
                    losses.append(_loss(network.layers, {**weights, **moved}, biases, *batch))
                sign = float(np.sign(losses[0] - losses[1]))
                total = {k: total.get(k, 0) + sign * z[k] for k in z}
            rate = schedule.rate * 0.5 ** schedule.shift(step) / schedule.probes
            for name, gradient in total.items():
                weights[name].sub_(gradient, alpha=rate * factors[name])
            if schedule.scored(step):
                points.append((step + 1, network.score(x_test, y_test)))
    return Curve(tuple(points))


def directions(
    layers: tuple[Layer, ...], weights: dict[str, torch.Tensor], seed: int, probe: int
) -> dict[str, torch.Tensor]:
    """The product's Rademacher directions: tensors numbered in order, dense ones inputs first."""
    found = {}
    for number, layer in enumerate(layers):
        shape = tuple(weights[layer.name].shape)
        hashes = counter_hash(np.arange(math.prod(shape)), stream_seed(seed, probe, number))
        z = perturbation(hashes, Law.RADEMACHER).astype(np.float32) / 32
        ordered = z.reshape(shape[::-1]).T if layer.dense else z.reshape(shape)
        found[layer.name] = torch.from_numpy(np.ascontiguousarray(ordered))
    return found


def _factor(weight: torch.Tensor, unit: float) -> float:
    """``unit`` times the power of two next to the weights' own root mean square over it."""
    own = float(weight.double().pow(2).mean().sqrt())
    return unit * 2.0 ** round(math.log2(own / unit))


def _loss(
    layers: tuple[Layer, ...],
    weights: dict[str, torch.Tensor],
    biases: dict[str, torch.Tensor],
    x: torch.Tensor,
    y: torch.Tensor,
) -> float:
    return sum(
        float(functional.cross_entropy(forward(layers, weights, biases, a), b, reduction="sum"))
        for a, b in zip(x.split(_CHUNK), y.split(_CHUNK), strict=True)
    )
