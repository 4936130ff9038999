"""Tables and the figure, from the runs that are kept."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.adaptation.methods import METHODS, SCHEDULES
from benchmarks.common import markdown_table

Runs = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]

#: Share of the final gain that "steps to" counts.
_SHARE = 0.9


def write(folder: Path) -> None:
    """Writes ``tables.md`` and ``adaptation.png``; prints the tables."""
    runs = _read(folder / "runs")
    if not runs:
        return
    text = _accuracies(runs) + "\n\n" + _costs(runs) + "\n"
    print(text)
    (folder / "tables.md").write_text(text, encoding="utf-8")
    _draw(runs, folder / "adaptation.png")


def _read(folder: Path) -> Runs:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        kind, which, method = path.stem.split("-", 2)
        for run in json.loads(path.read_text(encoding="utf-8"))["runs"]:
            found.setdefault((kind, method), []).append({**run, "task": f"{kind} {which}"})
    return found


def _groups(kind: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Rotations one by one; speakers together."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        groups.setdefault("speakers" if kind == "speaker" else str(run["task"]), []).append(run)
    return groups


def _per_seed(runs: Sequence[Mapping[str, Any]], place: int) -> list[float]:
    """Mean over the tasks of a seed, first or last point of the curves."""
    seeds: dict[int, list[float]] = {}
    for run in runs:
        seeds.setdefault(run["seed"], []).append(run["points"][place][1])
    return [statistics.fmean(values) for _, values in sorted(seeds.items())]


def _spread(values: Sequence[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.2f} ± {deviation:.2f}"


def _accuracies(runs: Runs) -> str:
    lines = []
    for (kind, name), found in _ordered(runs):
        method = METHODS[name]
        for group, own in _groups(kind, found).items():
            before, after = _per_seed(own, 0), _per_seed(own, -1)
            reference = dict(runs).get((kind, f"bp-{method.layers}"))
            gap, share = "", ""
            if reference is not None and name != f"bp-{method.layers}":
                theirs = _groups(kind, reference)[group]
                best, start = _per_seed(theirs, -1), _per_seed(theirs, 0)
                gap = f"{statistics.fmean(after) - statistics.fmean(best):+.2f}"
                gain = statistics.fmean(best) - statistics.fmean(start)
                own_gain = statistics.fmean(after) - statistics.fmean(before)
                share = f"{100 * own_gain / gain:.0f} %"
            lines.append(
                [group, method.layers, method.title, _spread(before), _spread(after), gap, share,
                 str(len(after))]
            )  # fmt: skip
    head = ["task", "trains", "method", "before, %", "after, %", "less BP", "of BP's gain", "seeds"]
    return markdown_table(head, lines)


def _costs(runs: Runs) -> str:
    lines = []
    for (kind, name), found in _ordered(runs):
        method = METHODS[name]
        if not name.startswith("16w8a"):
            continue
        schedule = SCHEDULES[kind, method.layers]
        for group, own in _groups(kind, found).items():
            steps = [_steps_to(run["points"]) for run in own]
            lines.append(
                [
                    group,
                    method.layers,
                    f"{schedule.steps:,}",
                    str(schedule.batch),
                    str(2 * schedule.probes * schedule.batch),
                    f"{statistics.median(steps):,.0f}",
                    f"{statistics.median(run['cpu_seconds'] for run in own):.1f}",
                ]
            )
    head = ["task, FF 16w8a", "trains", "steps", "batch", "forwards a step"]
    head += ["steps to 90 % of the gain, median", "processor seconds a run, median"]
    return markdown_table(head, lines)


def _steps_to(points: Sequence[Sequence[float]]) -> float:
    first, last = points[0][1], points[-1][1]
    wanted = first + _SHARE * (last - first)
    return next((step for step, value in points if value >= wanted), points[-1][0])


def _ordered(runs: Runs) -> list[tuple[tuple[str, str], Sequence[Mapping[str, Any]]]]:
    order = list(METHODS)
    return sorted(runs.items(), key=lambda item: (item[0][0] != "speaker", order.index(item[0][1])))


def _draw(runs: Runs, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    panels = sorted(
        {(kind, METHODS[name].layers, group) for (kind, name), found in runs.items()
         for group in _groups(kind, found)}
    )  # fmt: skip
    columns = 2
    rows = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(11, 3.2 * rows), squeeze=False)
    for axis, (kind, layers, group) in zip(axes.flat, panels, strict=False):
        for (own_kind, name), found in _ordered(runs):
            method = METHODS[name]
            groups = _groups(own_kind, found)
            if own_kind != kind or method.layers != layers or group not in groups:
                continue
            curves: dict[float, list[float]] = {}
            for run in groups[group]:
                end = run["points"][-1][0]
                for step, value in run["points"]:
                    curves.setdefault(round(step / end, 4), []).append(value)
            points = sorted((at, statistics.fmean(values)) for at, values in curves.items())
            axis.plot(*zip(*points, strict=True), label=method.title, marker=".", markersize=3)
        axis.set_title(f"{group}, trains: {layers}", fontsize=10)
        axis.set_xlabel("part of the run")
        axis.set_ylabel("test accuracy, %")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    for axis in list(axes.flat)[len(panels) :]:
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
