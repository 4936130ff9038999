"""Where tensors lie: played through step by step, nothing is overwritten that is still read."""

import random

import numpy as np
import pytest

from intaglio.targets.c import lifetimes
from intaglio.targets.c.kernels.base import Implementation
from intaglio.targets.c.lifetimes import lay_out, live_peak
from intaglio.targets.c.network import Block, Move, Network, Tensor
from tests.targets.c.models import SAMPLE_NAMES, of_file, of_sample


def random_network(chance):
    """Layers that read one to three earlier tensors; some inputs twice, some results unread."""
    tensors = [Tensor(f"in{i}", (chance.randint(1, 400),), "int8") for i in range(2)]
    inputs, layers = tuple(tensors), []
    for step in range(chance.randint(1, 14)):
        read = chance.choices(tensors[-5:], k=chance.randint(1, 3))
        output = Tensor(f"t{step}", (chance.randint(1, 900),), "int8")
        block = Block(0, (1,), (1,), 0, (1,), 0)
        layers.append(Move(output.name, tuple(read), output, (), (block,)))
        tensors.append(output)
    outputs = tuple(layer.output for layer in layers[-chance.randint(1, 2) :])
    return Network("random", inputs, outputs, tuple(layers), "tflm", {})


def play(network, layout):
    """Writes every tensor and all scratch memory, and looks whether what is read is whole."""
    memory = np.full(layout.plan.bytes, -1, np.int64)
    constants = [t for layer in network.layers for t in layer.inputs if t.data is not None]
    outside = {*network.inputs, *network.outputs, *constants}
    for step, (layer, code) in enumerate(zip(network.layers, layout.implementations, strict=True)):
        for tensor in layer.inputs:
            if tensor not in outside:
                at = layout.offsets[tensor]
                assert (memory[at : at + tensor.bytes] == id(tensor)).all(), layer.name
        scratch = layout.scratch[step]
        if scratch is not None:
            memory[scratch : scratch + code.scratch] = -2
            # Scratch memory may not touch what the layer still reads.
            for tensor in layer.inputs:
                if tensor not in outside:
                    at = layout.offsets[tensor]
                    assert (memory[at : at + tensor.bytes] == id(tensor)).all(), layer.name
        if layer.output not in outside:
            at = layout.offsets[layer.output]
            for tensor in layer.inputs:
                if tensor in layout.offsets and tensor is not layer.output:
                    start = layout.offsets[tensor]
                    apart = at + layer.output.bytes <= start or start + tensor.bytes <= at
                    # A kernel that overwrites one operand may not find it as the other, too.
                    once = sum(other is tensor for other in layer.inputs) == 1
                    shared = once and any(layer.inputs[i] is tensor for i in code.in_place)
                    shared = shared and start == at
                    assert apart or shared, layer.name
            if scratch is not None:
                apart = at + layer.output.bytes <= scratch or scratch + code.scratch <= at
                assert apart, layer.name
            memory[at : at + layer.output.bytes] = id(layer.output)


@pytest.mark.parametrize("variant", ["portable", "dsp", "vnni"])
@pytest.mark.parametrize("memory", ["balanced", "small", "fast"])
def test_nothing_is_overwritten_that_is_read(monkeypatch, variant, memory):
    chance = random.Random(0)
    shared = 0
    for _ in range(150):
        network = random_network(chance)
        wants = {
            layer: (
                chance.choice([0, 0, 8, 100, 700]),
                tuple(i for i in range(len(layer.inputs)) if chance.random() < 0.5),
            )
            for layer in network.layers
        }

        def implement(layer, variant, budget, wants=wants):
            scratch, in_place = wants[layer]
            return Implementation("", scratch=max(scratch, min(budget, 64)), in_place=in_place)

        monkeypatch.setattr(lifetimes, "implement", implement)
        monkeypatch.setattr(lifetimes, "implement_within", implement)
        layout = lay_out(network, variant, memory)
        play(network, layout)
        assert layout.plan.bound <= layout.plan.bytes
        shared += len(set(layout.offsets.values())) < len(layout.offsets)
    assert shared > 20


def rounded(peak):
    """The allowance, and the multiples of 16 bytes that tensors take."""
    return int(1.05 * peak) + 3 * 15


@pytest.mark.parametrize("name", SAMPLE_NAMES)
@pytest.mark.parametrize("activations", ["int8", "int16"])
def test_arenas_of_sample_models_stay_within_the_bound(name, activations):
    network = of_sample(name, activations=activations).network
    for variant in ("portable", "dsp", "mve", "neon", "dotprod", "avx2", "vnni"):
        peak = live_peak(network)
        layout = lay_out(network, variant, "small")
        play(network, layout)
        assert layout.plan.bytes <= rounded(peak), variant
        layout = lay_out(network, variant)
        play(network, layout)
        assert layout.plan.bytes <= max(rounded(peak), peak + 768 + 3 * 15), variant


@pytest.mark.parametrize("name", ["ic_resnet8_int8", "vww_96_int8", "kws_ref_model_int8"])
def test_arenas_of_published_models_stay_within_the_bound(zoo, name):
    network = of_file(zoo / f"{name}.tflite").network
    for variant in ("portable", "dsp", "mve", "neon", "dotprod", "avx2", "vnni"):
        layout = lay_out(network, variant)
        play(network, layout)
        assert layout.plan.bytes <= 1.05 * live_peak(network), variant
        # These are large enough for the fastest kernels everywhere.
        assert layout.slower == (), variant


def test_the_fastest_kernels_may_cost_memory():
    network = of_sample("digits").network
    small, fast = lay_out(network, "dsp", "small"), lay_out(network, "dsp", "fast")
    assert small.slower
    assert fast.slower == ()
    assert fast.plan.bytes > small.plan.bytes
    assert lay_out(network, "dsp").slower == ()
