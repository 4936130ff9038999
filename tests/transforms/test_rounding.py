from __future__ import annotations

import itertools

import numpy as np
import pytest

from intaglio.transforms.rounding import round_to_gram


def problem(outputs=6, inputs=20, rows=400, seed=0):
    generator = np.random.default_rng(seed)
    mixing = generator.standard_normal((inputs, inputs))
    x = np.maximum(generator.standard_normal((rows, inputs)) @ mixing, 0)
    weight = generator.standard_normal((outputs, inputs))
    scale = np.abs(weight).max(axis=1) / 127
    return weight, scale, x.T @ x / rows, x


def objective(weight, scale, q, gram):
    error = weight - scale[:, None] * q
    return np.einsum("oi,ij,oj->o", error, gram, error)


def damped(gram, damping):
    return gram + damping * np.mean(np.diag(gram)) * np.eye(len(gram))


@pytest.mark.parametrize("seed", range(5))
def test_output_error_is_well_below_that_of_the_nearest_integers(seed):
    weight, scale, gram, x = problem(inputs=80, rows=1000, seed=seed)
    found = round_to_gram(weight, scale, gram)
    nearest = np.rint(weight / scale[:, None])
    before = np.mean(((weight - scale[:, None] * nearest) @ x.T) ** 2)
    after = np.mean(((weight - scale[:, None] * found.q) @ x.T) ** 2)
    assert after < 0.6 * before
    assert (found.error <= found.nearest_error).all()


def test_reported_errors_are_the_damped_objective():
    weight, scale, gram, _ = problem()
    found = round_to_gram(weight, scale, gram, damping=0.05)
    full = damped(gram, 0.05)
    np.testing.assert_allclose(found.error, objective(weight, scale, found.q, full), rtol=1e-9)
    nearest = np.rint(weight / scale[:, None])
    np.testing.assert_allclose(
        found.nearest_error, objective(weight, scale, nearest, full), rtol=1e-9
    )


@pytest.mark.parametrize("seed", range(8))
def test_small_problems_end_near_the_best_of_all_choices(seed):
    weight, scale, gram, _ = problem(outputs=1, inputs=8, seed=seed)
    full = damped(gram, 0.01)
    floor = np.floor(weight / scale[:, None])
    choices = [floor + np.array(up) for up in itertools.product((0, 1), repeat=8)]
    errors = [objective(weight, scale, np.clip(q, -127, 127), full)[0] for q in choices]
    found = round_to_gram(weight, scale, gram, damping=0.01)
    assert found.error[0] <= 1.5 * min(errors)
    assert found.error[0] >= min(errors) * (1 - 1e-9)


def test_no_single_step_improves_the_result():
    weight, scale, gram, _ = problem()
    found = round_to_gram(weight, scale, gram, sweeps=100)
    full = damped(gram, 0.01)
    target = weight / scale[:, None]
    for column in range(weight.shape[1]):
        for step in (-1, 1):
            q = found.q.copy()
            q[:, column] += step
            allowed = (np.abs(q[:, column] - target[:, column]) < 1) & (np.abs(q[:, column]) <= 127)
            worse = objective(weight, scale, q, full) >= found.error * (1 - 1e-9)
            assert (worse | ~allowed).all()


@pytest.mark.parametrize("reach", [0.5, 1.0, 2.5])
def test_integers_stay_within_reach_and_range(reach):
    weight, scale, gram, _ = problem()
    found = round_to_gram(weight, scale * 0.9, gram, reach=reach)
    target = weight / (scale * 0.9)[:, None]
    assert (found.q == np.rint(found.q)).all()
    assert np.abs(found.q).max() <= 127
    near = np.abs(found.q - target) <= reach + 1e-9
    clipped = np.clip(np.rint(target), -127, 127) == found.q
    assert (near | clipped).all()


def test_uncorrelated_inputs_leave_nothing_to_gain():
    weight, scale, _, _ = problem()
    found = round_to_gram(weight, scale, np.diag(np.linspace(1, 3, weight.shape[1])))
    np.testing.assert_array_equal(found.q, np.rint(weight / scale[:, None]))


def test_inputs_that_were_always_zero_round_to_nearest():
    weight, scale, gram, _ = problem()
    np.testing.assert_array_equal(
        round_to_gram(weight, scale, 0 * gram).q, np.rint(weight / scale[:, None])
    )
    gram[3, :] = gram[:, 3] = 0
    found = round_to_gram(weight, scale, gram)
    np.testing.assert_array_equal(found.q[:, 3], np.rint(weight / scale[:, None])[:, 3])


def test_fewer_samples_than_weights_are_no_problem():
    weight, scale, _, x = problem()
    few = x[:5]
    found = round_to_gram(weight, scale, few.T @ few / 5)
    assert np.isfinite(found.error).all()


def test_shapes_must_fit():
    weight, scale, gram, _ = problem()
    with pytest.raises(ValueError, match="gram"):
        round_to_gram(weight, scale, gram[:4, :4])
    with pytest.raises(ValueError, match="scale"):
        round_to_gram(weight, scale[:2], gram)
