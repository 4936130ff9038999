"""Progress bars on stderr, for terminals only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from intaglio.cli.output import Output
from intaglio.progress import Progress, silent


@contextmanager
def bars(output: Output) -> Iterator[Progress]:
    """A listener that draws a bar for each stage, or does nothing where nobody looks.

    Args:
        output: Output of the command.

    Yields:
        The listener.
    """
    if output.quiet or not output.err.is_terminal:
        yield silent
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=output.err, transient=True) as drawn:
        tasks: dict[str, TaskID] = {}

        def listen(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                # One bar at a time: the stage before is over when the next one starts.
                for task in tasks.values():
                    drawn.update(task, visible=False)
                tasks[stage] = drawn.add_task(stage, total=total)
            drawn.update(tasks[stage], completed=done, total=total, visible=True)

        yield listen
