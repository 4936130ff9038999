"""Training in onnxruntime: the weights stay bound, and every bit is that of the definition."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from intaglio.errors import InputError, ToolError
from intaglio.passes.train.build_forward import read_specification
from intaglio.passes.train.build_step import BuildStep
from intaglio.targets.base import TensorSpec
from intaglio.targets.onnx.stepper import OnnxStepper
from intaglio.targets.training_files import Training
from intaglio.transforms.forward_gradient.randomness import Law
from intaglio.transforms.forward_gradient.specification import StepRounding
from intaglio.transforms.forward_gradient.step import digest, train_step
from tests.passes.train.small_integer import (
    CLASSES,
    FEATURES,
    SHAPES,
    Judge,
    batch,
    forward_form,
    initial_weights,
    integer_graph,
    session,
    specification,
)

HEAD = ("fc2_weight",)


def serialized(model):
    return ir.to_proto(model).SerializeToString()


def open_stepper(spec, threads=1):
    forward = forward_form(spec)
    final = read_specification(forward)
    judge = Judge(forward)
    BuildStep()(forward)
    training = Training(
        final,
        {p.name: initial_weights()[p.name] for p in final.parameters},
        (TensorSpec("x", ("N", FEATURES), "int8"),),
        (TensorSpec("y", ("N", CLASSES), "int8"),),
        TensorSpec("labels", ("N",), "int64"),
    )
    infer = serialized(integer_graph(spec))
    return OnnxStepper(training, serialized(forward), infer, threads), judge


@pytest.mark.parametrize(
    ("names", "options"),
    [
        (HEAD, {}),
        (tuple(SHAPES), {}),
        (tuple(SHAPES), {"probes": 3, "rounding": StepRounding.STOCHASTIC}),
        (tuple(SHAPES), {"law": Law.BINOMIAL, "rounding": StepRounding.FLOOR}),
        (HEAD, {"sharpness": True, "law": Law.BINOMIAL}),
    ],
    ids=["head", "all", "probes", "binomial", "sharp"],
)
def test_a_hundred_steps_are_those_of_the_definition(names, options):
    stepper, judge = open_stepper(specification(names, **options))
    spec, weights = stepper.specification, stepper.weights()
    for number in range(100):
        x, labels = batch(number, size=5 + number % 3)
        seed, step_shift = spec.step_seed(2**32 - 40, number), number // 60
        weights, expected = train_step(spec, weights, seed, judge.loss(x, labels), step_shift)
        assert stepper.step(x, labels, seed, step_shift) == expected, number
    assert digest(spec, stepper.weights()) == digest(spec, weights)


def test_replaying_the_signs_gives_the_same_weights():
    stepper, _ = open_stepper(specification(probes=2, rounding=StepRounding.STOCHASTIC))
    other, _ = open_stepper(specification(probes=2, rounding=StepRounding.STOCHASTIC))
    spec = stepper.specification
    for number in range(12):
        seed = spec.step_seed(9, number)
        found = stepper.step(*batch(number), seed, number % 2)
        other.replay(seed, found.signs, number % 2)
    assert digest(spec, other.weights()) == digest(spec, stepper.weights())
    # It goes on from there.
    assert other.step(*batch(50), 1) == stepper.step(*batch(50), 1)


def test_weights_are_taken_over_and_handed_out_as_copies():
    stepper, _ = open_stepper(specification())
    given = {name: array.copy() for name, array in stepper.weights().items()}
    stepper.set_weights(given)
    before = {name: array.copy() for name, array in given.items()}
    taken = stepper.weights()
    for number in range(3):
        stepper.step(*batch(number), number)
    for name in SHAPES:
        np.testing.assert_array_equal(given[name], before[name])
        np.testing.assert_array_equal(taken[name], before[name])
        assert not np.array_equal(stepper.weights()[name], before[name])
    taken["fc2_weight"][:] = 0
    assert stepper.weights()["fc2_weight"].any()


def test_setting_weights_back_gives_the_same_step_again():
    stepper, _ = open_stepper(specification())
    start = stepper.weights()
    first = stepper.step(*batch(3), 11)
    after = digest(stepper.specification, stepper.weights())
    stepper.step(*batch(4), 12)
    stepper.set_weights(start)
    assert stepper.step(*batch(3), 11) == first
    assert digest(stepper.specification, stepper.weights()) == after


def test_inference_has_the_weights_at_hand():
    stepper, _ = open_stepper(specification())
    x, labels = batch(7)
    for number in range(3):
        model = integer_graph(specification(), stepper.weights())
        expected = session(model).run(["y"], {"x": x})[0]
        np.testing.assert_array_equal(stepper.predict(x), expected)
        stepper.step(x, labels, number)


def test_two_threads_give_the_same_bits():
    one, _ = open_stepper(specification())
    two, _ = open_stepper(specification(), threads=2)
    for number in range(5):
        assert one.step(*batch(number), number) == two.step(*batch(number), number)


def test_a_batch_that_does_not_fit_is_refused():
    stepper, _ = open_stepper(specification())
    x, labels = batch(0)
    with pytest.raises(InputError, match="int32"):
        stepper.step(x.astype(np.int32), labels, 0)
    with pytest.raises(InputError, match="the model takes"):
        stepper.step(x[:, :5], labels, 0)
    with pytest.raises(InputError, match="targets of shape"):
        stepper.step(x, labels[:3], 0)
    with pytest.raises(InputError, match="negative"):
        stepper.step(x, labels - 9, 0)
    with pytest.raises(ToolError, match="onnxruntime"):
        stepper.step(x, labels + CLASSES, 0)


def test_weights_beyond_the_limit_are_refused():
    stepper, _ = open_stepper(specification())
    weights = stepper.weights()
    weights["fc1_weight"][0, 0] = 32767
    with pytest.raises(InputError, match="keeps them within"):
        stepper.set_weights(weights)
