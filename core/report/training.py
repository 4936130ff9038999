"""The report's section on how a model was adapted: what a training run did, and its curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intaglio.report.curve_chart import curve_chart
from intaglio.report.formatting import format_count, format_percent

Json = Mapping[str, Any]


def training_section(adapted: Json | None) -> dict[str, Any] | None:
    """What the template ``training.html.j2`` shows, None for a model that was not adapted.

    Args:
        adapted: The manifest's entry of that name.
    """
    if adapted is None:
        return None
    if "settings" not in adapted:
        replayed = [("Steps", format_count(adapted.get("steps", 0)), "replayed from a transcript")]
        rows = [("Digest of the weights", adapted["weights"])]
        return {"figures": replayed, "rows": rows, "loss": "", "accuracy": "", "validation": ""}
    settings = adapted["settings"]
    marks = [(step, f"the step is halved at {step:,}") for step in adapted["halvings"]]
    points = adapted["validations"]
    accuracy = [(p["step"], p["accuracy"]) for p in points if p["accuracy"] is not None]
    return {
        "figures": _figures(adapted, settings, accuracy),
        "rows": _rows(adapted, settings),
        "loss": curve_chart("Loss", [tuple(p) for p in adapted["loss"]], _plain, marks),
        "accuracy": curve_chart("Accuracy in validation", accuracy, _share, marks),
        "validation": curve_chart(
            "Loss in validation", [(p["step"], p["loss"]) for p in points], _plain, marks
        ),
    }


def _figures(
    adapted: Json, settings: Json, accuracy: list[tuple[int, float]]
) -> list[tuple[str, str, str]]:
    found = [
        (
            "Steps",
            format_count(adapted["steps"]),
            f"of {settings['batch']} samples; {adapted['steps_done']:,} were done",
        ),
        ("Forward calls", format_count(adapted["forwards"]), "of one sample each; no backward"),
    ]
    if accuracy:
        best = max(accuracy, key=lambda point: point[1])
        note = f"in validation; {_share(accuracy[0][1])} before"
        found.append(("Accuracy", _share(best[1]), note))
    found.append(
        (
            "Weights moved",
            format_percent(adapted["moved"], 1),
            f"of {adapted['parameters']:,} that train",
        )
    )
    return found


def _rows(adapted: Json, settings: Json) -> list[tuple[str, str]]:
    return [
        ("Seed", str(settings["seed"])),
        ("Runtime", str(adapted["runtime"])),
        ("Forward calls a step", f"{adapted['forwards_per_step']} for each sample"),
        ("Step halved at", ", ".join(f"{s:,}" for s in adapted["halvings"]) or "never"),
        ("Probes without a difference", format_percent(adapted["ties"], 2)),
        ("Weights at the end of their range", format_percent(adapted["at_limit"], 2)),
        ("Smallest move of a weight", f"{adapted['smallest_step_lsb']:.3g} LSB"),
        ("Digest of the weights", str(adapted["digest"])),
    ]


def _plain(value: float) -> str:
    return f"{value:.3g}"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"
