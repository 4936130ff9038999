"""The few shapes that plots are made of, as SVG with every text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

#: Width of a plot in SVG units; the page scales it.
WIDTH = 1040


def begin(title: str, height: float) -> Markup:
    """The opening of a plot."""
    opening = '<svg class="svg" viewBox="0 0 {} {}" role="img" aria-label="{}">'
    return Markup(opening).format(WIDTH, number(height), title)


def join(parts: Sequence[Markup]) -> Markup:
    """The parts of a plot, closed."""
    return Markup("").join([*parts, Markup("</svg>")])


def box(kind: str, x: float, y: float, width: float, height: float) -> Markup:
    """A rectangle."""
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}" rx="1.5"/>').format(
        kind, *map(number, (x, y, width, height))
    )


def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    """A line."""
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
        kind, *map(number, (x1, y1, x2, y2))
    )


def caption(kind: str, x: float, y: float, text: str, anchor: str = "start") -> Markup:
    """A text that begins, ends or is centered at ``x``."""
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        kind, number(x), number(y), anchor, text
    )


def number(value: Any) -> str:
    """A coordinate with two decimals at most."""
    return str(escape(f"{float(value):.2f}".rstrip("0").rstrip(".")))
