"""How long a step takes here, on a network that is thrown away."""

from __future__ import annotations

import time
from collections.abc import Callable

from intaglio.fitting.image_pairs import CropSampler
from intaglio.fitting.tables.averaging import Average
from intaglio.fitting.tables.learners import make_learner
from intaglio.fitting.tables.loop import make_optimizer, targets_of, train_step
from intaglio.fitting.tables.settings import FitSettings
from intaglio.fitting.tables.teacher import Teacher

_TIMES = 3


def step_costs(
    settings: FitSettings,
    sampler: CropSampler,
    teacher: Teacher | None,
    progress: Callable[[int, int], None],
) -> list[float]:
    """Seconds of a step of each stage: the median of a few, behind one that does not count.

    Args:
        settings: Of the run.
        sampler: Crops to learn from.
        teacher: What to imitate, or None.
        progress: Told how many stages are measured, of how many.
    """
    recipe = settings.recipe
    module = make_learner(settings.structure, settings.task, settings.seed)
    optimizer = make_optimizer(module, settings)
    average = Average(module, recipe.average)
    costs = []
    for stage, size in enumerate(recipe.batches):
        progress(stage, len(recipe.batches))
        times = []
        for step in range(_TIMES + 1):
            start = time.perf_counter()
            batch = sampler.batch(step, size)
            wanted = targets_of(batch, teacher, recipe.teacher_share, recipe.margin)
            train_step(module, optimizer, batch.inputs, wanted, recipe.margin, 1.0)
            average.update(step)
            times.append(time.perf_counter() - start)
        costs.append(sorted(times[1:])[_TIMES // 2])
    progress(len(recipe.batches), len(recipe.batches))
    return costs
