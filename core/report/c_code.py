"""The report's section on emitted C: memory on each processor, and the arena over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from intaglio.bundle_files import read_json
from intaglio.report.arena_chart import arena_chart
from intaglio.report.formatting import format_bytes, format_count, format_percent

Json = Mapping[str, Any]

#: The target whose artifacts have such a report.
TARGET = "c"

TABLE_NETWORK_KIND = "table network"


def c_sections(folder: Path, artifacts: Sequence[Json]) -> list[dict[str, Any]]:
    """What the template ``c_code.html.j2`` shows, one entry an artifact.

    Args:
        folder: The bundle's folder.
        artifacts: The artifacts of the manifest.

    Raises:
        InputError: A report is missing or damaged.
    """
    found = {
        str(a["path"]): read_json((folder / str(a["path"])).with_suffix(".json"))
        for a in artifacts
        if a["target"] == TARGET
    }
    # The C of a table network has no memory plan: its caller gives it rows to work in.
    return [
        _section(path, report)
        for path, report in found.items()
        if report.get("kind") != TABLE_NETWORK_KIND
    ]


def _section(path: str, report: Json) -> dict[str, Any]:
    layers = list(report["layers"])
    variants = report["variants"]
    macs = sum(layer["macs"] for layer in layers)
    largest = max((v["arena_bytes"] for v in variants.values()), default=0)
    return {
        "path": path,
        "figures": [
            ("Layers", format_count(len(layers)), "one C function each"),
            ("Multiplications", format_count(macs), "in convolutions, an inference"),
            ("Arena", format_bytes(largest), "working memory, largest of the processors"),
            (
                "Live at the peak",
                format_bytes(report["live_peak_bytes"]),
                "tensors of one layer, none sharing memory",
            ),
        ],
        "variants": [_row(name, variant) for name, variant in variants.items()],
        "plans": _plans(variants, len(layers)),
    }


def _row(name: str, variant: Json) -> dict[str, Any]:
    bound = variant["bound_bytes"]
    return {
        "name": name,
        "arena": format_bytes(variant["arena_bytes"]),
        "bound": format_bytes(bound),
        "share": format_percent(variant["arena_bytes"] / bound) if bound else "",
        "constants": format_bytes(variant["constant_bytes"]),
    }


def _plans(variants: dict[str, Json], layers: int) -> list[dict[str, Any]]:
    """A picture of each different plan, those for small processors first."""
    found: dict[str, dict[str, Any]] = {}
    for name, variant in reversed(variants.items()):
        key = repr(variant["buffers"])
        if key not in found:
            chart = arena_chart(
                variant["buffers"], variant["arena_bytes"], variant["bound_bytes"], layers
            )
            found[key] = {"names": [], "chart": chart}
        found[key]["names"].append(name)
    return [{"names": ", ".join(plan["names"]), "chart": plan["chart"]} for plan in found.values()]
