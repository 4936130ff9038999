"""What the report shows of a table network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from intaglio.bundle_files import read_json
from intaglio.report.c_code import TABLE_NETWORK_KIND, TARGET
from intaglio.report.formatting import format_bytes, format_count

#: Key of the manifest.
TABLE_NETWORK = "table_network"
#: Shown where others show a profile: the network itself says how it rounds.
ARITHMETIC = "the network's own"


def table_network_cards(found: Mapping[str, Any]) -> list[dict[str, str]]:
    """Cards for the top of the report.

    Args:
        found: What :func:`intaglio.table_networks.describe_network` gave.
    """
    cell = (
        "a pixel" if found["cell"] == 1 else f"a cell of {found['cell']} × {found['cell']} pixels"
    )
    scale = f"{found['scale']:g}"
    size = "as large as the picture" if found["scale"] == 1 else f"{scale} times as large"
    task = {"title": "Task", "value": found["task"], "note": f"the result is {size}"}
    return [
        *([task] if found["task"] else []),
        {
            "title": "Tables",
            "value": format_bytes(found["table_bytes"]),
            "note": f"{found['layers']} layers of {found['channels']} channels",
        },
        {
            "title": "Look-ups",
            "value": format_count(found["lookups"]),
            "note": f"for {cell}, and {format_count(found['multiplications'])} multiplications",
        },
    ]


def table_network_code(
    folder: Path, artifacts: Sequence[Mapping[str, Any]]
) -> list[dict[str, str]]:
    """Memory that emitted C takes, a row for each kind of processor.

    Args:
        folder: The bundle's folder.
        artifacts: The artifacts of the manifest.

    Raises:
        InputError: A report is missing or damaged.
    """
    reports = [
        read_json((folder / str(a["path"])).with_suffix(".json"))
        for a in artifacts
        if a["target"] == TARGET
    ]
    return [
        {
            "name": name,
            "constants": format_bytes(found["constant_bytes"]),
            "scratch": format_bytes(found["scratch_bytes"]),
            "together": format_bytes(found["constant_bytes"] + found["scratch_bytes"]),
        }
        for report in reports
        if report.get("kind") == TABLE_NETWORK_KIND
        for name, found in report["processors"].items()
    ]
