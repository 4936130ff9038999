"""``intaglio fit``: what it calls, and what it prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

import intaglio
from intaglio.bundle_files import jsonable
from intaglio.cli.bars import step_bars
from intaglio.cli.output import INTERRUPTED, Output
from intaglio.report.formatting import format_bytes

if TYPE_CHECKING:
    from rich.console import Console


def run_fit(output: Output, folders: list[str], out: str, **options: Any) -> None:
    """``intaglio fit``: exit code 130 after an interrupt, with what resumes the run."""
    with step_bars(output, "fit", _said) as (progress, listener):
        report = intaglio.fit(folders, out, progress=progress, listener=listener, **options)
    for warning in report.warnings:
        output.warn(warning)
    output.result(jsonable(report.to_dict()), lambda console: _fitted(console, report))
    if report.interrupted:
        output.err.print(
            f"interrupted after {report.facts['steps_done']:,} of {report.facts['steps']:,} steps; "
            "go on with the same command and --resume",
            style="red",
            highlight=False,
        )
        raise typer.Exit(INTERRUPTED)


def _said(loss: float, psnr: float | None) -> str:
    score = "" if psnr is None else f", {psnr:.2f} dB held out"
    return f"loss {loss:.2f}{score}"


def _fitted(console: Console, report: intaglio.FitReport) -> None:
    from rich.table import Table

    facts = report.facts
    if report.model is None:
        return
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, value in _rows(facts):
        table.add_row(name, value)
    console.print(table, highlight=False)
    console.print(
        f"wrote {report.model}\nlook at {report.folder / 'report.html'}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _rows(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    network, pictures = facts["network"], facts["pictures"]
    yield "task", f"{facts['task']}, preset {facts['settings']['preset']}"
    yield "pictures", f"{pictures['learned']:,} to learn from, {pictures['held_out']:,} held out"
    yield "steps", f"{facts['steps']:,} in {facts['seconds']:,.0f} s"
    if facts["psnr"] is not None:
        simple = "noisy" if facts["settings"]["task"]["sigma"] else "bicubic"
        yield "held out", f"{facts['psnr']:.2f} dB; {simple} {facts['baseline']:.2f} dB"
    yield (
        "stored",
        f"{format_bytes(network['bytes'])}, {format_bytes(network['table_bytes'])} of it tables",
    )
    each = network["lookups"] / network["cell"]
    yield "look-ups", f"{each:,.0f} for a pixel of the result in each plane"
    if network["storage"] is not None:
        saved = network["storage"]
        yield (
            "reachable",
            f"{format_bytes(saved['reachable_rows'])} of tables; "
            f"256 rows would take {saved['ddm']:.2f}x as much (DDM), and a sampled window "
            f"{saved['sms']:.2f}x as much as those (SMS)",
        )
    yield "compared", f"{facts['compared_pixels']:,} pixels: module, numpy and ONNX are equal"
