"""The results as tables and as a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import markdown_table

_TITLES = {
    "x4": "Enlarging by 4 (PSNR in dB / SSIM, luma)",
    "x2": "Enlarging by 2 (PSNR in dB / SSIM, luma)",
    "denoise": "Denoising, Set12 (PSNR in dB / SSIM)",
}
_TESTS = {"x4": ("Set5", "Set14"), "x2": ("Set5", "Set14"), "denoise": ("15", "25", "50")}
_STYLES = {"ours": ("o", "C0"), "peer": ("s", "C1"), "published": ("x", "C7")}

Row = Mapping[str, Any]
Times = Mapping[str, float]


def read_times(folder: Path) -> dict[str, float]:
    """Milliseconds of one thread for luma, by name of the method; empty before they are taken."""
    path = folder / "latency.json"
    if not path.exists():
        return {}
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    found: dict[str, float] = {}
    for row in rows:
        if row["planes"] == 1 and row["threads"] == 1 and "method" in row:
            best = found.get(row["method"], float("inf"))
            found[row["method"]] = min(best, row["p10_ms"])
    return found


def tables(data: Mapping[str, Any], times: Times) -> str:
    """All tables, with what they say about themselves."""
    parts = []
    for task, title in _TITLES.items():
        rows = [row for row in data["rows"] if row["task"] == task]
        if rows:
            parts += [f"**{title}**", _table(task, rows, times)]
    found = data["environment"]
    draws = data["draws"]
    parts += [
        "Look-ups are table entries read for a cell, all rotations included, products its "
        "multiplications; a cell is an input pixel when enlarging and 2×2 pixels when denoising at "
        "half resolution. *Luma alone*: PSNR "
        "where the network is given the luma plane instead of R, G and B. *ms*: 320×180 to "
        "1280×720, luma, one thread, from the table of times (denoising: not timed).",
        f"Noise: {draws} draw{'s' if draws > 1 else ''} for each picture with fixed seeds, rounded "
        "and clamped to 8 bits; the published figures are of noise that is neither.",
        "*Published* rows are copied from papers, trained on DIV2K.",
        f"{found['processor']}, onnxruntime {found['onnxruntime']}. {found['date']}.",
        *(f"Left out: {name}: {reason}" for name, reason in data["left_out"].items()),
    ]
    return "\n\n".join(parts) + "\n"


def draw(data: Mapping[str, Any], out: Path, times: Times) -> None:
    """Draws PSNR of the ×4 methods on Set5 against bytes, look-ups and milliseconds.

    Args:
        data: The results.
        out: The picture.
        times: Milliseconds by method; without any there is no third panel.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    rows = [row for row in data["rows"] if row["task"] == "x4" and row["name"] != "bicubic"]
    if not rows:
        return
    axes_of: dict[str, Callable[[Row], float | None]] = {
        "KiB of tables or weights": lambda row: row["bytes"] and row["bytes"] / 1024,
        "look-ups for an input pixel": lambda row: row["lookups"],
        "ms, 320×180 → 1280×720, luma, one thread": lambda row: _time_of(row, times),
    }
    shown = {title: get for title, get in axes_of.items() if any(get(row) for row in rows)}
    figure, panels = plt.subplots(
        1, len(shown), figsize=(5.6 * len(shown), 5.0), sharey=True, squeeze=False
    )
    for panel, (title, get) in zip(panels[0], shown.items(), strict=True):
        for row in rows:
            if not get(row):
                continue
            marker, color = _STYLES[row["kind"]]
            panel.plot(get(row), row["psnr"]["Set5"], marker, color=color, markersize=6)
            panel.annotate(
                row["name"],
                (get(row), row["psnr"]["Set5"]),
                # Ours are written to the left of their points, others to the right.
                xytext=(-5, 3) if row["kind"] == "ours" else (5, -7),
                textcoords="offset points",
                ha="right" if row["kind"] == "ours" else "left",
                fontsize=7,
            )
        panel.set_xscale("log")
        panel.set_xlabel(title, fontsize=8)
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(ScalarFormatter())
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.margins(x=0.35, y=0.08)
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("PSNR of Set5 ×4, dB", fontsize=8)
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=color, label=kind)
        for kind, (marker, color) in _STYLES.items()
    ]
    panels[0][0].legend(handles=handles, fontsize=7)
    figure.tight_layout()
    figure.savefig(out, dpi=110)
    plt.close(figure)


def _table(task: str, rows: Sequence[Row], times: Times) -> str:
    tests = _TESTS[task]
    timed = task == "x4"
    alone = [name for name in tests if any(name in row["luma_psnr"] for row in rows)]
    head = [
        "method",
        "KiB",
        "look-ups",
        "products",
        *(["ms"] if timed else []),
        *(f"σ {name}" if task == "denoise" else name for name in tests),
        *(f"{name}, luma alone" for name in alone),
    ]
    lines = []
    for row in rows:
        title = row["name"] + (" (published)" if row["kind"] == "published" else "")
        time = _time_of(row, times)
        lines.append(
            [
                f"**{title}**" if row["kind"] == "ours" else title,
                "" if row["bytes"] is None else f"{row['bytes'] / 1024:.1f}",
                "" if row["lookups"] is None else f"{row['lookups']:,}",
                "" if row["products"] is None else f"{row['products']:,}",
                *([("" if time is None else f"{time:.2f}")] if timed else []),
                *(_score(row, name) for name in tests),
                *(f"{row['luma_psnr'][n]:.2f}" if n in row["luma_psnr"] else "" for n in alone),
            ]
        )
    return markdown_table(head, lines)


def _score(row: Row, test: str) -> str:
    if test not in row["psnr"]:
        return ""
    likeness = f" / {row['ssim'][test]:.4f}" if test in row["ssim"] else ""
    return f"{row['psnr'][test]:.2f}{likeness}"


def _time_of(row: Row, times: Times) -> float | None:
    """Of what was run here: a published figure has no time on this machine."""
    return None if row["kind"] == "published" else times.get(row["name"])
