"""The table of times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.common import markdown_table

Row = Mapping[str, Any]

#: What the others are compared with.
REFERENCE = ("FSRCNN, float", "onnxruntime")


def table(data: Mapping[str, Any]) -> str:
    """Milliseconds, how many times as fast as float FSRCNN, and the share of the roofline."""
    columns = sorted({(row["planes"], row["threads"]) for row in data["rows"]})
    roof = max((peak["per_s"] for peak in data["peaks"].values()), default=None)
    lines = []
    for method, runtime in dict.fromkeys((r["method"], r["runtime"]) for r in data["rows"]):
        cells = [method, runtime]
        for column in columns:
            row = _find(data["rows"], method, runtime, column)
            reference = _find(data["rows"], *REFERENCE, column)
            cells.append("" if row is None else _cell(row, reference))
        one = _find(data["rows"], method, runtime, (1, 1))
        share = ""
        if one is not None and one["lookups"] and roof:
            speed = one["lookups"] / (one["p10_ms"] / 1e3)
            share = f"{speed / 1e9:.1f} ({100 * speed / roof:.0f} %)"
        memory = one["working_set"] if one is not None else None
        lines.append([*cells, share, "" if memory is None else f"{memory / 1024:.0f}"])
    titles = map(_title, columns)
    head = ["network", "runtime", *titles, "10⁹ look-ups/s", "working set, KiB"]
    width, height = data["size"]
    found = data["environment"]
    versions = ", ".join(f"{name} {number}" for name, number in data["versions"].items())
    parts = [
        markdown_table(head, lines),
        f"{width}×{height} enlarged by 4; time by the clock on the wall, tenth percentile, all in "
        "turns. In brackets: how many times as fast as onnxruntime's float FSRCNN with as many "
        "threads and planes. Three planes are done one after the other. Emitted C of FSRCNN has "
        "one thread only. Look-ups of one thread and one plane, in brackets as a share of the "
        "roofline; stem, windows and skip take time too, but count as none. Working set: tables, "
        "weights and all working memory.",
        "Roofline (look-ups of 16-row tables in L1, added up, nothing else): "
        + "; ".join(
            f"{peak['per_s'] / 1e9:.0f}·10⁹/s with {peak['kernel']} ({name})"
            for name, peak in data["peaks"].items()
        )
        + ".",
        f"{found['processor']}, {versions}. {found['date']}.",
        *(f"Left out: {name}: {reason}" for name, reason in data["left_out"].items()),
    ]
    return "\n\n".join(parts) + "\n"


def _find(rows: Sequence[Row], method: str, runtime: str, column: tuple[int, int]) -> Row | None:
    wanted = (method, runtime, *column)
    for row in rows:
        if (row["method"], row["runtime"], row["planes"], row["threads"]) == wanted:
            return row
    return None


def _cell(row: Row, reference: Row | None) -> str:
    time = f"{row['p10_ms']:.2f}"
    if reference is None or reference is row:
        return time
    return f"{time} ({reference['p10_ms'] / row['p10_ms']:.1f}×)"


def _title(column: tuple[int, int]) -> str:
    planes, threads = column
    return f"{'luma' if planes == 1 else 'R, G, B'}, {threads} thread{'s' if threads > 1 else ''}"
