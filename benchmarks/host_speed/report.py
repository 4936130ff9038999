"""The results as a table and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.common import markdown_table
from benchmarks.host_speed.networks import NETWORKS

_OURS = "c, "


def table(data: dict[str, Any]) -> str:
    """Microseconds, and how the fastest C compares with each of the others."""
    times = _times(data)
    runtimes = list(dict.fromkeys(row["runtime"] for row in data["rows"]))
    networks = list(times)
    lines = []
    for runtime in runtimes:
        cells = []
        for network in networks:
            time, best = times[network].get(runtime), _fastest(times[network])
            if time is None:
                cells.append("")
            elif runtime.startswith(_OURS):
                cells.append(f"**{_us(time)}**" if time == best else _us(time))
            else:
                cells.append(f"{_us(time)} ({time / best:.2f})" if best else _us(time))
        lines.append([runtime, *cells])
    versions = ", ".join(f"{name} {number}" for name, number in data["versions"].items())
    found = data["environment"]
    parts = [
        markdown_table(["µs", *(NETWORKS[name].title for name in networks)], lines),
        "Time of the processor for one inference, tenth percentile, one thread, batch 1, all in "
        "turns. In brackets: how many times as long as the fastest emitted C.",
        f"{found['processor']}, {versions}. {found['date']}.",
        *(f"Left out: {name}: {reason}" for name, reason in data["left_out"].items()),
    ]
    return "\n\n".join(parts) + "\n"


def draw(data: dict[str, Any], out: Path) -> None:
    """Draws how many times as long as the fastest C the others take.

    Args:
        data: The results.
        out: The picture.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    times = _times(data)
    if not times:
        return
    runtimes = [
        runtime
        for runtime in dict.fromkeys(row["runtime"] for row in data["rows"])
        if not runtime.startswith(_OURS)
    ]
    figure, axes = plt.subplots(figsize=(9, 3.4))
    width = 0.8 / max(1, len(runtimes))
    for place, runtime in enumerate(runtimes):
        found = [
            (row, times[name][runtime] / best)
            for row, name in enumerate(times)
            if runtime in times[name] and (best := _fastest(times[name]))
        ]
        bars = axes.bar(
            [row + (place - (len(runtimes) - 1) / 2) * width for row, _ in found],
            [ratio for _, ratio in found],
            width,
            label=runtime,
        )
        axes.bar_label(bars, fmt="%.1f", fontsize=6)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(times)), [NETWORKS[name].title for name in times], fontsize=8)
    axes.set_ylabel("time, as a multiple of the fastest emitted C")
    axes.legend(fontsize=7)
    axes.grid(axis="y", alpha=0.3)
    figure.tight_layout()
    figure.savefig(out, dpi=110)
    plt.close(figure)


def _times(data: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Tenth percentiles by network and runtime."""
    found: dict[str, dict[str, float]] = {}
    for row in data["rows"]:
        found.setdefault(row["network"], {})[row["runtime"]] = row["p10_us"]
    return found


def _fastest(times: dict[str, float]) -> float | None:
    """The fastest emitted C."""
    return min((t for runtime, t in times.items() if runtime.startswith(_OURS)), default=None)


def _us(time: float) -> str:
    return f"{time:,.0f}" if time >= 1000 else f"{time:.1f}"
