"""The loop: what it tells the stepper, and that no interruption changes a bit."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.fitting.training.data import Samples
from intaglio.fitting.training.loop import Run
from intaglio.fitting.training.order import Order
from intaglio.fitting.training.run_folder import RunFolder
from intaglio.fitting.training.settings import RunSettings
from intaglio.transforms.forward_gradient.step import digest, update
from intaglio.transforms.forward_gradient.transcript import encode
from tests.fitting.training.numpy_stepper import NumpyStepper, small_training
from tests.transforms.forward_gradient.small_step import small_samples

TRAIN, HELD_OUT = Samples(*small_samples(40)), Samples(*small_samples(60, 1))
SETTINGS = {
    "steps": 30, "batch": 8, "seed": 11, "halve_every": 7, "validate_every": 4,
    "checkpoint_every": 9,
}  # fmt: skip


class Killed(BaseException):
    """Stands for a kill: nothing in the loop expects it."""


def run(path, training, stepper=None, validation=HELD_OUT, listener=None, **changes):
    settings = RunSettings(**{**SETTINGS, **changes})
    folder = RunFolder(path)
    try:
        used = stepper or NumpyStepper(training)
        told = listener or (lambda *_: None)
        return Run(used, training, TRAIN, validation, settings, folder, told).run()
    finally:
        folder.close()


def same(training, one, other):
    spec = training.specification
    return (
        digest(spec, one.weights) == digest(spec, other.weights)
        and encode(one.transcript) == encode(other.transcript)
        and one.validations == other.validations
        and one.stopped == other.stopped
        and one.steps_done == other.steps_done
    )


def replayed(training, transcript):
    """Digest of the weights that a transcript comes to."""
    weights = training.weights
    for step in range(transcript.steps):
        seed = training.specification.step_seed(transcript.first_seed, step)
        signs = [int(sign) for sign in transcript.signs[step]]
        weights = update(training.specification, weights, seed, signs, transcript.step_shift(step))
    return digest(training.specification, weights)


@pytest.mark.parametrize("probes", [1, 3])
def test_the_stepper_is_given_batches_seeds_and_halvings(tmp_path, probes):
    training = small_training(probes=probes)
    stepper = NumpyStepper(training)
    outcome = run(tmp_path / "run", training, stepper, validation=None)
    order = Order(40, 8, 11)
    assert len(stepper.seen) == 30
    for step, (x, labels, seed, shift) in enumerate(stepper.seen):
        np.testing.assert_array_equal(x, TRAIN.x[order.batch(step)])
        np.testing.assert_array_equal(labels, TRAIN.targets[order.batch(step)])
        assert seed == 11 + probes * step
        assert shift == step // 7
    assert outcome.transcript.halvings == (7, 14, 21, 28)
    assert outcome.stopped == "steps"
    assert outcome.validations == ()


def test_the_weights_are_those_of_the_transcript(tmp_path):
    training = small_training(probes=2)
    outcome = run(tmp_path / "run", training)
    found = digest(training.specification, outcome.weights)
    assert found == replayed(training, outcome.transcript)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Killed])
@pytest.mark.parametrize("stops", [[0], [1], [7], [9, 3], [12, 12, 5], [29], [4, 4, 4, 1]])
def test_an_interrupted_run_comes_to_the_same_bits(tmp_path, stop, stops):
    training = small_training()
    whole = run(tmp_path / "whole", training)
    done = 0
    for calls in stops:
        stepper = NumpyStepper(training, calls, stop)
        if stop is Killed:
            with pytest.raises(Killed):
                run(tmp_path / "cut", training, stepper)
        else:
            cut = run(tmp_path / "cut", training, stepper)
            assert cut.stopped == "interrupt"
            assert cut.transcript.steps == done + calls
            # What an interrupt leaves is where the run stands, not its best point.
            assert replayed(training, cut.transcript) == digest(training.specification, cut.weights)
        done += calls
    last = run(tmp_path / "cut", training)
    assert last.resumed_at == done
    assert same(training, last, whole)
    np.testing.assert_array_equal(last.losses, whole.losses)


@pytest.mark.parametrize("step", range(1, 31))
@pytest.mark.parametrize("place", ["journal", "after"])
def test_a_kill_between_a_step_and_what_follows_it(tmp_path, monkeypatch, step, place):
    """Behind the write of the signs, or behind validation and checkpoint."""
    training = small_training()
    whole = run(tmp_path / "whole", training)
    with monkeypatch.context() as patch:
        if place == "journal":

            def stop(self, done, journal, points):
                if done == step:
                    raise Killed

            original = Run._after
            patch.setattr(Run, "_after", lambda *given: stop(*given) or original(*given))
            listener = None
        else:

            def listener(done, total, loss, accuracy):
                if done == step:
                    raise Killed

        with pytest.raises(Killed):
            run(tmp_path / "cut", training, listener=listener)
    last = run(tmp_path / "cut", training)
    assert last.resumed_at == step
    assert same(training, last, whole)


def test_lost_checkpoints_and_losses_cost_nothing(tmp_path):
    training = small_training()
    whole = run(tmp_path / "whole", training)
    run(tmp_path / "cut", training, NumpyStepper(training, 20))
    for path in (tmp_path / "cut").glob("weights-*"):
        path.write_bytes(b"damaged")
    (tmp_path / "cut" / "losses.bin").unlink()
    last = run(tmp_path / "cut", training)
    assert same(training, last, whole)
    assert np.isnan(last.losses[:20]).all()
    np.testing.assert_array_equal(last.losses[20:], whole.losses[20:])


def test_the_best_weights_are_kept(tmp_path):
    training = small_training()
    # Steps far too large: it gets worse after a while.
    wild = small_training(multiplier=2000)
    for case in (training, wild):
        outcome = run(tmp_path / f"run{case is wild}", case)
        best = max(outcome.validations, key=lambda point: (point.accuracy, -point.loss))
        assert outcome.transcript.steps == best.step
        assert outcome.steps_done == 30
        stepper = NumpyStepper(case)
        stepper.set_weights(outcome.weights)
        right = (stepper.predict(HELD_OUT.x).argmax(axis=1) == HELD_OUT.targets).mean()
        assert right == best.accuracy
    assert [point.step for point in outcome.validations] == [0, 4, 8, 12, 16, 20, 24, 28, 30]


def test_patience_ends_a_run_that_gets_no_better(tmp_path):
    training = small_training(multiplier=0)
    outcome = run(tmp_path / "run", training, patience=2)
    assert outcome.stopped == "patience"
    assert [point.step for point in outcome.validations] == [0, 4, 8]
    assert outcome.steps_done == 8
    assert outcome.transcript.steps == 0
    found = digest(training.specification, outcome.weights)
    assert found == digest(training.specification, training.weights)


def test_patience_survives_a_kill(tmp_path):
    training = small_training(multiplier=2000)
    whole = run(tmp_path / "whole", training, patience=3, steps=60)
    with pytest.raises(Killed):
        run(tmp_path / "cut", training, NumpyStepper(training, 6, Killed), patience=3, steps=60)
    assert same(training, run(tmp_path / "cut", training, patience=3, steps=60), whole)


def test_the_listener_hears_every_step(tmp_path):
    training, heard = small_training(), []
    outcome = run(tmp_path / "run", training, listener=lambda *told: heard.append(told))
    assert [told[:2] for told in heard] == [(step + 1, 30) for step in range(30)]
    np.testing.assert_allclose([told[2] for told in heard], outcome.losses)
    assert heard[-1][3] == outcome.validations[-1].accuracy
    # Three classes, guessed: the loss of the first steps is near ln(3).
    assert 0.2 < outcome.losses[0] < 4


def test_no_more_halvings_than_a_transcript_holds(tmp_path):
    training = small_training()
    outcome = run(tmp_path / "run", training, steps=45, halve_every=1, validation=None)
    assert outcome.transcript.halvings == tuple(range(1, 32))


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"batch": 0}, {"validate_every": 0}, {"checkpoint_every": 0},
              {"patience": -1}, {"halve_every": -1}, {"seed": -1}]
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(wrong):
    from intaglio.errors import RecipeError

    name = next(iter(wrong)).replace("_", "-")
    with pytest.raises(RecipeError, match=f"--{name} is"):
        RunSettings(**wrong)
