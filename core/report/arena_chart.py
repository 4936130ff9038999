"""A memory plan as a picture: layers from left to right, the arena from bottom to top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from intaglio.report.formatting import format_bytes, shorten
from intaglio.report.svg import WIDTH, begin, box, caption, join, line

_HEIGHT = 300
_LEFT = 84
_FOOT = 22
#: Generous width of a character of a buffer's name.
_CHARACTER = 7.0


def arena_chart(buffers: Sequence[Mapping[str, Any]], size: int, bound: int, layers: int) -> Markup:
    """Each buffer as a box: as wide as it lives, as high as it is large.

    Args:
        buffers: ``name``, ``bytes``, ``offset``, and ``first`` and ``last`` layer of each.
        size: Bytes of the arena.
        bound: Bytes that no plan can go below; drawn as a line.
        layers: Number of layers.
    """
    if not buffers or not size:
        return Markup()
    wide = (WIDTH - _LEFT - 8) / max(layers, 1)
    high = (_HEIGHT - _FOOT - 8) / size

    def level(offset: float) -> float:
        return _HEIGHT - _FOOT - offset * high

    parts = [begin("The arena over time", _HEIGHT)]
    for buffer in buffers:
        x = _LEFT + buffer["first"] * wide
        width = (buffer["last"] - buffer["first"] + 1) * wide
        top = level(buffer["offset"] + buffer["bytes"])
        tall = buffer["bytes"] * high
        scratch = str(buffer["name"]).startswith("scratch of ")
        tip = (
            f"{buffer['name']}: {format_bytes(buffer['bytes'])} at {buffer['offset']}, layers "
            f"{buffer['first']} to {buffer['last']}"
        )
        parts.append(Markup("<g><title>{}</title>").format(tip))
        kind = "fair soft" if scratch else "good soft"
        parts.append(box(kind, x + 0.5, top, max(width - 1, 1), max(tall - 0.5, 0.5)))
        room = int((width - 8) / _CHARACTER)
        if room >= 3 and tall >= 14:
            parts.append(caption("value", x + 4, top + 13, shorten(str(buffer["name"]), room)))
        parts.append(Markup("</g>"))
    for value, label in ((0, "0"), (size, format_bytes(size))):
        parts.append(caption("tick", _LEFT - 6, level(value) + 4, label, "end"))
    parts.append(line("mark", _LEFT, level(bound), WIDTH - 8, level(bound)))
    parts.append(line("axis", _LEFT, level(0), WIDTH - 8, level(0)))
    parts.append(caption("tick", _LEFT, _HEIGHT - 5, "first layer"))
    parts.append(caption("tick", WIDTH - 8, _HEIGHT - 5, f"layer {layers - 1}", "end"))
    return join(parts)
