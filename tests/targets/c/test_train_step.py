"""Training steps in C equal those in numpy: losses, signs and every weight, bit for bit."""

import dataclasses

import numpy as np
import pytest

from intaglio.transforms.forward_gradient.randomness import Law
from intaglio.transforms.forward_gradient.specification import StepRounding
from intaglio.transforms.forward_gradient.step import digest
from tests.targets.c.harness import runs_here
from tests.targets.c.training_models import CLASSES, Trainer, make

VARIANTS = ("portable", "avx2", "vnni")
STEPS = 6


def check(model, folder, variant="portable", batch=3, steps=STEPS, step_shift=0):
    """Steps in C and in numpy; the weights of the last."""
    trainer = Trainer(model, folder, variant)
    x, targets = model.batch(batch)
    wanted, results = model.trained(x, targets, steps, step_shift=step_shift)
    assert trainer.train(x, targets, steps, step_shift=step_shift) == results
    found = trainer.weights()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name, strict=True)
    assert digest(model.specification, found) == digest(model.specification, wanted)
    return trainer, results


def need(variant):
    if not runs_here(variant):
        pytest.skip(f"this processor has no {variant}")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("trains", ["head", "all"])
@pytest.mark.parametrize("batch", [1, 16])
def test_steps_equal_the_definition(trains, batch, variant, tmp_path):
    need(variant)
    _, results = check(make(trains), tmp_path, variant, batch)
    assert {sign for result in results for sign in result.signs} == {1, -1}


@pytest.mark.parametrize("options", [
    {"probes": 3},
    {"law": "binomial"},
    {"law": "binomial", "probes": 3, "sharpness": True, "bias": True},
    {"sharpness": True},
    {"rounding": StepRounding.STOCHASTIC},
    {"rounding": StepRounding.FLOOR},
    {"rounding": StepRounding.FLOOR, "probes": 2},
    {"rounding": StepRounding.STOCHASTIC, "probes": 3, "law": "binomial", "bias": True},
    {"loss_bits": 0},
    {"loss_bits": 5},
    {"loss": "mean-squared-error", "bias": True},
], ids=str)  # fmt: skip
def test_options_of_the_step(options, tmp_path):
    if "law" in options:
        options = {**options, "law": Law(options["law"])}
    check(make(**options), tmp_path)


@pytest.mark.parametrize("mask", ["hash", "bits", "none"])
@pytest.mark.parametrize("options", [
    {}, {"probes": 2}, {"rounding": StepRounding.STOCHASTIC, "sharpness": True},
], ids=str)  # fmt: skip
def test_masked_weights_stay(mask, options, tmp_path):
    model = make(mask=mask, bias=True, **options)
    trainer, _ = check(model, tmp_path)
    found = trainer.weights()
    still = np.mean([np.mean(found[name] == array) for name, array in model.initial.items()])
    assert still == 1 if mask == "none" else 0.2 < still < 0.9


@pytest.mark.parametrize("variant", ["avx2", "vnni"])
@pytest.mark.parametrize("options", [
    {"probes": 3, "rounding": StepRounding.STOCHASTIC, "mask": "hash", "sharpness": True},
    {"mask": "bits", "bias": True, "loss": "mean-squared-error"},
], ids=str)  # fmt: skip
def test_options_on_vectors(options, variant, tmp_path):
    need(variant)
    check(make(**options), tmp_path, variant)


@pytest.mark.parametrize("trains", ["head", "all"])
def test_a_hundred_steps(trains, tmp_path):
    check(make(trains), tmp_path, batch=2, steps=100)


@pytest.mark.parametrize("step_shift", [1, 17, 18, 40, 2**32 - 1])
def test_halved_steps(step_shift, tmp_path):
    check(make("head"), tmp_path, steps=2, step_shift=step_shift)


def test_large_batches_of_a_small_head_go_probe_by_probe(tmp_path):
    """Both ways through a batch are in the file, and give the same."""
    model = make("head")
    trainer, _ = check(model, tmp_path, batch=1)
    assert trainer.written.schedule.mode == "sample by sample up to 1, probe by probe beyond"
    assert trainer.written.schedule.prefix == 3
    x, targets = model.batch(5)
    trainer.reset()
    wanted, results = model.trained(x, targets, 2)
    assert trainer.train(x, targets, 2) == results
    np.testing.assert_array_equal(trainer.weights()["fc.weight"], wanted["fc.weight"])


def test_a_costly_prefix_runs_once_a_sample(tmp_path):
    """With three probes, five of six runs of the frozen layers are saved."""
    model = make("head", size=3, probes=3)
    trainer, _ = check(model, tmp_path, batch=5)
    assert trainer.written.schedule.mode == "sample by sample"


@pytest.mark.parametrize("trains", ["head", "all"])
def test_a_model_may_have_several_inputs(trains, tmp_path):
    model = make(trains, split=True)
    trainer, _ = check(model, tmp_path)
    x, _ = model.batch(2)
    [found] = trainer.library.predict(model.parts(x), 2)
    weights = trainer.weights()
    wanted = np.stack([model.forward(image, weights)["y"][0] for image in x])
    np.testing.assert_array_equal(found, wanted)


