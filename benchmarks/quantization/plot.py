"""One picture of all results: how closely each method follows the float model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.quantization.tables import OURS, is_ours, read_results, title_of


def write(folder: Path, out: Path) -> None:
    """Draws the signal-to-noise ratio of every method on every model.

    Args:
        folder: Where the result files are.
        out: The picture.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    results = read_results(folder)
    if not results:
        return
    methods = _methods(results)
    figure, axes = plt.subplots(figsize=(9, 0.55 * len(results) + 1.6))
    named: set[str] = set()
    for row, data in enumerate(results):
        first = next(iter(data["sets"]))
        measured = [method for method in methods if method in data["methods"]]
        for place, method in enumerate(measured):
            found = data["methods"].get(method, {}).get("sets", {}).get(first, {})
            if "sqnr_db" not in found:
                continue
            mean, sd = found["sqnr_db"]["mean"], found["sqnr_db"]["sd"] or 0.0
            offset = (place - (len(measured) - 1) / 2) * 0.11
            axes.errorbar(
                mean,
                row + offset,
                xerr=sd,
                fmt="s" if is_ours(method) else "o",
                color=f"C{methods.index(method)}",
                markersize=5,
                capsize=2,
                label=None if method in named else title_of(method).replace("*", ""),
            )
            named.add(method)
    axes.set_yticks(range(len(results)), [data["title"] for data in results], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("SQNR against the float model, dB (mean ± s.d. over calibration draws)")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=7, loc="upper left")
    figure.tight_layout()
    figure.savefig(out, dpi=110)
    plt.close(figure)


def _methods(results: list[dict[str, Any]]) -> list[str]:
    """The peers and our default recipe, in order of appearance."""
    names = list(dict.fromkeys(name for data in results for name in data["methods"]))
    return [n for n in names if not is_ours(n) or n in {f"{t} default" for t in OURS}]
