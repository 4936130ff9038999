"""Convolutions with trained weights for Cortex-M with DSP: on the emulated M4, and on this machine.

On this machine they run in their form in C, with a header that stands in for ``arm_acle.h``, where
undefined behaviour is found.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from intaglio.targets.c import lifetimes
from intaglio.targets.c.boards import BOARDS, BuildOptions, measure, missing_packages
from intaglio.targets.c.compiler import find_compiler
from intaglio.targets.c.kernels.choose import implement
from intaglio.targets.c.kernels.dsp import KERNELS
from intaglio.targets.c.kernels.dsp.trained_depthwise import reach_of
from intaglio.targets.c.library import Library, Port
from intaglio.targets.c.network import TrainedConvolution, Window
from intaglio.targets.c.source import write_sources
from tests.targets.c.harness import STRICT, network_of
from tests.targets.c.kernels.test_dsp_on_host import _FLAGS, ACLE
from tests.targets.c.kernels.test_trained_portable import (
    KINDS,
    TrainedMaker,
    add_geometries,
    add_sums_at_the_limits,
    beside_fixed_ones,
)
from tests.targets.c.reference import reference

MISSING = missing_packages()
on_board = pytest.mark.skipif(
    bool(MISSING), reason=f"needs the Debian packages {' '.join(MISSING)}"
)
#: With the assembler, without, and without optimisation.
BUILDS = (("-O2", ()), ("-O2", ("-DDSP_PLAIN",)), ("-O0", ()))
BUDGETS = (0, 60_000)


def kinds(seed):
    """Layers of all kinds."""
    maker = TrainedMaker(seed)
    for kind in KINDS * 3:
        maker.trained(kind)
    for kind in ("dense", "depthwise", "connected"):
        for rounding in ("double", "single", "wide", "real"):
            maker.trained(kind, rounding=rounding)
    # Three by three, as most depthwise layers are.
    for columns, stride in ((1, 1), (2, 1), (5, 1), (8, 2), (7, 2), (3, 2)):
        result = (3, -(-columns // stride))
        window = Window(
            (3 * stride, columns, 8), (*result, 8), (3, 3), (stride, stride), pads=(1, 1)
        )
        for rounding in ("double", "single"):
            maker.convolved_trained(
                window, 1, 8, output="int8", rounding=rounding, wide=False, trained_bias=False
            )
            biased(maker, window, rounding)
    return maker


def biased(maker, window, rounding):
    """A depthwise layer with a trained bias, in two channels as large as sums allow."""
    layer = maker.convolved_trained(
        window, 1, 8, output="int8", rounding=rounding, wide=False, trained_bias=True,
        moving=1 << 20, limit=20000, spread="all",
    )  # fmt: skip
    room = (1 << 31) - 1 - 9 * 20000 * 255
    values = maker.arrays[layer.inputs[2].name]
    values[0], values[1] = room - abs(layer.bias[0]), abs(layer.bias[1]) - room
    return layer


def corners(seed):
    """Layers of odd geometry, and sums next to the limits."""
    maker = TrainedMaker(seed)
    add_geometries(maker)
    add_sums_at_the_limits(maker)
    return maker


def written(maker, folder, monkeypatch, budget, processor="dsp"):
    """The network of these layers, its inputs and its outputs; the C is in the folder."""
    network = network_of(*maker.layers, name="layers")
    for name in ("implement", "implement_within"):
        monkeypatch.setattr(lifetimes, name, lambda layer, name, _: implement(layer, name, budget))
    for name, text in write_sources(network, {processor}).files.items():
        (folder / name).write_text(text)
    inputs = {tensor.name: maker.arrays[tensor.name] for tensor in network.inputs}
    outputs = {
        layer.output.name: reference(layer, [maker.arrays[t.name] for t in layer.inputs])
        for layer in maker.layers
    }
    return network, inputs, outputs


@pytest.mark.skipif(find_compiler() is None, reason="needs a C compiler")
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("make", [kinds, corners, beside_fixed_ones])
def test_nothing_is_undefined(tmp_path, monkeypatch, capfd, make, budget):
    maker = make(11)
    network, inputs, outputs = written(maker, tmp_path, monkeypatch, budget)
    (tmp_path / "arm_acle.h").write_text(ACLE)
    library = Library(
        tmp_path,
        network.name,
        [Port(t.name, t.shape, t.dtype) for t in network.inputs],
        [Port(t.name, t.shape, t.dtype) for t in network.outputs],
        [Port(t.name, t.shape, t.dtype) for t in network.outputs],
        tmp_path,
        flags=(*_FLAGS, f"-I{tmp_path}"),
    )

    found, _ = library.run(inputs)

    for name, expected in outputs.items():
        np.testing.assert_array_equal(found[name], expected, name)
    assert "runtime error" not in capfd.readouterr().err


@on_board
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("make", [kinds, corners])
def test_layers_have_the_bits_of_the_formula(tmp_path, monkeypatch, make, budget):
    check(make(12), tmp_path, monkeypatch, budget, *BUILDS[0])


@on_board
@pytest.mark.parametrize(("optimization", "flags"), BUILDS[1:])
def test_other_builds_have_the_bits_of_the_formula(tmp_path, monkeypatch, optimization, flags):
    check(kinds(13), tmp_path, monkeypatch, 60_000, optimization, flags)


def check(
    maker, folder, monkeypatch, budget, optimization, flags, board="cortex-m4", processor="dsp"
):
    """Compiles strictly, runs on the board, and compares the outputs."""
    network, inputs, outputs = written(maker, folder, monkeypatch, budget, processor)
    expected = [outputs[t.name] for t in network.outputs]
    run = measure(
        BOARDS[board],
        folder,
        network.name,
        [[inputs[t.name] for t in network.inputs]],
        network.outputs,
        expected=[expected],
        exact=False,
        options=BuildOptions(optimization=optimization, flags=(*flags, *STRICT)),
    )
    for tensor, array, found in zip(network.outputs, expected, run.outputs[0], strict=True):
        np.testing.assert_array_equal(found, array, tensor.name)
    assert run.differing == 0


def test_scratch_memory_holds_a_window_at_least_and_two_where_that_is_free():
    maker = TrainedMaker(14)
    window = Window((5, 5, 8), (5, 5, 12), (3, 3), pads=(1, 1))
    layer = maker.convolved_trained(window, 8, rounding="double", wide=False)

    for budget, bytes_ in ((0, 144), (287, 144), (288, 288), (10_000, 288)):
        assert KERNELS[TrainedConvolution](layer, "dsp", budget).scratch == bytes_


def test_a_trained_bias_beyond_the_reach_is_clamped_to_it():
    """Only where results are at their ends there; other layers are left to portable code."""
    maker = TrainedMaker(15)
    window = Window((5, 5, 8), (5, 5, 8), (3, 3), pads=(1, 1))
    layers = [biased(maker, window, "double") for _ in range(12)]
    reaches = [reach_of(layer) for layer in layers]
    found = [KERNELS[TrainedConvolution](layer, "dsp", 0) for layer in layers]

    assert sum(code is not None for code in found) > 3
    assert all(code is None for code, reach in zip(found, reaches, strict=True) if reach is None)
    small = dataclasses.replace(
        layers[0], rescale=dataclasses.replace(layers[0].rescale, shift=np.array([60]))
    )
    assert reach_of(small) is None
