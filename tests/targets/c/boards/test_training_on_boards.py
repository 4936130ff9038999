"""Training steps on the emulated boards: the bits of numpy, and counted instructions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import intaglio
from intaglio.errors import ToolError
from intaglio.targets.c.boards import BOARDS, train_on_board
from intaglio.targets.c.training.packing import unpack_weights
from intaglio.targets.c.training.records import read_training_record
from intaglio.targets.c.training.sources import write_training_sources
from intaglio.training_files import load_training, open_stepper
from intaglio.transforms.forward_gradient.randomness import Law
from intaglio.transforms.forward_gradient.specification import StepRounding
from intaglio.transforms.forward_gradient.step import digest
from tests.targets.c.models import SAMPLES
from tests.targets.c.training_models import make

pytestmark = pytest.mark.usefixtures("toolchain")

SEED = 2**32 - 2
STEPS = 4


def emit(model, folder):
    written = write_training_sources(
        model.network, model.specification, model.initial, {"dsp", "mve"}
    )
    for name, text in written.files.items():
        (folder / name).write_text(text)
    return written.parameters.packed


def run(model, folder, board=BOARDS["cortex-m4"], count=2, steps=STEPS, **options):
    """Steps on the same batch, over and over."""
    x, targets = model.batch(count)
    batches = [([x], targets)] * steps
    probes = model.specification.probes
    return train_on_board(board, folder, "model", batches, probes, SEED, **options)


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
@pytest.mark.parametrize("options", [
    {"trains": "head"},
    {
        "law": Law.BINOMIAL, "probes": 2, "sharpness": True, "mask": "bits", "bias": True,
        "rounding": StepRounding.STOCHASTIC,
    },
], ids=["head", "everything"])  # fmt: skip
def test_weights_are_those_of_numpy(board, options, tmp_path):
    model = make(**options)
    packed = emit(model, tmp_path)
    found = run(model, tmp_path, board)
    x, targets = model.batch(2)
    weights, results = model.trained(x, targets, STEPS, seed=SEED)
    assert list(found.results) == results
    for name, array in unpack_weights(packed, found.weights).items():
        np.testing.assert_array_equal(array, weights[name], err_msg=name)
    assert found.resolution == 1
    assert len(found.instructions) == STEPS
    # All steps do the same work, but for the loops that count a logarithm.
    assert max(found.instructions) < 1.02 * min(found.instructions)
    assert found.functions
    assert 0 < found.stack_bytes < 4096


def test_the_timer_says_the_same_to_its_resolution(tmp_path):
    model = make("head")
    emit(model, tmp_path)
    exact, timed = (run(model, tmp_path, exact=exact) for exact in (True, False))
    assert timed.resolution == float(BOARDS["cortex-m4"].instructions_per_tick)
    assert timed.weights == exact.weights
    for one, other in zip(exact.instructions, timed.instructions, strict=True):
        assert abs(one - other) <= 2 * timed.resolution


def test_more_probes_take_more_instructions(tmp_path):
    """Three probes take three times the layers that train, and the frozen ones once."""
    counts = []
    for probes in (1, 3):
        folder = tmp_path / str(probes)
        folder.mkdir()
        model = make("head", size=3, probes=probes)
        emit(model, folder)
        counts.append(run(model, folder, count=1).mean_instructions)
    assert 1.1 * counts[0] < counts[1] < 2.9 * counts[0]


def test_a_label_out_of_range_is_refused(tmp_path):
    model = make("head")
    emit(model, tmp_path)
    x, targets = model.batch(2)
    wrong = dataclasses.replace(model, specification=model.specification)
    wrong.batch = lambda count: (x, targets + 100)
    with pytest.raises(ToolError, match="returned 5"):
        run(wrong, tmp_path)


def test_an_image_that_is_too_large_says_so(tmp_path):
    model = make("head")
    emit(model, tmp_path)
    with pytest.raises(ToolError, match="too large for the board"):
        run(model, tmp_path, count=100_000, steps=1)


def test_a_hundred_steps_of_digits_end_at_the_same_weights(tmp_path):
    """An emulated Cortex-M4, this machine and numpy agree on every weight."""
    folder = SAMPLES / "digits"
    bundle = intaglio.convert(
        folder / "digits.onnx", "forward-gradient", ["onnx-integer", "c"],
        folder / "calibration.npz", tmp_path / "bundle", sets=("c.variants=dsp,mve",),
    )  # fmt: skip
    training, stepper = load_training(bundle), open_stepper(bundle, "c", "portable")
    specification = training.specification
    given = np.load(folder / "test.npz")
    scale, zero_point = training.inputs[0].scale, training.inputs[0].zero_point
    image, labels = (given[key] for key in ("image", "labels"))
    x = np.clip(np.rint(image[:100] / scale) + zero_point, -128, 127).astype(np.int8)
    results = [
        stepper.step(x[i : i + 1], labels[i : i + 1], specification.step_seed(SEED, i))
        for i in range(100)
    ]
    batches = [([x[i : i + 1].transpose(0, 2, 3, 1)], labels[i : i + 1]) for i in range(100)]
    found = train_on_board(
        BOARDS["cortex-m4"], bundle.folder / "c", "digits_train", batches,
        specification.probes, SEED,
    )  # fmt: skip
    assert list(found.results) == results
    artifact = bundle.artifact("c", "train_step")
    record = read_training_record(bundle.opener(artifact).report(artifact, bundle.folder))
    weights = unpack_weights(record.packed, found.weights)
    assert digest(specification, weights) == digest(specification, stepper.weights())
    assert any((weights[name] != array).any() for name, array in training.weights.items())
