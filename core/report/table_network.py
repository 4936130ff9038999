"""The report's figures of a table network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intaglio.report.formatting import format_bytes, format_count

#: Key of the manifest.
TABLE_NETWORK = "table_network"


def table_network_cards(found: Mapping[str, Any]) -> list[dict[str, str]]:
    """Cards for the top of the report.

    Args:
        found: What :func:`intaglio.table_networks.describe_network` gave.
    """
    cell = (
        "a pixel" if found["cell"] == 1 else f"a cell of {found['cell']} × {found['cell']} pixels"
    )
    return [
        {
            "title": "Tables",
            "value": format_bytes(found["table_bytes"]),
            "note": f"{found['layers']} layers of {found['channels']} channels",
        },
        {
            "title": "Look-ups",
            "value": format_count(found["lookups"]),
            "note": f"for {cell}, and {found['multiplications']:,} multiplications",
        },
    ]