def test_ties_change_nothing(tmp_path):
    """Where both losses are the same there is no direction."""
    model = make("head")
    [parameter] = model.specification.parameters
    still = dataclasses.replace(parameter, epsilon=0)
    model.specification = dataclasses.replace(model.specification, parameters=(still,))
    trainer, results = check(model, tmp_path)
    assert all(result.signs == (0,) for result in results)
    np.testing.assert_array_equal(trainer.weights()["fc.weight"], model.initial["fc.weight"])


@pytest.mark.parametrize("law", ["rademacher", "binomial"])
def test_probes_at_the_rails_restore_every_weight(law, tmp_path):
    """Weights at their limits go to the ends of int16 and come back; the update stays within."""
    model = make(law=Law(law), sharpness=True, bias=True)
    rng = np.random.default_rng(3)
    for parameter in model.specification.parameters:
        rails = rng.choice(np.array([-parameter.limit, parameter.limit]), parameter.shape)
        model.initial[parameter.name] = rails.astype(parameter.dtype)
    trainer, results = check(model, tmp_path, steps=4)
    found = trainer.weights()
    assert any(sign for result in results for sign in result.signs)
    for parameter in model.specification.parameters:
        array = np.abs(found[parameter.name].astype(np.int64))
        assert array.max() == parameter.limit
        assert array.min() < parameter.limit
    model.initial = found
    x, targets = model.batch(2)
    stopped = [dataclasses.replace(p, multiplier=0) for p in model.specification.parameters]
    model.specification = dataclasses.replace(model.specification, parameters=tuple(stopped))
    # A library of the same path would not be loaded again.
    (tmp_path / "again").mkdir()
    again = Trainer(model, tmp_path / "again")
    again.train(x, targets, 3)
    for name, array in again.weights().items():
        np.testing.assert_array_equal(array, found[name])


def test_a_replay_needs_seeds_and_signs_alone(tmp_path):
    model = make(probes=3, rounding=StepRounding.STOCHASTIC, mask="hash", bias=True)
    trainer, results = check(model, tmp_path, step_shift=1)
    wanted = trainer.weights()
    trainer.reset()
    for step, result in enumerate(results):
        trainer.library.replay(model.specification.step_seed(11, step), result.signs, 1)
    for name, array in trainer.weights().items():
        np.testing.assert_array_equal(array, wanted[name])


def test_seeds_wrap_around(tmp_path):
    model = make("head", probes=3)
    trainer = Trainer(model, tmp_path)
    x, targets = model.batch(1)
    wanted, results = model.trained(x, targets, 3, seed=2**32 - 4)
    assert trainer.train(x, targets, 3, seed=2**32 - 4) == results
    np.testing.assert_array_equal(trainer.weights()["fc.weight"], wanted["fc.weight"])


def test_inferences_read_the_weights_at_hand(tmp_path):
    model = make(bias=True)
    trainer = Trainer(model, tmp_path)
    x, targets = model.batch(4)
    first = trainer.library.predict([x], 4)[0]
    trainer.train(x, targets, STEPS)
    second = trainer.library.predict([x], 4)[0]
    wanted, _ = model.trained(x, targets, STEPS)
    for weights, found in ((model.initial, first), (wanted, second)):
        expected = np.stack([model.forward(image, weights)["y"][0] for image in x])
        np.testing.assert_array_equal(found, expected, strict=True)
    assert (first != second).any()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("trains", ["head", "all"])
def test_a_step_needs_the_memory_of_an_inference(trains, variant, tmp_path):
    need(variant)
    """Tensors of frozen layers stay alive only where there is room for them."""
    schedule = Trainer(make(trains, size=10), tmp_path, variant).written.schedule
    assert schedule.prefix == (3 if trains == "head" else 0)
    for name, layout in schedule.layouts.items():
        assert layout.plan.bytes <= 1.1 * schedule.inference[name]


def test_fast_memory_keeps_what_frozen_layers_make(tmp_path):
    """The first layer runs once a sample, though its result then lies beside two others."""
    model = make("all", size=10)
    trainer = Trainer(model, tmp_path, memory="fast")
    schedule = trainer.written.schedule
    assert (schedule.frozen, schedule.prefix) == (1, 1)
    assert not schedule.fits
    for count in (1, 3):
        x, targets = model.batch(count)
        trainer.reset()
        wanted, results = model.trained(x, targets, STEPS)
        assert trainer.train(x, targets, STEPS) == results
        for name, array in trainer.weights().items():
            np.testing.assert_array_equal(array, wanted[name])


def test_the_loss_reads_the_largest_logits_there_are(tmp_path):
    """Differences of logits of up to 2^32, and labels at both ends."""
    model = make("head", seed=4, spread=32000)
    dense = model.network.layers[-1]
    loud = dataclasses.replace(
        dense, rescale=dataclasses.replace(dense.rescale, shift=np.array([24]))
    )
    model.network = dataclasses.replace(model.network, layers=(*model.network.layers[:-1], loud))
    x, _ = model.batch(3)
    reach = np.abs(model.forward(x[0], model.initial)["step_logits"].astype(np.int64)).max()
    assert reach > 1 << 29
    trainer = Trainer(model, tmp_path)
    for label in (0, CLASSES - 1):
        targets = np.full(3, label)
        trainer.reset()
        _, results = model.trained(x, targets, 3)
        assert trainer.train(x, targets, 3) == results
