"""What a fitting run is told: presets, `--set`, and the schedule that comes of it."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.errors import RecipeError
from intaglio.fitting.image_pairs import denoising, enlarging
from intaglio.fitting.tables.presets import PRESETS
from intaglio.fitting.tables.schedule import Schedule, steps_for
from intaglio.fitting.tables.settings import Recipe, make_settings, task_of

X4 = enlarging(4)


def settings(*changes, name="medium", task=X4, **others):
    told = {"steps": 100, "seed": 1, "threads": 1, **others}
    return make_settings(task, name, changes=changes, **told)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("superres", None, None), "--scale"),
        (("superres", 5, None), "5"),
        (("superres", 4, 25), "--sigma"),
        (("denoise", None, None), "--sigma"),
        (("denoise", None, 26), "26"),
        (("denoise", 2, 25), "--scale"),
        (("sharpen", None, None), "sharpen"),
    ],
)
def test_tasks_that_make_no_sense_are_refused(arguments, said):
    with pytest.raises(RecipeError, match=said) as caught:
        task_of(*arguments)
    assert caught.value.remedy


def test_tasks():
    assert [task_of("superres", scale, None) for scale in (2, 3, 4)] == [
        enlarging(scale) for scale in (2, 3, 4)
    ]
    assert task_of("denoise", None, 50) == denoising(50)


@pytest.mark.parametrize(
    "change",
    [
        "channels=20", "channels=8", "channels=72", "channels=x", "channels=24.5", "mixings=-1",
        "mixings=40", "share=0", "share=7", "kernel=4", "kernel=9", "taps=none", "kind=deep",
        "rate=0", "rate=nan", "rate=x", "crop=2", "margin=-1", "batches=0", "batches=", "batches=a",
        "shares=1", "shares=0.5,0.5,0.5", "shares=0,0.5,0.5", "average=1", "warm_up=2", "rate",
        "nonsense=1", "validations=0", "checkpoint_every=0", "held_out=0", "teacher_share=1.5",
    ],
)  # fmt: skip
def test_changes_that_make_no_sense_are_refused(change):
    with pytest.raises(RecipeError) as caught:
        settings(change)
    assert caught.value.remedy
    assert change.partition("=")[0] in str(caught.value) or "shares" in str(caught.value)


@pytest.mark.parametrize("others", [{"name": "huge"}, {"steps": -1}, {"seed": -1}, {"threads": 0}])
def test_other_nonsense_is_refused(others):
    with pytest.raises(RecipeError) as caught:
        settings(**others)
    assert caught.value.remedy


def test_half_resolution_is_not_for_the_reference_structure():
    with pytest.raises(RecipeError, match="tiny"):
        settings(name="tiny-s", task=denoising(25))


def test_changes_have_the_type_of_what_they_change():
    found = settings("batches=4,16", "rate=1", "taps=shift", "kernel=5", "crop=16")
    assert found.recipe.batches == (4, 16)
    assert found.recipe.shares == (0.5, 0.5)
    assert isinstance(found.recipe.rate, float)
    assert (found.structure.taps, found.structure.kernel, found.recipe.crop) == ("shift", 5, 16)
    assert json.loads(json.dumps(found.to_dict()))["recipe"]["batches"] == [4, 16]


def test_the_stem_of_half_resolution_is_larger():
    assert settings().structure.kernel == 3
    assert settings(task=denoising(15)).structure.kernel == 6


@pytest.mark.parametrize(("name", "limit"), [("small", 25), ("medium", 64), ("large", 171)])
@pytest.mark.parametrize("task", [X4, denoising(25)])
def test_tables_of_presets_fit_their_sizes(name, limit, task):
    structure = settings(name=name, task=task).structure
    tables = -(-structure.mixings // structure.share)
    cells = task.side**2
    size = 16 * structure.channels * (structure.channels * tables + cells)
    assert size <= limit * 1024
    assert set(PRESETS) == {"small", "medium", "large", "tiny-s", "tiny-f"}


@given(
    steps=st.integers(1, 300),
    batches=st.lists(st.integers(1, 64), min_size=1, max_size=4),
    data=st.data(),
)
def test_a_schedule_sees_all_crops_in_order(steps, batches, data):
    weights = data.draw(st.lists(st.integers(1, 9), min_size=len(batches), max_size=len(batches)))
    shares = tuple(weight / sum(weights) for weight in weights)
    recipe = Recipe(batches=tuple(batches), shares=shares)
    schedule = Schedule(recipe, steps)
    sizes = [schedule.batch(step) for step in range(steps)]
    assert [key for key, _ in itertools.groupby(sizes)] == [
        key for key, _ in itertools.groupby([b for b in batches if b in sizes])
    ] or len(set(batches)) < len(batches)
    seen = [schedule.crops(step) for step in range(steps)]
    assert seen == [sum(sizes[:step]) for step in range(steps)]
    progress = [schedule.progress(step) for step in range(steps)]
    assert progress == sorted(progress)
    assert progress[0] == 0
    rates = [schedule.rate(step) for step in range(steps)]
    assert all(0 < rate <= recipe.rate for rate in rates)


def test_stages_take_their_share_of_the_crops():
    schedule = Schedule(Recipe(), 10_000)
    sizes = [schedule.batch(step) for step in range(10_000)]
    total = sum(sizes)
    for size in (8, 16, 32):
        assert size * sizes.count(size) / total == pytest.approx(1 / 3, abs=0.01)


def test_the_rate_rises_then_falls_to_its_end():
    recipe = Recipe(rate=0.5, final_rate=0.02, batches=(4,), shares=(1.0,))
    schedule = Schedule(recipe, 1000)
    rates = [schedule.rate(step) for step in range(1000)]
    peak = rates.index(max(rates))
    assert peak == pytest.approx(30, abs=2)
    assert rates[0] < 0.02 * max(rates)
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] == pytest.approx(0.5 * 0.02, rel=0.02)


def test_steps_fit_in_the_time():
    recipe = Recipe(batches=(8, 32), shares=(0.5, 0.5))
    costs = [0.01, 0.04]
    steps = steps_for(recipe, 100, costs)
    schedule = Schedule(recipe, steps)
    took = sum(costs[schedule.batch(step) == 32] for step in range(steps))
    assert took == pytest.approx(100, rel=0.01)
    assert steps_for(recipe, 0.0001, costs) == 1
