"""One picture: instructions of the emitted C beside those of TFLite Micro with CMSIS-NN."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.microcontrollers.peers import MICRO


def write(data: dict[str, Any], out: Path) -> None:
    """Draws a panel for each board.

    Args:
        data: The results.
        out: The picture.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    boards = list(dict.fromkeys(row["board"] for row in data["rows"]))
    if not boards:
        return
    figure, panels = plt.subplots(1, len(boards), figsize=(3.2 * len(boards), 3.2), squeeze=False)
    for board, axes in zip(boards, panels[0], strict=True):
        rows = [row for row in data["rows"] if row["board"] == board]
        places = range(len(rows))
        ours = [row["instructions"] / 1e6 for row in rows]
        theirs = [MICRO[board][row["network"]].best / 1e6 for row in rows]
        axes.bar([p - 0.2 for p in places], theirs, 0.4, label="TFLM + CMSIS-NN", color="C7")
        bars = axes.bar([p + 0.2 for p in places], ours, 0.4, label="emitted C", color="C0")
        axes.bar_label(bars, [f"{a / b:.2f}" for a, b in zip(ours, theirs, strict=True)], size=7)
        axes.set_xticks(list(places), [row["network"] for row in rows], fontsize=8)
        axes.set_title(board, fontsize=9)
        axes.grid(axis="y", alpha=0.3)
    panels[0][0].set_ylabel("million instructions per inference")
    panels[0][0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(out, dpi=110)
    plt.close(figure)
