"""A curve over the steps of a training run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup

from intaglio.report.svg import WIDTH, begin, caption, join, line, number

_HEIGHT = 240
_LEFT = 84
_FOOT = 24
_TOP = 12
_LINES = 4


def curve_chart(
    title: str,
    points: Sequence[tuple[float, float]],
    write: Callable[[float], str],
    marks: Sequence[tuple[float, str]] = (),
) -> Markup:
    """Values over steps.

    Args:
        title: What the curve shows.
        points: Step and value, steps ascending.
        write: Text of a value.
        marks: Steps to mark with a line, each with a tip.
    """
    if len(points) < 2:
        return Markup()
    first, last = points[0][0], points[-1][0]
    low, high = min(p[1] for p in points), max(p[1] for p in points)
    high = high if high > low else low + 1.0

    def place(step: float, value: float) -> tuple[float, float]:
        x = _LEFT + (step - first) / max(last - first, 1e-9) * (WIDTH - _LEFT - 12)
        y = _HEIGHT - _FOOT - (value - low) / (high - low) * (_HEIGHT - _FOOT - _TOP)
        return x, y

    parts = [begin(title, _HEIGHT)]
    for index in range(_LINES + 1):
        value = low + (high - low) * index / _LINES
        _, y = place(first, value)
        parts.append(line("axis", _LEFT, y, WIDTH - 12, y))
        parts.append(caption("tick", _LEFT - 6, y + 4, write(value), "end"))
    for step, tip in marks:
        x, _ = place(step, low)
        parts.append(Markup("<g><title>{}</title>").format(tip))
        parts.append(line("mark", x, _TOP, x, _HEIGHT - _FOOT))
        parts.append(Markup("</g>"))
    path = " ".join(",".join(map(number, place(step, value))) for step, value in points)
    parts.append(Markup('<polyline class="curve" points="{}"/>').format(path))
    parts.append(caption("tick", _LEFT, _HEIGHT - 6, f"step {first:,.0f}"))
    parts.append(caption("tick", WIDTH - 12, _HEIGHT - 6, f"step {last:,.0f}", "end"))
    return join(parts)
