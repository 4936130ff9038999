"""The loop: it learns, a run that stopped anywhere comes to the same bits, ONNX is the module."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from intaglio.errors import InputError, RecipeError  # noqa: E402
from intaglio.fitting.image_pairs import CropSampler, denoising, enlarging  # noqa: E402
from intaglio.fitting.tables.averaging import Average  # noqa: E402
from intaglio.fitting.tables.learners import make_learner, network_of  # noqa: E402
from intaglio.fitting.tables.loop import Fitting, restore  # noqa: E402
from intaglio.fitting.tables.measuring import step_costs  # noqa: E402
from intaglio.fitting.tables.run_folder import CHECKPOINT, JOURNAL, RunFolder  # noqa: E402
from intaglio.fitting.tables.settings import make_settings  # noqa: E402
from intaglio.fitting.tables.validation import ValidationSet  # noqa: E402
from tests.fitting.tables.fit_pictures import named  # noqa: E402

CHANGES = ("crop=12", "margin=2", "batches=2,4", "checkpoint_every=7", "validations=4")
STEPS = 30


class KilledError(Exception):
    """Stands for a kill: nothing is saved on its way out."""


def told(task, *changes, name="small", steps=STEPS):
    return make_settings(task, name, steps, 3, 1, (*CHANGES, *changes))


def fitting(folder, settings, listener=lambda *_: None):
    """A run as `fit` makes it, and its module."""
    images = named(6)
    recipe = settings.recipe
    sampler = CropSampler(images[:4], settings.task, recipe.crop, recipe.margin, settings.seed)
    validation = ValidationSet(images[4:], settings.task)
    module = make_learner(settings.structure, settings.task, settings.seed)
    place = RunFolder(folder)
    # In a test "another process" is this one: the folder is free again when the run is over.
    run = Fitting(module, settings, sampler, validation, None, place, listener)
    go = run.run

    def run_and_close():
        try:
            return go()
        finally:
            place.close()

    run.run = run_and_close
    return module, run


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def lines(folder):
    found = [json.loads(text) for text in (folder / JOURNAL).read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in found]


@pytest.mark.parametrize(
    ("task", "changes", "name"),
    [(enlarging(4), (), "small"), (denoising(25), (), "small"), (enlarging(2), (), "tiny-s")],
)
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, task, changes, name):
    settings = told(task, *changes, name=name, steps=24)
    whole, run = fitting(tmp_path / "whole", settings)
    run.run()
    for stops in ((3,), (7, 8), (13, 23), (24,)):
        folder = tmp_path / "-".join(map(str, stops))
        for stop in stops:

            def kill(done, *_, at=stop):
                if done == at:
                    raise KilledError

            _, run = fitting(folder, settings, kill)
            with pytest.raises(KilledError):
                run.run()
        module, run = fitting(folder, settings)
        outcome = run.run()
        assert outcome.resumed_at == stops[-1] // 7 * 7
        assert not outcome.interrupted
        for key, value in weights(whole).items():
            assert torch.equal(value, module.state_dict()[key]), key
        assert lines(folder) == lines(tmp_path / "whole")


def test_it_learns(tmp_path):
    settings = told(denoising(25), "rate=0.6", steps=150)
    module, run = fitting(tmp_path, settings)
    before = run.validate()
    outcome = run.run()
    scores = [line["psnr"] for line in outcome.journal if "psnr" in line]
    assert len(scores) == 4
    assert scores[-1] > before + 2
    validation = ValidationSet(named(6)[4:], settings.task)
    assert validation.score(lambda planes: restore(module, planes)) == pytest.approx(
        scores[-1], abs=1e-4
    )


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_module_is_the_integer_network(tmp_path, scale):
    settings = told(enlarging(scale), "mixings=3", "share=2", steps=5)
    module, run = fitting(tmp_path, settings)
    run.run()
    network = network_of(module)
    assert network.mixings[0].tables is network.mixings[1].tables
    assert network.mixings[2].tables is not network.mixings[0].tables
    random = np.random.default_rng(scale)
    for shape in ((1, 1), (2, 9), (13, 7)):
        plane = random.integers(0, 256, shape, np.uint8)
        assert np.array_equal(network.apply(plane), restore(module, plane[None])[0])


def test_odd_pictures_are_denoised_whole(tmp_path):
    settings = told(denoising(15), steps=5)
    module, run = fitting(tmp_path, settings)
    run.run()
    network = network_of(module)
    for shape in ((1, 1), (5, 8), (7, 7)):
        plane = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
        found = restore(module, plane[None])[0]
        assert found.shape == shape
        assert np.array_equal(network.apply(plane), found)


def test_a_rate_that_explodes_is_said(tmp_path):
    settings = told(enlarging(4), steps=20)
    module, run = fitting(tmp_path, settings)
    with torch.no_grad():
        module.stem_bias.fill_(float("nan"))
    with pytest.raises(RecipeError, match="no number") as caught:
        run.run()
    assert "rate" in str(caught.value.remedy)


def test_a_damaged_checkpoint_is_said(tmp_path):
    settings = told(enlarging(4), steps=10)
    _, run = fitting(tmp_path, settings)
    run.run()
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:200])
    _, run = fitting(tmp_path, settings)
    with pytest.raises(InputError, match="damaged") as caught:
        run.run()
    assert str(tmp_path) in str(caught.value.remedy)


def test_a_torn_line_of_the_journal_is_dropped(tmp_path):
    settings = told(enlarging(4), steps=14)

    def kill(done, *_):
        if done == 13:
            raise KilledError

    _, run = fitting(tmp_path, settings, kill)
    with pytest.raises(KilledError):
        run.run()
    with (tmp_path / JOURNAL).open("a") as file:
        file.write('{"step": 14, "lo')
    _, run = fitting(tmp_path, settings)
    run.run()
    whole = tmp_path.parent / f"{tmp_path.name}-whole"
    _, run = fitting(whole, settings)
    run.run()
    assert lines(tmp_path) == lines(whole)


def test_the_average_follows_the_weights():
    module = torch.nn.Linear(3, 2)
    average = Average(module, 0.9)
    expected = module.weight.detach().clone()
    for step in range(1, 200):
        with torch.no_grad():
            module.weight += 0.1
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * module.weight.detach()
    own = module.weight.detach().clone()
    with average.applied():
        torch.testing.assert_close(module.weight.detach(), expected)
        assert not torch.equal(module.weight, own)
    assert torch.equal(module.weight, own)


def test_costs_are_measured_for_each_stage():
    settings = told(enlarging(4), steps=0)
    sampler = CropSampler(named(2), settings.task, 12, 2, 1)
    told_of = []
    costs = step_costs(settings, sampler, None, lambda done, total: told_of.append((done, total)))
    assert len(costs) == 2
    assert all(0 < cost < 10 for cost in costs)
    assert told_of == [(0, 2), (1, 2), (2, 2)]
