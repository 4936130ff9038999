"""Plots of the report as SVG: colored by the page's CSS, the same bytes for the same numbers.

Every label passes through escaping: names in models are whatever their authors chose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from intaglio.report.formatting import shorten
from intaglio.report.svg import WIDTH, begin, box, caption, join, line

_ROW = 21
_LABEL = 300
_CHARACTERS = 36
#: Generous width of a character of the texts behind bars.
_CHARACTER = 6.5


@dataclass(frozen=True)
class Bar:
    """A row of a plot.

    Attributes:
        label: What the row is about.
        tip: Text that appears on hovering.
        values: Length of each bar of the row, in the plot's unit.
        text: Text at the end.
        kinds: CSS class of each bar: ``good``, ``fair``, ``poor``, ``quiet``.
    """

    label: str
    tip: str
    values: Sequence[float]
    text: str
    kinds: Sequence[str]


@dataclass(frozen=True)
class Span:
    """The values of a tensor within what its type can hold.

    Attributes:
        label: What the row is about.
        tip: Text that appears on hovering.
        representable: Lowest and highest real value of the integer type.
        seen: Lowest and highest value that the float model gave.
        text: Text at the end.
        kind: CSS class of the seen part.
    """

    label: str
    tip: str
    representable: tuple[float, float]
    seen: tuple[float, float]
    text: str
    kind: str


def bar_chart(title: str, bars: Sequence[Bar], marks: Sequence[tuple[float, str]] = ()) -> Markup:
    """Horizontal bars, one row each.

    Args:
        title: For screen readers.
        bars: The rows; all bars share one linear scale from 0.
        marks: Vertical lines at these values, with their label.
    """
    if not bars:
        return Markup()
    largest = max([v for bar in bars for v in bar.values] + [value for value, _ in marks])
    room = WIDTH - _LABEL - 24 - _CHARACTER * max(len(bar.text) for bar in bars)
    unit = room / largest if largest > 0 else 0.0
    top = 18 if marks else 4
    height = top + _ROW * len(bars) + 4
    parts = [begin(title, height)]
    for value, label in marks:
        x = _LABEL + value * unit
        parts.append(line("mark", x, top - 4, x, height - 4))
        parts.append(caption("tick", x, top - 7, label, "middle"))
    for row, bar in enumerate(bars):
        y = top + row * _ROW
        parts.append(Markup("<g><title>{}</title>").format(bar.tip))
        parts.append(_label(bar.label, y))
        thickness = (_ROW - 6) / max(len(bar.values), 1)
        for index, (value, kind) in enumerate(zip(bar.values, bar.kinds, strict=True)):
            width = max(value * unit, 1.0 if value > 0 else 0.0)
            parts.append(box(kind, _LABEL, y + 3 + index * thickness, width, thickness))
        end = _LABEL + max([*bar.values, 0.0]) * unit + 6
        parts.append(caption("value", end, y + 14, bar.text))
        parts.append(Markup("</g>"))
    return join(parts)


def span_chart(title: str, spans: Sequence[Span]) -> Markup:
    """Ranges: what each type can hold, what occurred, and what did not fit.

    What a type can hold fills the middle of every row, whatever its scale; values beyond it reach
    into the margins.
    """
    if not spans:
        return Markup()
    height = _ROW * len(spans) + 8
    room = WIDTH - _LABEL - 96
    margin, width = room * 0.1, room * 0.8
    parts = [begin(title, height)]
    for row, span in enumerate(spans):
        y = 4 + row * _ROW
        low, high = span.representable
        extent = high - low

        def place(value: float, low: float = low, extent: float = extent) -> float:
            share = (value - low) / extent if extent > 0 else 0.0
            return _LABEL + margin + min(max(share * width, -margin), width + margin)

        start, end = place(span.seen[0]), place(span.seen[1])
        left, right = place(low), place(high)
        parts.append(Markup("<g><title>{}</title>").format(span.tip))
        parts.append(_label(span.label, y))
        parts.append(box("holds", left, y + 3, right - left, _ROW - 6))
        inner = (max(start, left), min(end, right))
        if inner[1] > inner[0]:
            parts.append(box(span.kind, inner[0], y + 6, inner[1] - inner[0], _ROW - 12))
        if start < left - 0.5:
            parts.append(box("poor", start, y + 6, left - start, _ROW - 12))
        if end > right + 0.5:
            parts.append(box("poor", right, y + 6, end - right, _ROW - 12))
        if low < 0.0 < high:
            parts.append(line("zero", place(0.0), y + 2, place(0.0), y + _ROW - 2))
        parts.append(caption("value", _LABEL + room + 6, y + 14, span.text))
        parts.append(Markup("</g>"))
    return join(parts)


def histogram(
    bins: Sequence[Sequence[int]], outermost: int, *, width: int = 300, height: int = 120
) -> Markup:
    """Differences in LSB as columns on a logarithmic scale.

    Args:
        bins: ``(LSB, count)``.
        outermost: Bins at plus and minus this hold everything beyond.
        width: In pixels.
        height: In pixels; below 40 there are no labels.
    """
    counts = {int(error): int(count) for error, count in bins}
    total = sum(counts.values())
    if not total:
        return Markup()
    labels = height >= 40
    foot, head, side = (18, 4, 12) if labels else (0, 0, 0)
    column = (width - 2 * side) / (2 * outermost + 1)
    highest = math.log10(1 + max(counts.values()))
    room = height - foot - head
    kind = "svg histogram" if labels else "svg spark"
    opening = '<svg class="{}" viewBox="0 0 {} {}" width="{}" height="{}" role="img">'
    parts = [
        Markup(opening).format(kind, width, height, width, height),
        Markup("<title>{}</title>").format(
            "; ".join(f"{_lsb(e, outermost)} LSB: {c}" for e, c in sorted(counts.items()) if c)
        ),
        line("axis", 0, height - foot, width, height - foot),
    ]
    for error in range(-outermost, outermost + 1):
        count = counts.get(error, 0)
        x = side + (error + outermost) * column
        tall = room * math.log10(1 + count) / highest
        if count:
            tip = f"{_lsb(error, outermost)} LSB: {count} values ({100 * count / total:.3g} %)"
            shade = "good" if error == 0 else "fair" if abs(error) == 1 else "poor"
            parts.append(Markup("<g><title>{}</title>").format(tip))
            parts.append(box(shade, x + 0.5, height - foot - tall, max(column - 1, 1), tall))
            parts.append(Markup("</g>"))
        if labels and error % 4 == 0:
            text = _lsb(error, outermost)
            parts.append(caption("tick", x + column / 2, height - 4, text, "middle"))
    return join(parts)


def interval(low: float, value: float, high: float, start: float, end: float, kind: str) -> Markup:
    """A value with its confidence interval on a scale from ``start`` to ``end``."""
    width, height = 180, 18
    span = end - start if end > start else 1.0

    def place(v: float) -> float:
        return 4 + (width - 8) * min(max((v - start) / span, 0.0), 1.0)

    parts = [
        Markup('<svg class="svg interval" viewBox="0 0 {} {}" width="{}" height="{}">').format(
            width, height, width, height
        ),
        line("axis", 4, 9, width - 4, 9),
        box(kind + " soft", place(low), 5, max(place(high) - place(low), 1.0), 8),
        box(kind, place(value) - 1.5, 2, 3, 14),
    ]
    return join(parts)


def _label(text: str, y: float) -> Markup:
    return caption("label", _LABEL - 8, y + 14, shorten(text, _CHARACTERS), "end")


def _lsb(error: int, outermost: int) -> str:
    sign = "−" if error < 0 else "+" if error > 0 else ""
    beyond = "≥" if abs(error) == outermost else ""
    return f"{beyond if error > 0 else '≤' if beyond else ''}{sign}{abs(error)}"
