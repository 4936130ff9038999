"""A training step, against the formulas one number at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.transforms.forward_gradient.randomness import (
    ROUNDING_STREAM,
    Law,
    counter_hash,
    stream_seed,
)
from intaglio.transforms.forward_gradient.specification import Mask, StepRounding
from intaglio.transforms.forward_gradient.step import (
    clip_to_limits,
    digest,
    displacement,
    draw,
    moves,
    rounding_shift,
    train_step,
    update,
)
from tests.transforms.forward_gradient.small_step import (
    small_loss,
    small_samples,
    small_specification,
    small_weights,
    with_parameters,
)


def rs(x, places):
    """The formula of the module for one Python integer."""
    if places == 0:
        return x
    magnitude = (abs(x) + (1 << (places - 1))) >> places
    return magnitude if x > 0 else -magnitude


@given(st.integers(-(1 << 50), 1 << 50), st.integers(0, 62))
def test_the_rounding_shift_is_symmetric_and_nearest(x, places):
    found = int(rounding_shift(np.array(x, np.int64), places))
    assert found == rs(x, places)
    assert found == -int(rounding_shift(np.array(-x, np.int64), places))
    assert abs(found * 2**places - x) * 2 <= 2**places


@pytest.mark.parametrize("law", list(Law))
@pytest.mark.parametrize("epsilon", [0, 1, 7, 100, 700])
def test_a_probe_gives_the_weights_back(law, epsilon):
    specification = small_specification(law=law, epsilon=epsilon)
    weights = small_weights(largest=29000)
    for p in specification.parameters:
        delta = displacement(draw(specification, p, 5, 0), p.epsilon).astype(p.dtype)
        back = weights[p.name].copy()
        back += delta
        back -= delta
        back -= delta
        back += delta
        np.testing.assert_array_equal(back, weights[p.name])
        negative = displacement(-draw(specification, p, 5, 0), p.epsilon)
        np.testing.assert_array_equal(negative, -delta)
        assert np.abs(delta).max() <= rs(epsilon * law.largest, 5)


def test_the_loss_sees_both_sides_in_order_probe_by_probe():
    specification = small_specification(probes=3)
    weights, seen = small_weights(), []
    train_step(specification, weights, 70, lambda w: seen.append(w) or 0)
    assert len(seen) == 6
    for probe in range(3):
        for p in specification.parameters:
            delta = displacement(draw(specification, p, 70, probe), p.epsilon)
            np.testing.assert_array_equal(seen[2 * probe][p.name] - weights[p.name], delta)
            np.testing.assert_array_equal(seen[2 * probe + 1][p.name] - weights[p.name], -delta)


def test_sharpness_looks_uphill_first():
    specification = small_specification(probes=2, sharpness=True)
    weights, seen = small_weights(), []
    answers = iter([3, 9, 0, 0, 0, 0])
    train_step(specification, weights, 70, lambda w: seen.append(w) or next(answers))
    assert len(seen) == 6
    p = specification.parameters[0]
    z = draw(specification, p, 70, 2)
    np.testing.assert_array_equal(seen[0]["w"] - weights["w"], displacement(z, p.epsilon))
    centre = weights["w"] - displacement(z, p.radius)
    delta = displacement(draw(specification, p, 70, 0), p.epsilon)
    np.testing.assert_array_equal(seen[2]["w"], centre + delta)
    np.testing.assert_array_equal(seen[3]["w"], centre - delta)
    assert specification.seeds_per_step == 3


@pytest.mark.parametrize("rounding", list(StepRounding))
def test_a_tie_moves_nothing(rounding):
    specification = small_specification(probes=2, rounding=rounding)
    weights = small_weights()
    after, result = train_step(specification, weights, 3, lambda w: 42)
    assert result.signs == (0, 0)
    assert result.loss_plus == result.loss_minus == (42, 42)
    assert digest(specification, after) == digest(specification, weights)


@pytest.mark.parametrize("law", list(Law))
@pytest.mark.parametrize("rounding", list(StepRounding))
@given(
    signs=st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=4),
    seed=st.integers(0, (1 << 32) - 1),
    multiplier=st.integers(0, 32767),
    shift=st.integers(0, 31),
    halvings=st.integers(0, 40),
    largest=st.sampled_from([0, 3000, 32000]),
)
def test_an_update_is_that_of_the_formula(
    law, rounding, signs, seed, multiplier, shift, halvings, largest
):
    specification = small_specification(
        len(signs), law, rounding, multiplier=multiplier, shift=shift
    )
    weights = small_weights(seed % 7, largest)
    after = update(specification, weights, seed, signs, halvings)
    places = min(shift + halvings, 31)
    for p in specification.parameters:
        drawn = [draw(specification, p, seed, probe).reshape(-1) for probe in range(len(signs))]
        stream = stream_seed(seed, 0, p.number + ROUNDING_STREAM)
        for i, before in enumerate(weights[p.name].reshape(-1).tolist()):
            product = multiplier * sum(
                sign * int(z[i]) for sign, z in zip(signs, drawn, strict=True)
            )
            if rounding is StepRounding.NEAREST:
                step = rs(product, places)
            elif rounding is StepRounding.FLOOR:
                step = product >> places
            else:
                noise = int(counter_hash(i, stream)) % 2**places
                step = (abs(product) + noise) >> places
                step = step if product > 0 else -step
            wanted = min(max(before - step, -p.limit), p.limit)
            assert int(after[p.name].reshape(-1)[i]) == wanted
        assert after[p.name].dtype == np.dtype(p.dtype)


def test_a_step_ends_at_the_rails_and_not_behind_them():
    specification = small_specification(multiplier=32767, shift=0, limit=30000)
    weights = small_weights()
    after = update(specification, weights, 1, [1])
    assert set(np.unique(after["w"])) == {-30000, 30000}
    again = update(specification, after, 1, [1])
    np.testing.assert_array_equal(again["w"], after["w"])


def steps_of(specification, seeds):
    """Moves of all weights over many steps from zero, in LSB."""
    zero = {p.name: np.zeros(p.shape, p.dtype) for p in specification.parameters}
    found = [update(specification, zero, seed, [1 if seed % 2 else -1]) for seed in range(seeds)]
    return np.concatenate([step["w"].reshape(-1) for step in found]).astype(np.float64)


def test_nearest_rounding_is_symmetric():
    specification = small_specification(law=Law.BINOMIAL, multiplier=3, shift=6)
    for seed in range(20):
        zero = {p.name: np.zeros(p.shape, p.dtype) for p in specification.parameters}
        up = update(specification, zero, seed, [1])["w"]
        down = update(specification, zero, seed, [-1])["w"]
        np.testing.assert_array_equal(up, -down)


def test_stochastic_rounding_has_the_mean_of_the_exact_step():
    # A quarter of an LSB: to nearest it is nothing, at random it arrives on average.
    small = {"multiplier": 1, "shift": 7}
    nearest = steps_of(small_specification(**small), 100)
    assert not nearest.any()
    specification = small_specification(rounding=StepRounding.STOCHASTIC, **small)
    found = steps_of(specification, 3000)
    z = np.concatenate(
        [
            draw(specification, specification.parameters[0], seed, 0).reshape(-1)
            * (1 if seed % 2 else -1)
            for seed in range(3000)
        ]
    )
    spread = 5 * math.sqrt(0.25 * 0.75 / found.size)
    assert abs((np.abs(found)).mean() - 0.25) < spread
    assert abs(-(found * np.sign(z)).mean() - 0.25) < spread
    assert abs(found.mean()) < 2 * spread


def test_floor_rounding_drifts_by_half_an_lsb():
    found = steps_of(small_specification(rounding=StepRounding.FLOOR, multiplier=1, shift=7), 500)
    assert abs(found.mean() - 0.5) < 0.05


@pytest.mark.parametrize("share", [0, 0.25, 1])
def test_a_mask_by_hash_holds_back_its_share(share):
    mask = Mask("hash", seed=9, threshold=int(share * 2**32))
    specification = small_specification(mask=mask)
    p = with_parameters(specification, shape=(100, 100)).parameters[0]
    assert abs(moves(mask, p).mean() - share) < 0.02


def test_masked_weights_stay_whatever_happens():
    moving = np.arange(18).reshape(6, 3) % 3 == 1
    specification = small_specification(probes=2, mask=Mask.of_bits(moving))
    np.testing.assert_array_equal(
        moves(specification.parameters[0].mask, specification.parameters[0]), moving
    )
    x, labels = small_samples()
    weights = before = small_weights()
    for step in range(20):
        weights, _ = train_step(specification, weights, 2 * step, small_loss(x, labels))
    changed = weights["w"] != before["w"]
    assert not changed[~moving].any()
    assert changed[moving].any()


@pytest.mark.parametrize("law", list(Law))
@pytest.mark.parametrize("probes", [1, 4])
def test_steps_go_downhill(law, probes):
    specification = small_specification(probes, law, multiplier=8, shift=2)
    x, labels = small_samples(200)
    weights = clip_to_limits(specification, small_weights())
    loss = small_loss(x, labels)
    first = loss(weights)
    for step in range(150):
        weights, result = train_step(specification, weights, specification.step_seed(1, step), loss)
        replayed = update(specification, weights, 0, [0] * probes)
        assert digest(specification, replayed) == digest(specification, weights)
        assert all(sign in (-1, 0, 1) for sign in result.signs)
    assert loss(weights) < 0.5 * first


def test_a_step_is_replayed_from_its_signs():
    specification = small_specification(probes=3, rounding=StepRounding.STOCHASTIC)
    x, labels = small_samples()
    weights = small_weights()
    after, result = train_step(specification, weights, 99, small_loss(x, labels), step_shift=2)
    replayed = update(specification, weights, 99, result.signs, 2)
    assert digest(specification, replayed) == digest(specification, after)


def test_the_digest_hashes_little_endian_bytes_in_order():
    import hashlib

    specification = small_specification()
    weights = small_weights()
    data = weights["w"].astype("<i2").tobytes() + weights["b"].astype("<i4").tobytes()
    assert digest(specification, weights) == hashlib.sha256(data).hexdigest()
    swapped = {name: a.astype(a.dtype.newbyteorder(">")) for name, a in weights.items()}
    assert digest(specification, swapped) == digest(specification, weights)


def test_seeds_of_steps_go_around():
    specification = small_specification(probes=4)
    assert specification.step_seed((1 << 32) - 2, 1) == 2
