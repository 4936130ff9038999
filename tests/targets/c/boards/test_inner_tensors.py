"""Inner tensors on the emulated boards are those of the integer graph, bit by bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import intaglio
from intaglio.errors import InternalError, ToolError
from intaglio.targets.c.boards import BOARDS, BuildOptions, run

from .conftest import OUTPUTS, Output, expected

pytestmark = pytest.mark.usefixtures("toolchain")

DIGITS = Path(__file__).resolve().parents[4] / "sample_models" / "digits"
M4 = BOARDS["cortex-m4"]
LAYERS = (Output((64,), "int16"), Output((10,), "int16"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return intaglio.convert(
        DIGITS / "digits.onnx",
        targets=["onnx-integer", "c"],
        calibration=DIGITS / "calibration.npz",
        out=tmp_path_factory.mktemp("digits") / "bundle",
    )


def _channels_first(array):
    return array.transpose(0, 3, 1, 2) if array.ndim == 4 else array


@pytest.mark.parametrize("board", [M4, BOARDS["cortex-m55"]], ids=lambda board: board.name)
def test_layers_of_digits_have_the_bits_of_the_integer_graph(board, bundle):
    artifact = bundle.artifact("c")
    layers = bundle.opener(artifact).report(artifact, bundle.folder)["layers"]
    specs = [Output(tuple(layer["shape"]), layer["dtype"]) for layer in layers]
    rng = np.random.default_rng(8)
    inputs = rng.integers(-128, 128, (3, *artifact.inputs[0].shape)).astype(np.int8)
    golden, [spec] = bundle.session("onnx-integer"), bundle.artifact("onnx-integer").inputs
    names = {place: layer["output"] for place, layer in enumerate(layers)}

    source = bundle.folder / artifact.path
    found = run(
        board,
        source.parent,
        source.stem,
        [[x] for x in inputs],
        artifact.outputs,
        layers=specs,
        inner=names,
    )

    compared = 0
    for x, result in zip(inputs, found, strict=True):
        wanted = golden.run_inner({spec.name: _channels_first(x)}, list(names.values()))
        assert set(result.inner) == set(names)
        for place, name in names.items():
            have = _channels_first(result.inner[place])
            np.testing.assert_array_equal(
                have.reshape(wanted.inner[name].shape), wanted.inner[name]
            )
            compared += 1
        for have, output in zip(result.outputs, artifact.outputs, strict=True):
            np.testing.assert_array_equal(have, wanted.outputs[output.name])
    assert compared == 3 * len(layers) > 6


def test_only_the_layers_that_are_asked_for_come(toy, samples):
    found = run(M4, toy, "toy", [[x] for x in samples], OUTPUTS, layers=LAYERS, inner=[0])

    for result, x in zip(found, samples, strict=True):
        assert list(result.inner) == [0]
        np.testing.assert_array_equal(result.inner[0], 2 * x.astype(np.int16))
        np.testing.assert_array_equal(result.outputs[0], expected(x)[0])


def test_outputs_come_without_layers(toy, samples):
    [result] = run(M4, toy, "toy", [[samples[0]]], OUTPUTS)

    assert result.inner == {}
    np.testing.assert_array_equal(result.outputs[1], expected(samples[0])[1])


@pytest.mark.parametrize(("size", "said"), [(63, "more bytes"), (65, "fewer bytes")])
def test_layers_of_other_sizes_are_refused(toy, samples, size, said):
    layers = (Output((size,), "int16"), LAYERS[1])

    with pytest.raises(InternalError, match=said):
        run(M4, toy, "toy", [[samples[0]]], OUTPUTS, layers=layers, inner=[0])


def test_what_a_model_must_not_do_is_told_here_too(toy, samples):
    options = BuildOptions(flags=("-DTOY_OVERFLOW",))

    with pytest.raises(ToolError, match="beyond its arena"):
        run(M4, toy, "toy", [[samples[0]]], OUTPUTS, options=options)
