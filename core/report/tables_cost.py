"""What each layer costs as tables and as products: the report's section on recipe ``lut``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SUBSTITUTE = "tables.substitute_convolutions"
_PRUNE = "tables.prune_rows"

Json = Mapping[str, Any]


def tables_section(steps: Sequence[Json]) -> dict[str, Any] | None:
    """What the template shows.

    Args:
        steps: Steps of ``report.json``, or records of a conversion as dicts: ``name``, ``facts``.

    Returns:
        None where no step weighed tables.
    """
    facts = next((step["facts"] for step in steps if step["name"] == _SUBSTITUTE), None)
    if not facts or not facts.get("layers"):
        return None
    left = _left(steps)
    rows = []
    for layer in facts["layers"]:
        taken, seconds = layer["substituted"], layer["table_seconds"]
        table_bytes = left.get(layer["layer"], layer["table_bytes"])
        rows.append(
            {
                **layer,
                "table_bytes": table_bytes if taken else layer["table_bytes"],
                "time": time_words(layer["seconds"]),
                "table_time": time_words(seconds),
                "speedup": layer["seconds"] / seconds if seconds else 1.0,
                "verdict": "tables" if taken else "products",
            }
        )
    taken_rows = [row for row in rows if row["substituted"]]
    return {
        "split": facts["split"],
        "multiplier": facts["multiplier"],
        "rows": rows,
        "substituted": len(taken_rows),
        "table_bytes": sum(row["table_bytes"] for row in taken_rows),
        "weight_bytes": sum(row["weight_bytes"] for row in taken_rows),
        "lookups": sum(row["lookups"] for row in taken_rows),
        "products": sum(row["products"] for row in taken_rows),
    }


def _left(steps: Sequence[Json]) -> dict[str, int]:
    """Bytes of each layer's tables after pruning, both parts of a split together."""
    facts = next((step["facts"] for step in steps if step["name"] == _PRUNE), None) or {}
    found: dict[str, int] = {}
    for row in facts.get("layers", ()):
        found[row["layer"]] = found.get(row["layer"], 0) + row["bytes"]
    return found


def time_words(seconds: float) -> str:
    """A predicted time in the unit that suits it."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
