"""Many layers in one AArch64 program, run by QEMU, each compared with the judge of its kind."""

import tempfile
from pathlib import Path

import numpy as np
import pytest

from intaglio.targets.c.emulated import FLAGS, Emulated, missing_packages
from intaglio.targets.c.kernels.neon import KERNELS
from intaglio.targets.c.library import Port
from intaglio.targets.c.network import Rescale, Tensor
from intaglio.targets.c.source import write_sources
from intaglio.transforms.fixed_point import Rounding
from tests.targets.c import reference, reference_functions
from tests.targets.c.harness import STRICT, network_of

VARIANTS = ("dotprod", "neon")
#: Stops where C leaves something undefined, without a library.
CHECKS = ("-O1", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")

needs_tools = pytest.mark.skipif(
    bool(missing_packages()), reason=f"needs Debian's {' '.join(missing_packages())}"
)


def ports(tensors):
    """What a program needs to know of tensors."""
    return [Port(t.name, t.shape, t.dtype) for t in tensors]


def program(network, variant, *, inner=(), flags=()):
    """A network as an AArch64 program of one variant."""
    kept = tempfile.TemporaryDirectory(prefix="intaglio-neon-")
    folder = Path(kept.name)
    for name, text in write_sources(network, {variant}).files.items():
        (folder / name).write_text(text)
    forced = (f"-D{network.name.upper()}_PORTABLE",) if variant == "portable" else ()
    found = Emulated(
        folder,
        network.name,
        ports(network.inputs),
        ports(network.outputs),
        folder,
        layers=ports([layer.output for layer in network.layers]),
        inner=inner,
        flags=(*FLAGS[variant], *STRICT, *forced, *flags),
    )
    # The folder lives as long as the program.
    found.folder = kept
    return found


class Cases:
    """Independent layers with random inputs.

    Args:
        seed: Of the random numbers.
    """

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.layers = []

    def choose(self, *values):
        """One of the values."""
        return values[self.random.integers(len(values))]

    def tensor(self, shape, dtype="int8", data=None):
        """An activation with a zero point (int16 has none), or a constant."""
        zero = self.choose(-128, 0, 127, int(self.random.integers(-128, 128)))
        if dtype == "int16" or data is not None:
            zero = 0
        name = f"t{sum(len(layer.inputs) for layer in self.layers)}_{self.random.integers(1 << 40)}"
        return Tensor(name, tuple(shape), dtype, 1.0, zero, data=data)

    def output(self, shape, dtype="int8"):
        """What the next layer makes."""
        return Tensor(f"y{len(self.layers)}", tuple(shape), dtype, 1.0)

    def rescale(self, spread, rounding="double", channels=1, dtype="int8"):
        """A rescale that brings values of about ``spread`` to a good part of the type's range."""
        limits = np.iinfo(dtype)
        wanted = (
            np.log2(max(spread, 1)) - np.log2(limits.max) + self.random.uniform(-2, 2, channels)
        )
        shift = np.clip(np.round(31 + wanted), 24 if rounding == "wide" else 2, 62)
        if rounding == "real":
            shift = np.clip(shift + 22, 46, 97)
        some = self.random.integers(1 << 30, 1 << 31, channels)
        corner = self.random.choice([1 << 30, 3 << 29, (1 << 31) - 1, 0], channels)
        multiplier = np.where(self.random.random(channels) < 0.7, some, corner)
        if rounding == "real":
            multiplier = multiplier << 22 | self.random.integers(0, 1 << 22, channels)
        zero = 0 if dtype == "int16" else int(self.random.integers(-128, 128))
        clamp = self.choose("type", "type", "relu", "narrow")
        low = int(limits.min) if clamp == "type" else zero
        high = min(zero + 40, int(limits.max)) if clamp == "narrow" else int(limits.max)
        return Rescale(Rounding(rounding), multiplier, shift.astype(np.int64), zero, low, high)

    def add(self, layer):
        """Puts a layer in."""
        self.layers.append(layer)

    def feed(self, rails):
        """Inputs: random, or at both ends of the type only."""
        network = network_of(*self.layers)
        arrays = {}
        for tensor in network.inputs:
            limits = np.iinfo(tensor.dtype)
            numbers = self.random.integers(limits.min, limits.max, tensor.shape, endpoint=True)
            if rails:
                numbers = np.where(numbers < 0, limits.min, limits.max)
            arrays[tensor.name] = numbers.astype(tensor.dtype)
        return arrays

    def check(self, variant, flags=(), special=None):
        """Every element of every layer must be that of the judge.

        Args:
            variant: Name of the processor.
            flags: More arguments for the compiler.
            special: How many layers must have a kernel of their own.
        """
        kernels = [KERNELS[type(layer)](layer, variant, 0) is not None for layer in self.layers]
        assert sum(kernels) >= (len(kernels) if special is None else special)
        network = network_of(*self.layers)
        batch = [self.feed(rails) for rails in (False, True)]
        results = program(network, variant, flags=flags).run(batch)
        for arrays, (outputs, _) in zip(batch, results, strict=True):
            for layer in self.layers:
                given = [
                    arrays[t.name] if t.data is None else np.asarray(t.data) for t in layer.inputs
                ]
                judge = reference_functions if reference_functions.covers(layer) else reference
                np.testing.assert_array_equal(
                    outputs[layer.output.name], judge.reference(layer, given), err_msg=str(layer)
                )
