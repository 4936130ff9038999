"""Convolutions with trained weights for NEON, on the emulated AArch64."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.targets.c.kernels.neon.trained import trained
from tests.targets.c.harness import network_of
from tests.targets.c.kernels.neon_programs import CHECKS, needs_tools, program
from tests.targets.c.kernels.test_trained_portable import (
    KINDS,
    TrainedMaker,
    add_geometries,
    add_sums_at_the_limits,
)
from tests.targets.c.reference import reference


@needs_tools
@pytest.mark.parametrize("flags", [("-O2",), CHECKS])
def test_layers_have_the_bits_of_the_formula(flags):
    maker = TrainedMaker(51)
    for kind in KINDS * 4:
        maker.trained(kind)
    add_geometries(maker)
    add_sums_at_the_limits(maker)
    assert sum(trained(layer, "neon") is not None for layer in maker.layers) > 20
    # The program's driver has no use for tensors without elements.
    layers = [layer for layer in maker.layers if layer.output.size]
    network = network_of(*layers)
    inputs = {tensor.name: maker.arrays[tensor.name] for tensor in network.inputs}

    ((found, _),) = program(network, "neon", flags=flags).run([inputs])

    for layer in layers:
        expected = reference(layer, [maker.arrays[tensor.name] for tensor in layer.inputs])
        np.testing.assert_array_equal(found[layer.output.name], expected, layer.name)
