"""``intaglio train`` and ``intaglio replay``: what they call, and what they print."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

import intaglio
from intaglio.bundle_files import jsonable
from intaglio.cli.bars import bars, step_bars
from intaglio.cli.output import INTERRUPTED, Output

if TYPE_CHECKING:
    from rich.console import Console


def run_train(output: Output, folder: str, data: str, **options: Any) -> None:
    """``intaglio train``: exit code 130 after an interrupt, with what resumes the run."""
    with step_bars(output, "train", _said) as (progress, listener):
        report = intaglio.train(folder, data, progress=progress, listener=listener, **options)
    for warning in report.warnings:
        output.warn(warning)
    output.result(jsonable(report.to_dict()), lambda console: _trained(console, report))
    if report.interrupted:
        done, steps = report.facts["steps_done"], report.facts["settings"]["steps"]
        output.err.print(
            f"interrupted after {done:,} of {steps:,} steps; go on with the same command and "
            "--resume",
            style="red",
            highlight=False,
        )
        raise typer.Exit(INTERRUPTED)


def run_replay(output: Output, folder: str, transcript: str, out: str) -> None:
    """``intaglio replay``."""
    with bars(output) as progress:
        bundle = intaglio.replay(folder, Path(transcript), out, progress=progress)
    data = {"out": str(bundle.folder), **bundle.manifest["adapted"]}
    output.result(
        jsonable(data),
        lambda console: console.print(
            f"{data['steps']:,} steps replayed into {bundle.folder}\nweights {data['weights']}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        ),
    )


def _said(loss: float, accuracy: float | None) -> str:
    score = "" if accuracy is None else f", {100 * accuracy:.2f} % right"
    return f"loss {loss:.3f}{score}"


def _trained(console: Console, report: intaglio.TrainingReport) -> None:
    from rich.table import Table

    facts = report.facts
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, value in _rows(facts):
        table.add_row(name, value)
    console.print(table, highlight=False)
    if report.bundle is not None:
        console.print(
            f"next: intaglio verify {report.bundle.folder}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _rows(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    settings = facts["settings"]
    kept = (
        f", weights of step {facts['steps']:,} kept" if facts["steps"] < facts["steps_done"] else ""
    )
    yield "steps", f"{facts['steps_done']:,} of {settings['batch']} samples{kept}"
    seconds = facts["step_seconds"]
    took = "" if seconds is None else f", {1000 * seconds:.3g} ms a step"
    yield "runtime", f"{facts['runtime']}{took}"
    yield "forwards", f"{facts['forwards']:,}"
    if facts["loss"]:
        yield "loss", f"{facts['loss'][0][1]:.3f} to {facts['loss'][-1][1]:.3f}"
    points = facts["validations"]
    if points and points[0]["accuracy"] is not None:
        best = max(points, key=lambda point: point["accuracy"])
        yield (
            "validation",
            f"{100 * points[0]['accuracy']:.2f} % to {100 * best['accuracy']:.2f} % right, "
            f"step {best['step']:,}",
        )
    elif points:
        yield "validation", f"loss {points[0]['loss']:.4g} to {min(p['loss'] for p in points):.4g}"
    yield "weights moved", f"{100 * facts['moved']:.1f} % of {facts['parameters']:,}"
    yield "ties", f"{100 * facts['ties']:.1f} % of the probes"
    yield "digest", facts["digest"]
