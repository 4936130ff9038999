"""``fit``: a folder of pictures in, a network of look-up tables out."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intaglio.errors import OutputError, RecipeError
from intaglio.fitting.listener import Listener
from intaglio.processors import processors
from intaglio.progress import Progress, silent
from intaglio.table_fitting_job import FitJob, FitReport

if TYPE_CHECKING:
    from intaglio.fitting.tables.run_folder import RunFolder

#: Steps of a run that is told neither steps nor minutes.
STEPS = 20_000


def fit(
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    task: str = "superres",
    scale: int | None = None,
    sigma: int | None = None,
    preset: str = "medium",
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 1,
    validation: str | Path | None = None,
    teacher: str | Path | None = None,
    start: str | Path | None = None,
    threads: int | None = None,
    settings: Mapping[str, Any] | Sequence[str] = (),
    resume: bool = False,
    progress: Progress | None = None,
    listener: Listener | None = None,
) -> FitReport:
    """Makes a network of look-up tables that restores pictures, from pictures.

    Killed at any moment, the same call with ``resume`` goes on and comes to the same bits as if
    nothing had happened.

    Args:
        data: A folder of pictures, or several: what the network shall make.
        out: Folder to write: ``model.onnx``, ``report.html``, and what the run needs.
        task: ``superres`` or ``denoise``.
        scale: Factor of super-resolution: 2, 3 or 4.
        sigma: Standard deviation of the noise to remove: 15, 25 or 50.
        preset: ``small``, ``medium``, ``large``, ``tiny-s`` or ``tiny-f``.
        steps: Steps of the whole run.
        minutes: Instead of steps: as many as take so long here, which is measured first.
        seed: Seed of the first weights and of the crops.
        validation: Folder of pictures to validate on; else some of ``data`` are held out.
        teacher: ONNX model to imitate, besides the truth.
        start: Network to begin with, the ``model.onnx`` of an earlier run; else random weights.
        threads: Threads that compute; None for as many as there are processors that
            this process may use; a run that is resumed keeps its number.
        settings: Changes of the preset: values by name, or texts ``name=value``.
        resume: Go on with an interrupted run.
        progress: Listener for stages.
        listener: Told after every step.

    Returns:
        What happened, and the model.

    Raises:
        RecipeError: An option makes no sense, PyTorch is missing, or there is an interrupted run
            and ``resume`` is not asked for.
        InputError: There are no pictures to learn from, or a file is missing or damaged.
        OutputError: The folder cannot be written.
    """
    from intaglio.fitting.tables.settings import make_settings, task_of

    wanted = task_of(task, scale, sigma)
    if steps is not None and minutes is not None:
        raise RecipeError("--steps and --minutes are both given", remedy="give one of them")
    if steps is not None and steps < 1:
        raise RecipeError(f"--steps is {steps}", remedy="give 1 or more")
    if minutes is not None and not 0 < minutes <= 100_000:
        raise RecipeError(f"--minutes is {minutes:g}", remedy="give more than 0")
    asked = steps or (STEPS if minutes is None else 0)
    count = threads if threads is not None else processors()
    told = make_settings(wanted, preset, asked, seed, count, settings)
    require_torch()
    listen = progress or silent
    listen("pictures", 0, None)
    folders = [data] if isinstance(data, (str, Path)) else list(data)
    job = FitJob.open(told, [Path(f) for f in folders], validation, teacher, start)
    place = _open_folder(Path(out))
    try:
        if threads is None and resume:
            job.keep_threads(place)
        return job.run(place, minutes, resume, listen, listener)
    finally:
        place.close()


def require_torch() -> None:
    """Refuses to fit without PyTorch.

    Raises:
        RecipeError: It is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise RecipeError(
            "fitting needs PyTorch, which is not installed",
            remedy='install it with `pip install "intaglio[train]"`, or from a source folder with '
            '`pip install -e ".[train]"`',
        )


def _open_folder(path: Path) -> RunFolder:
    from intaglio.fitting.tables.run_folder import RunFolder

    if path.exists() and not path.is_dir():
        raise OutputError(f"--out {path} is a file", remedy="choose another folder with --out")
    return RunFolder(path.resolve())
