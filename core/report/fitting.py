"""The page on a fitted table network: its score, its curve, sample pictures, bytes and look-ups."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from intaglio.report.curve_chart import curve_chart
from intaglio.report.formatting import format_bytes, format_count
from intaglio.report.templates import render

Json = Mapping[str, Any]


def fitting_report(facts: Json, samples: Sequence[Json]) -> str:
    """The page as HTML that needs no other file.

    Args:
        facts: What the run came to, as in ``fit.json``.
        samples: Pictures, as ``fitting.tables.samples`` makes them.
    """
    network, journal = facts["network"], facts["journal"]
    scores = [(line["step"], line["psnr"]) for line in journal if "psnr" in line]
    losses = [(line["step"], _decibels(line["loss"])) for line in journal if line["loss"] > 0]
    return render(
        "fitting.html.j2",
        title=f"{facts['task']}, {facts['settings']['preset']}",
        compared=facts["compared_pixels"],
        cards=_cards(facts),
        warnings=facts["warnings"],
        samples=[_sample(sample, facts) for sample in samples],
        psnr=curve_chart("PSNR in validation", scores, _two_decimals),
        loss=curve_chart("Loss", losses, _two_decimals),
        rows=_rows(facts),
        cell=network["cell"],
        parts=network["parts"],
        storage=_storage(network["storage"]),
        settings=_settings(facts["settings"]),
    )


def _cards(facts: Json) -> list[tuple[str, str, str]]:
    network = facts["network"]
    found = []
    if facts["psnr"] is not None:
        simple = "noisy" if facts["settings"]["task"]["sigma"] else "bicubic"
        found.append(
            (
                "PSNR",
                f"{facts['psnr']:.2f} dB",
                f"on {_pictures(facts['pictures']['held_out'])} held out; "
                f"{simple}: {facts['baseline']:.2f} dB",
            )
        )
    found.append(
        (
            "Size",
            format_bytes(network["bytes"]),
            f"{format_bytes(network['table_bytes'])} of it tables",
        )
    )
    each = network["lookups"] / network["cell"]
    found.append(
        ("Look-ups", f"{each:,.0f}", "for a pixel of the result, in each plane that it has")
    )
    found.append(("Steps", format_count(facts["steps"]), f"in {_duration(facts['seconds'])}"))
    return found


def _sample(sample: Json, facts: Json) -> dict[str, Any]:
    before, after = f"{sample['before']:.2f} dB", f"{sample['after']:.2f} dB"
    if facts["settings"]["task"]["sigma"]:
        shown = [(f"noisy, {before}", sample["input"])]
    else:
        shown = [("input", sample["input"]), (f"bicubic, {before}", sample["simple"])]
    shown += [(f"this network, {after}", sample["restored"]), ("original", sample["clean"])]
    size = {"width": sample["width"], "height": sample["height"]}
    return {"name": sample["name"], "shown": shown, **size}


def _rows(facts: Json) -> list[tuple[str, str]]:
    pictures, teacher = facts["pictures"], facts["teacher"]
    crops = facts["journal"][-1]["crops"] if facts["journal"] else 0
    rows = [
        ("Pictures learned from", format_count(pictures["learned"])),
        ("Pictures held out", format_count(pictures["held_out"])),
        ("Crops seen", format_count(crops)),
        ("Time", _duration(facts["seconds"])),
        ("SHA-256 of model.onnx", facts["digest"]),
    ]
    if teacher is not None:
        rows.insert(2, ("Teacher", f"{teacher['name']}, {teacher['psnr']:.2f} dB on a sample"))
    if pictures["bad"]:
        rows.insert(2, ("Files left out", ", ".join(name for name, _ in pictures["bad"])))
    return rows


def _storage(found: Json | None) -> list[tuple[str, str]]:
    if found is None:
        return []
    return [
        ("Tables of the rows that can be read", _bytes(found["reachable_rows"])),
        ("Tables with all rows, as model.onnx has them", _bytes(found["full_rows"])),
        ("One branch of 256 rows", _bytes(found["one_branch"])),
        ("A sampled 2 × 2 window, as SR-LUT has it", _bytes(found["sampled_window"])),
        ("Separable tables (SMS) against the sampled window", f"{found['sms']:.2f}×"),
        ("Split bits and ranges (DDM) against 256 rows", f"{found['ddm']:.2f}×"),
        ("The same with all rows", f"{found['ddm_full']:.2f}×"),
    ]


def _bytes(count: int) -> str:
    return f"{format_count(count)} B"


def _settings(settings: Json) -> list[tuple[str, str]]:
    found = [(name, str(settings[name])) for name in ("preset", "steps", "seed", "threads")]
    for part in ("structure", "recipe"):
        found += [(name, _plain(value)) for name, value in settings[part].items()]
    return found


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{format_count(count)} pictures"


def _decibels(error: float) -> float:
    return 10 * math.log10(255**2 / error)


def _two_decimals(value: float) -> str:
    return f"{value:.2f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
