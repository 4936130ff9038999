"""From real distances to the integers of a step."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.errors import InputError, RecipeError, UnsupportedError
from intaglio.passes.train.parameters import read_parameters, trained_tensors, write_parameters
from intaglio.passes.train.plan_step import PlanStep
from intaglio.passes.train.select_layers import SelectLayers
from intaglio.passes.train.step_sizes import farthest, step_size
from intaglio.settings import build_config
from intaglio.transforms.forward_gradient.randomness import Law
from intaglio.transforms.forward_gradient.specification import (
    METADATA_KEY,
    StepRounding,
    StepSpecification,
)
from intaglio.transforms.forward_gradient.step import displacement, moves, update
from tests.helpers import build
from tests.passes.lower.test_trained_weights import lower, quantized

SIZE = 0.02


def form(*, biases=False, bits=16, scale=1.0):
    """Conv and Gemm; weights of the second are ``scale`` times as large."""
    generator = np.random.default_rng(0)
    model = build(
        """(float[N,2,3,3] x) => (float y) {
          a = Conv(x, w1, b1) f = Flatten(a) y = Gemm<transB=1>(f, w2, b2) }""",
        w1=SIZE * generator.standard_normal((4, 2, 3, 3)),
        b1=SIZE * generator.standard_normal(4),
        w2=scale * SIZE * generator.standard_normal((3, 4)),
        b2=SIZE * generator.standard_normal(3),
    )
    return quantized(model, biases=biases, bits=bits)


def plan(model, **options):
    found = PlanStep(build_config("train.plan_step", options))(model)
    return StepSpecification.from_json(model.metadata_props[METADATA_KEY]), found


def test_numbers_names_and_shapes_are_those_of_the_integer_graph():
    model = form(biases=True)
    specification, _ = plan(model)
    integer = lower(model)
    assert [(p.name, p.dtype, p.number) for p in specification.parameters] == [
        ("w1", "int16", 0),
        ("b1", "int32", 1),
        ("w2", "int16", 2),
        ("b2", "int32", 3),
    ]
    for parameter in specification.parameters:
        value = integer.graph.initializers[parameter.name]
        assert tuple(value.shape) == parameter.shape
        assert value.dtype.numpy() == parameter.dtype
    assert specification.parameters[2].shape == (4, 3)


def test_distances_in_steps_of_each_grid():
    model = form(biases=True)
    options = {"epsilon": 1e-3, "learning_rate": 4e-3, "probes": 3, "normalize": False}
    specification, found = plan(model, min_epsilon_lsb=0, **options)
    for parameter, tensor in zip(specification.parameters, trained_tensors(model), strict=True):
        assert parameter.epsilon == round(1e-3 / tensor.scale)
        assert parameter.step == pytest.approx(4e-3 / (3 * tensor.scale), rel=2**-14)
        assert 2**14 <= parameter.multiplier < 2**15
        assert parameter.scale == tensor.scale
        rail = 2**30 if tensor.is_bias else 32767
        assert parameter.limit == rail - parameter.epsilon
    assert specification.probes == 3
    assert found.facts["tensors"][0]["step_lsb"] == pytest.approx(
        specification.parameters[0].step, rel=1e-4
    )


def test_a_step_moves_the_weights_by_the_learning_rate():
    model = form(scale=5.0)
    specification, _ = plan(model, learning_rate=1e-3, normalize=False)
    before = read_parameters(model)
    after = update(specification, before, seed=7, signs=[1])
    for tensor in trained_tensors(model):
        change = after[tensor.name].astype(int) - before[tensor.name]
        assert len(np.unique(np.abs(change))) == 1
        moved = np.abs(change).max() * tensor.scale
        assert moved == pytest.approx(1e-3, abs=tensor.scale / 2)


def test_by_default_distances_follow_the_weights():
    small, _ = plan(form())
    for parameter in small.parameters:
        # 3 % of an rms of SIZE, on a power-of-two factor, and one that is nearly the geometric mean
        assert 0.4 < parameter.step * parameter.scale / (0.03 * SIZE) < 2.5
        # The two layers share the same for the step.
        assert parameter.epsilon == pytest.approx(2 * parameter.step, abs=0.51)


def test_normalization_gives_every_layer_its_part():
    ratio = 16.0
    options = {"epsilon": 1e-3, "learning_rate": 1e-3, "min_epsilon_lsb": 0}
    plain, _ = plan(form(scale=ratio), normalize=False, **options)
    evened, found = plan(form(scale=ratio, biases=True), normalize=True, **options)
    first, second = (p.step * p.scale for p in plain.parameters)
    assert first == pytest.approx(second, rel=1e-4)
    conv, conv_bias, gemm, gemm_bias = (p.step * p.scale for p in evened.parameters)
    assert gemm / conv == pytest.approx(ratio, rel=1e-3)
    assert conv_bias == pytest.approx(conv, rel=1e-3)
    assert gemm_bias == pytest.approx(gemm, rel=1e-3)
    epsilons = [p.epsilon * p.scale for p in evened.parameters]
    assert epsilons[2] / epsilons[0] == pytest.approx(ratio, rel=0.05)
    factors = [tensor["factor"] for tensor in found.facts["tensors"]]
    assert factors == [0.25, 0.25, 4.0, 4.0]


def test_the_least_epsilon():
    specification, _ = plan(form(), epsilon=0.0)
    assert {p.epsilon for p in specification.parameters} == {32}
    specification, _ = plan(form(), epsilon=0.0, min_epsilon_lsb=5)
    assert {p.epsilon for p in specification.parameters} == {5}
    specification, _ = plan(form(), epsilon=0.5, epsilon_lsb=7)
    assert {p.epsilon for p in specification.parameters} == {7}


def test_with_eight_bits_a_small_epsilon_rounds_to_nothing_and_says_so():
    model = form(bits=8)
    specification, found = plan(model, epsilon=1e-5, normalize=False)
    assert {p.epsilon for p in specification.parameters} == {0}
    assert "epsilon rounds to 0" in str(found.skips[0])
    specification, found = plan(model, epsilon_lsb=1)
    assert {p.limit for p in specification.parameters} == {126}
    assert found.skips == []


@pytest.mark.parametrize("law", list(Law))
@pytest.mark.parametrize("sharpness", [False, True])
def test_no_probe_leaves_the_grid(law, sharpness):
    options = {"epsilon": 3e-3, "law": law.value, "sharpness": sharpness}
    if sharpness:
        options["radius"] = 2e-3
    specification, _ = plan(form(biases=True), **options)
    extreme = np.array([-law.largest, law.largest])
    for parameter in specification.parameters:
        farthest_probe = displacement(extreme, parameter.epsilon).max()
        if sharpness:
            farthest_probe += displacement(extreme, parameter.radius).max()
        rail = 2**30 if parameter.dtype == "int32" else 32767
        assert parameter.limit + farthest_probe == rail
        assert (parameter.radius > 0) == sharpness


@pytest.mark.parametrize(("law", "least"), [("rademacher", 1.0), ("binomial", 0.5)])
@pytest.mark.parametrize(("moved", "rounding"), [(0.49, "stochastic"), (0.51, "nearest")])
def test_rounding_is_stochastic_where_the_nearest_would_move_nothing(law, least, moved, rounding):
    model = form()
    coarsest = max(tensor.scale for tensor in trained_tensors(model))
    options = {"learning_rate": moved * coarsest / least, "normalize": False, "law": law}
    specification, found = plan(model, **options)
    assert specification.rounding.value == rounding
    assert found.skips == []


def test_a_step_that_nearest_rounding_stops_is_told():
    model = form()
    finest = min(tensor.scale for tensor in trained_tensors(model))
    options = {"learning_rate": 0.3 * finest, "normalize": False, "rounding": "nearest"}
    specification, found = plan(model, **options)
    assert specification.rounding is StepRounding.NEAREST
    assert len(found.skips) == 2
    assert "a step of 0.3 LSB moves nothing with nearest rounding" in str(found.skips)
    assert found.facts["warnings"]
    before = read_parameters(model)
    after = update(specification, before, seed=3, signs=[1])
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)


def test_a_step_that_is_nothing_even_so():
    specification, found = plan(form(), learning_rate=1e-14, normalize=False)
    assert {p.multiplier for p in specification.parameters} == {0}
    assert "moves nothing with stochastic rounding" in str(found.skips)


def test_a_step_that_saturates():
    with pytest.raises(RecipeError, match="the grid ends at 32,767"):
        plan(form(), learning_rate=1.0)
    with pytest.raises(RecipeError, match="learning_rate"):
        plan(form(), learning_rate=1e9)
    model = form()
    coarsest = max(tensor.scale for tensor in trained_tensors(model))
    _, found = plan(model, learning_rate=6000 * coarsest, normalize=False)
    assert "crosses its grid" in str(found.skips)


@pytest.mark.parametrize(
    "options",
    [
        {"epsilon": 1.0},
        {"epsilon": 1e9},
        {"epsilon_lsb": 20000},
        {"epsilon_lsb": 10**12},
        {"min_epsilon_lsb": 10**12},
        {"epsilon_lsb": 10000, "law": "binomial"},
        {"epsilon_lsb": 9000, "sharpness": True, "radius": 0.05},
    ],
)
def test_probes_that_leave_no_room_are_an_error(options):
    with pytest.raises(RecipeError, match=r"more than half of its grid|steps of the grid"):
        plan(form(), **options)
    with pytest.raises(RecipeError, match="more than half of its grid of 127"):
        plan(form(bits=8), epsilon_lsb=64)


@given(st.floats(-30, 14.9), st.integers(1, 256))
def test_the_multiplier_is_the_step_to_fifteen_bits(exponent, probes):
    moved = 2.0**exponent
    size = step_size("w", moved * probes * 1e-5, 1e-5, probes)
    assert 0 <= size.multiplier < 2**15
    assert 0 <= size.shift <= 31
    real = 32.0 * size.multiplier / 2.0**size.shift
    if size.shift < 31:
        assert size.multiplier >= 2**14
        assert real == pytest.approx(moved, rel=2**-15)
    else:
        assert real == pytest.approx(moved, abs=2.0**-27)


def test_a_multiplier_that_rounds_up_takes_one_place_less():
    size = step_size("w", 32 * (1 - 2**-17), 1.0, 1)
    assert (size.multiplier, size.shift) == (1 << 14, 14)


@pytest.mark.parametrize("law", list(Law))
def test_the_farthest_displacement(law):
    z = np.array([-law.largest, 0, law.largest])
    for distance in (0, 1, 2, 31, 32, 1000):
        assert displacement(z, distance).max() == farthest(distance, law)


def test_weights_beyond_the_limit_start_at_it():
    model = form()
    tensor = trained_tensors(model)[0]
    array = tensor.read()
    array[0, 0, 0, :2] = (-32768, 32760)
    tensor.write(array)
    specification, found = plan(model, epsilon_lsb=100)
    assert specification.parameters[0].limit == 32667
    changed = tensor.read()
    assert changed[0, 0, 0, :2].tolist() == [-32667, 32667]
    np.testing.assert_array_equal(changed.reshape(-1)[2:], array.reshape(-1)[2:])
    [clip] = [change for change in found.changes if change.kind == "clip"]
    assert clip.why.startswith("2 numbers")
    assert "32,768" in clip.before
    assert not plan(model, epsilon_lsb=100)[1].modified


def test_masks():
    model = form(biases=True)
    arrays = read_parameters(model)
    specification, _ = plan(model, sparsity="magnitude", keep=0.25)
    for parameter in specification.parameters:
        if parameter.dtype == "int32":
            assert parameter.mask is None
            continue
        kept = moves(parameter.mask, parameter)
        magnitude = np.abs(arrays[parameter.name].astype(int))
        assert kept.sum() == math.ceil(0.25 * kept.size)
        assert magnitude[kept].min() >= magnitude[~kept].max()
    specification, _ = plan(model, sparsity="random", keep=0.25, mask_seed=9)
    first, second = (p.mask for p in specification.parameters if p.dtype == "int16")
    assert first == second
    assert (first.kind, first.seed, first.threshold) == ("hash", 9, 2**30)
    assert plan(model)[0].parameters[0].mask is None


def test_ties_of_magnitude_keep_the_first():
    model = build("(float[1,4] x) => (float y) { y = MatMul(x, w) }", w=np.ones((4, 2)))
    specification, _ = plan(quantized(model), sparsity="magnitude", keep=0.5)
    parameter = specification.parameters[0]
    assert moves(parameter.mask, parameter).reshape(-1).tolist() == [True] * 4 + [False] * 4


def test_the_loss():
    specification, _ = plan(form(), loss_bits=5)
    assert specification.logit_scale == pytest.approx(math.log(2) / 32)
    specification, _ = plan(form(), loss="mean-squared-error")
    assert (specification.loss, specification.logit_scale) == ("mean-squared-error", 0.0)


def test_other_options_replace_the_plan():
    model = form()
    plan(model)
    assert not plan(model)[1].modified
    specification, found = plan(model, probes=4, rounding="floor")
    assert found.modified
    assert (specification.probes, specification.rounding) == (4, StepRounding.FLOOR)


def test_nothing_to_train_is_refused():
    model = build("(float[1,4] x) => (float y) { y = MatMul(x, w) }", w=np.eye(4))
    with pytest.raises(UnsupportedError, match="chosen to train"):
        PlanStep()(model)


def test_the_float_model_is_refused():
    model = build("(float[1,4] x) => (float y) { y = MatMul(x, w) }", w=np.eye(4))
    SelectLayers()(model)
    with pytest.raises(UnsupportedError, match="not quantized"):
        PlanStep()(model)


def test_weights_are_written_back_in_the_layout_of_the_graph():
    model = form(biases=True)
    arrays = {name: np.full_like(a, 3) for name, a in read_parameters(model).items()}
    arrays["w2"][...] = np.arange(12).reshape(4, 3)
    write_parameters(model, arrays)
    gemm = next(node for node in model.graph if node.op_type == "Gemm")
    stored = gemm.inputs[1].producer().inputs[0].const_value.numpy()
    np.testing.assert_array_equal(stored, np.arange(12).reshape(4, 3).T)
    np.testing.assert_array_equal(
        lower(model).graph.initializers["w2"].const_value.numpy(), arrays["w2"]
    )
    for name, array in read_parameters(model).items():
        np.testing.assert_array_equal(array, arrays[name])
    with pytest.raises(InputError, match="no weights for parameter 'b2'"):
        write_parameters(model, {name: a for name, a in arrays.items() if name != "b2"})
    with pytest.raises(InputError, match=r"int16 \[4, 3\], not int16 \[3, 4\]"):
        write_parameters(model, {**arrays, "w2": arrays["w2"].T})


@pytest.mark.parametrize("idle", [{"keep": 0.2}, {"mask_seed": 3}, {"radius": 0.1}])
def test_options_without_effect_are_errors(idle):
    with pytest.raises(RecipeError, match="no effect"):
        plan(form(), **idle)


def test_what_the_probes_do_not_move_stays():
    specification, found = plan(form(bits=8), epsilon=1e-9)
    assert all(p.epsilon == 0 and p.multiplier == 0 for p in specification.parameters)
    assert found.skips
