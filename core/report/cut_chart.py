"""Where a model can be cut: bytes of a sample against work of the device."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from intaglio.report.formatting import format_bytes, shorten
from intaglio.report.svg import WIDTH, begin, caption, join, line, number

_HEIGHT = 300
_LEFT, _RIGHT, _TOP, _FOOT = 84, 40, 16, 40


def cut_chart(candidates: Sequence[Mapping[str, Any]]) -> Markup:
    """A point for each cut; the Pareto front and the chosen one stand out.

    Args:
        candidates: ``values``, ``device_macs``, ``bits`` (of a sample), ``pareto``, ``chosen``.
    """
    if len(candidates) < 2:
        return Markup()
    sizes = [max(row["bits"] / 8, 0.125) for row in candidates]
    low, high = math.floor(math.log10(min(sizes))), math.ceil(math.log10(max(sizes)))
    high = max(high, low + 1)
    most = max(row["device_macs"] for row in candidates) or 1
    width, height = WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _FOOT

    def place(macs: float, size: float) -> tuple[float, float]:
        x = _LEFT + width * macs / most
        return x, _TOP + height * (high - math.log10(size)) / (high - low)

    parts = [begin("Cuts", _HEIGHT)]
    for power in range(low, high + 1):
        _, y = place(0, 10.0**power)
        parts.append(line("axis", _LEFT, y, WIDTH - _RIGHT, y))
        parts.append(caption("tick", _LEFT - 6, y + 4, format_bytes(10.0**power), "end"))
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, _ = place(share * most, 10.0**low)
        parts.append(caption("tick", x, _HEIGHT - 22, f"{share * most / 1e6:.3g}", "middle"))
    axis = "million multiply-accumulates on the device"
    parts.append(caption("tick", _LEFT + width / 2, _HEIGHT - 5, axis, "middle"))
    order = sorted(range(len(candidates)), key=lambda i: bool(candidates[i].get("chosen")))
    for index in order:
        row, size = candidates[index], sizes[index]
        name = " + ".join(row["values"])
        tip = f"{name}: {row['device_macs']:,} multiply-accumulates, {size:,.0f} bytes"
        x, y = place(row["device_macs"], size)
        kind = "poor" if row.get("chosen") else "good" if row.get("pareto") else "quiet"
        radius = 7 if row.get("chosen") else 4
        parts.append(Markup("<g><title>{}</title>").format(tip))
        circle = '<circle class="{}" cx="{}" cy="{}" r="{}"/>'
        parts.append(Markup(circle).format(kind, number(x), number(y), radius))
        if row.get("chosen"):
            end = x > WIDTH / 2
            text = shorten(name, 40)
            parts.append(
                caption("label", x - 11 if end else x + 11, y - 9, text, "end" if end else "start")
            )
        parts.append(Markup("</g>"))
    return join(parts)
