"""The step graph computes ``transforms.forward_gradient.step.train_step``, bit for bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import pytest

from intaglio.errors import UnsupportedError
from intaglio.passes.lower.integer_only import find_float_tensors
from intaglio.passes.train import loss_function
from intaglio.passes.train.build_forward import read_specification
from intaglio.passes.train.build_step import BuildStep
from intaglio.passes.train.loss_function import FUNCTION_DOMAIN
from intaglio.transforms.forward_gradient.randomness import Law
from intaglio.transforms.forward_gradient.specification import Mask, StepRounding
from intaglio.transforms.forward_gradient.step import digest, train_step
from tests.passes.train.small_integer import (
    CLASSES,
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


def step_graph(spec):
    model = forward_form(spec)
    BuildStep()(model)
    return model


def assert_equal_steps(spec, count, step_shift=0, first_seed=2**32 - 3):
    """Steps in onnxruntime and by definition, from the same weights on."""
    forward = forward_form(spec)
    judge, stepper = Judge(forward), session(step_graph(spec))
    spec = read_specification(forward)
    names = [output.name for output in stepper.get_outputs()]
    weights = {p.name: initial_weights()[p.name] for p in spec.parameters}
    squared = spec.loss == "mean-squared-error"
    for number in range(count):
        x, target = batch(number)
        if squared:
            drawn = np.random.default_rng(number).integers(-3000, 3000, (len(x), CLASSES))
            target = drawn.astype(np.int32)
        seed = spec.step_seed(first_seed, number)
        expected, result = train_step(spec, weights, seed, judge.loss(x, target), step_shift)
        feeds = {
            "x": x,
            "target" if squared else "labels": target,
            "seed": np.array(seed),
            "step_shift": np.array(step_shift),
            **weights,
        }
        found = dict(zip(names, stepper.run(None, feeds), strict=True))
        assert tuple(found["loss_plus"]) == result.loss_plus
        assert tuple(found["loss_minus"]) == result.loss_minus
        assert tuple(found["sign"]) == result.signs
        updated = {p.name: found[f"updated.{p.name}"] for p in spec.parameters}
        assert digest(spec, updated) == digest(spec, expected), number
        weights = updated
    return weights


@pytest.mark.parametrize("rounding", StepRounding)
@pytest.mark.parametrize("law", Law)
@pytest.mark.parametrize("probes", [1, 3])
@pytest.mark.parametrize("names", [HEAD, tuple(SHAPES)], ids=["head", "all"])
def test_a_step_is_that_of_the_definition(names, probes, law, rounding):
    assert_equal_steps(specification(names, probes=probes, law=law, rounding=rounding), 4)


@pytest.mark.parametrize("step_shift", [1, 7, 40])
def test_a_halved_step(step_shift):
    assert_equal_steps(specification(), 2, step_shift)


@pytest.mark.parametrize("probes", [1, 2])
def test_with_sharpness(probes):
    assert_equal_steps(specification(sharpness=True, probes=probes), 4)


@pytest.mark.parametrize("loss_bits", [0, 5])
def test_with_fewer_bits_of_the_loss(loss_bits):
    assert_equal_steps(specification(loss_bits=loss_bits), 4)


def test_with_the_squared_error():
    assert_equal_steps(specification(loss="mean-squared-error"), 4)


def masked(kind):
    generator = np.random.default_rng(8)
    spec = specification(rounding=StepRounding.STOCHASTIC)
    masks = [
        Mask("hash", seed=77, threshold=2**30)
        if kind == "hash"
        else Mask.of_bits(generator.random(p.shape) < 0.3)
        for p in spec.parameters
    ]
    parameters = tuple(
        dataclasses.replace(p, mask=mask) for p, mask in zip(spec.parameters, masks, strict=True)
    )
    return dataclasses.replace(spec, parameters=parameters)


@pytest.mark.parametrize("kind", ["hash", "bits"])
def test_masked_weights_stay(kind):
    spec = masked(kind)
    found = assert_equal_steps(spec, 4)
    before = initial_weights()
    moved = [int((found[name] != before[name]).sum()) for name in SHAPES]
    assert 0 < sum(moved) < sum(before[name].size for name in SHAPES) // 2


@pytest.mark.parametrize("everything", [0, 2**32])
def test_masks_of_none_and_of_all(everything):
    spec = specification()
    mask = Mask("hash", threshold=everything)
    parameters = tuple(dataclasses.replace(p, mask=mask) for p in spec.parameters)
    found = assert_equal_steps(dataclasses.replace(spec, parameters=parameters), 1)
    same = [np.array_equal(found[name], initial_weights()[name]) for name in SHAPES]
    assert same == [everything == 0] * 3


def test_no_distance_is_a_tie_and_moves_nothing():
    found = assert_equal_steps(specification(p_epsilon=0), 2)
    for name, array in initial_weights().items():
        np.testing.assert_array_equal(found[name], array)


def test_the_weights_stop_at_their_limits():
    spec = specification(HEAD, p_multiplier=32767, p_shift=3)
    found = assert_equal_steps(spec, 3)
    assert np.abs(found["fc2_weight"]).max() == spec.parameters[0].limit


def test_frozen_layers_are_computed_once():
    """Training the head, the first two products stand in the main graph."""
    model = step_graph(specification(HEAD))
    main = [node.op_type for node in model.graph]
    assert main.count("MatMulInteger") == 1
    assert main.count("MatMulInteger8By16") == 1
    assert main.count("Loss") == 2
    [function] = [f for key, f in model.functions.items() if key[0] == FUNCTION_DOMAIN]
    inside = [node.op_type for node in function]
    assert inside.count("MatMulInteger8By16") == 1
    assert "CrossEntropyBase2" in inside


def test_large_constants_are_handed_over_not_copied_into_each_call(monkeypatch):
    monkeypatch.setattr(loss_function, "_SMALL", 4)
    assert_equal_steps(specification(("fc1_weight",)), 2)
    model = step_graph(specification(("fc1_weight",)))
    call = next(node for node in model.graph if node.op_type == "Loss")
    assert "fc2_weight" in [value.name for value in call.inputs]
    [function] = [f for key, f in model.functions.items() if key[0] == FUNCTION_DOMAIN]
    constants = [node.outputs[0].name for node in function if node.op_type == "Constant"]
    assert "fc2_weight" not in constants
    assert "m" in constants


def test_it_holds_no_float():
    assert find_float_tensors(step_graph(specification(probes=2))) == []


def test_it_is_idempotent_and_leaves_other_models_alone():
    model = step_graph(specification())
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    assert not BuildStep()(model).modified
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    plain = integer_graph(specification())
    assert not BuildStep()(plain).modified


def test_an_input_of_a_name_that_the_step_needs_is_refused():
    model = forward_form(specification())
    model.graph.inputs[0].name = "seed"
    with pytest.raises(UnsupportedError, match="'seed'"):
        BuildStep()(model)


def test_an_inner_value_of_such_a_name_is_renamed():
    model = forward_form(specification())
    inner = next(n for n in model.graph if n.outputs[0].name == "h").outputs[0]
    inner.name = "labels"
    BuildStep()(model)
    stepper = session(model)
    x, labels = batch(0)
    feeds = {"x": x, "labels": labels, "seed": np.array(3), "step_shift": np.array(0)}
    found = stepper.run(["sign"], {**feeds, **initial_weights()})
    assert found[0].shape == (1,)
