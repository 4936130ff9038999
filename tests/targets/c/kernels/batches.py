"""Many layers in one network, compiled once, each compared with the function of the dialect."""

from __future__ import annotations

import numpy as np

from intaglio.targets.c.network import Rescale, Tensor
from intaglio.transforms.fixed_point import Rounding
from tests.targets.c.harness import network_of, run
from tests.targets.c.reference_functions import reference

#: The second stops with a message where C leaves something undefined.
BUILDS = (("-O3",), ("-O1", "-fsanitize=undefined"))


class Batch:
    """Layers with what they are fed.

    Args:
        seed: Of the random numbers.
    """

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.layers = []
        self._arrays = {}

    def tensor(self, array, zero_point=0, constant=False):
        """An input of the network that is fed with ``array``, or a constant."""
        name = f"t{len(self._arrays)}"
        array = np.asarray(array)
        self._arrays[name] = array
        data = array if constant else None
        return Tensor(name, array.shape, array.dtype.name, 1.0, zero_point, data=data)

    def integers(self, dtype, shape, spread="full"):
        """Random integers; rails and small numbers make saturation and ties frequent."""
        limits = np.iinfo(dtype)
        if spread == "rails":
            return self.random.choice(np.array([limits.min, limits.max], dtype), shape)
        low, high = (-3, 3) if spread == "small" else (limits.min, limits.max)
        return self.random.integers(low, high, shape, endpoint=True).astype(dtype)

    def operand(self, dtype, shape, constant=False):
        """A tensor of random integers; int8 has any zero point."""
        limits = np.iinfo(dtype)
        zero_point = 0
        if np.dtype(dtype) == np.int8:
            some = int(self.random.integers(-128, 128))
            zero_point = int(self.random.choice([limits.min, 0, limits.max, some]))
        spread = str(self.random.choice(["full", "full", "rails", "small"]))
        return self.tensor(self.integers(dtype, shape, spread), zero_point, constant)

    def output(self, shape, dtype, zero_point=0):
        """What a layer makes."""
        return Tensor(f"y{len(self.layers)}", tuple(shape), np.dtype(dtype).name, 1.0, zero_point)

    def rescale(self, rounding, shift, dtype="int32", multiplier=None):
        """A rescale to ``dtype``, with a clamp of its own for narrow types."""
        limits = np.iinfo(dtype)
        zero_point, low, high = 0, int(limits.min), int(limits.max)
        if dtype != "int32":
            zero_point = int(self.random.choice([low, 0, high, self.random.integers(-100, 100)]))
            clamp = self.random.choice(["type", "relu", "narrow"])
            low = low if clamp == "type" else zero_point
            high = min(zero_point + 5, high) if clamp == "narrow" else high
        if multiplier is None:
            some = self.random.integers(1 << 30, 1 << 31)
            multiplier = self.random.choice([1 << 30, 3 << 29, (1 << 31) - 1, some, some, some])
        return Rescale(
            Rounding(rounding),
            np.array([multiplier], np.int64),
            np.array([shift], np.int64),
            zero_point,
            low,
            high,
        )

    def add(self, layer):
        """Puts a layer into the network."""
        self.layers.append(layer)
        return layer

    def check(self, capfd, **options):
        """Compiles and runs all layers; every element must be that of the function."""
        network = network_of(*self.layers)
        given = {tensor.name: self._arrays[tensor.name] for tensor in network.inputs}
        expected = {}
        for layer in self.layers:
            arrays = [self._array(tensor, expected) for tensor in layer.inputs]
            expected[layer.output.name] = reference(layer, arrays)
        for flags in BUILDS:
            results = run(network, given, flags=flags, **options)
            for name, array in expected.items():
                np.testing.assert_array_equal(results[name], array, err_msg=f"{name} {flags}")
            assert "runtime error" not in capfd.readouterr().err
        return expected

    def _array(self, tensor, made):
        return made[tensor.name] if tensor.name in made else self._arrays[tensor.name]
