"""Progress bars on stderr, for terminals only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from intaglio.cli.output import Output
from intaglio.fitting.listener import Listener
from intaglio.progress import Progress, silent

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

# Share of the mean loss that a new step leaves as it is.
_SLOW = 0.98


@contextmanager
def bars(output: Output) -> Iterator[Progress]:
    """A listener that draws a bar for each stage, or does nothing where nobody looks.

    Args:
        output: Output of the command.

    Yields:
        The listener.
    """
    if not _is_watched(output):
        yield silent
        return
    from rich.progress import TimeElapsedColumn

    with _drawn(output, TimeElapsedColumn()) as show:
        yield show


@contextmanager
def step_bars(
    output: Output, stage: str, said: Callable[[float, float | None], str]
) -> Iterator[tuple[Progress, Listener | None]]:
    """As :func:`bars`, with a bar of the steps of a run that shows the loss and the time left.

    Args:
        output: Output of the command.
        stage: Name of the bar.
        said: The text on it, of the mean loss of the last steps and of the last score.

    Yields:
        A listener for stages and one for steps, None where nobody looks.
    """
    if not _is_watched(output):
        yield silent, None
        return
    from rich.progress import TextColumn, TimeRemainingColumn

    with _drawn(output, TextColumn("{task.fields[said]}"), TimeRemainingColumn()) as show:
        smooth = 0.0

        def listen(done: int, total: int, loss: float, score: float | None) -> None:
            nonlocal smooth
            smooth = loss if not smooth else _SLOW * smooth + (1 - _SLOW) * loss
            show(stage, done, total, said(smooth, score))

        yield show, listen


def _is_watched(output: Output) -> bool:
    return not output.quiet and output.err.is_terminal


@contextmanager
def _drawn(output: Output, *columns: ProgressColumn) -> Iterator[Callable[..., Any]]:
    """A function that shows how far a stage is."""
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
    from rich.progress import Progress as Bars

    first = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bars(*first, *columns, console=output.err, transient=True) as drawn:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int | None, said: str = "") -> None:
            if stage not in tasks:
                # One bar at a time: the stage before is over when the next one starts.
                for task in tasks.values():
                    drawn.update(task, visible=False)
                tasks[stage] = drawn.add_task(stage, total=total, said=said)
            drawn.update(tasks[stage], completed=done, total=total, said=said, visible=True)

        yield show
