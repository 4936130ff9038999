"""Numbers and shapes as the report writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

NOTHING = "–"


def format_bytes(count: float) -> str:
    """``1536`` as ``1.5 KiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def format_db(value: float | None) -> str:
    """Decibels with one decimal."""
    return NOTHING if value is None else f"{value:.1f} dB"


def format_percent(fraction: float | None, digits: int = 3) -> str:
    """A fraction in percent, ``digits`` significant; a small one is not shown as zero."""
    if fraction is None:
        return NOTHING
    percent = 100 * fraction
    if percent in (0.0, 100.0):
        return f"{percent:.0f} %"
    if percent > 99:  # What is missing counts: 99.97, not 100.
        return f"{percent:.2f} %"
    return f"{percent:.{digits}g} %" if percent >= 0.001 else "< 0.001 %"


def format_score(fraction: float | None) -> str:
    """A fraction of right answers in percent with two decimals."""
    return NOTHING if fraction is None else f"{100 * fraction:.2f} %"


def format_number(value: float | None) -> str:
    """Four significant digits."""
    return NOTHING if value is None else f"{value:.4g}"


def format_lsb(value: float | None) -> str:
    """A difference in LSB."""
    return NOTHING if value is None else f"{value:g}"


def format_count(value: int) -> str:
    """An integer with thin spaces between thousands."""
    return f"{value:,}".replace(",", "\u202f")


def format_shape(shape: Sequence[Any]) -> str:
    """Dimensions joined by ×."""
    return " × ".join(str(d) for d in shape) or "scalar"


def format_border(spec: Mapping[str, Any]) -> str:
    """An input or output in one line."""
    text = f"{spec['dtype']} {format_shape(spec['shape'])}"
    if spec.get("scale") is not None:
        text += f", scale {spec['scale']:.6g}, zero point {spec['zero_point']}"
    return text


def shorten(text: str, limit: int = 30) -> str:
    """A long name with its middle left out."""
    if len(text) <= limit:
        return text
    keep = limit - 1
    return f"{text[: keep // 3]}…{text[-(keep - keep // 3) :]}"


FILTERS: dict[str, Callable[..., str]] = {
    "bytes": format_bytes,
    "db": format_db,
    "percent": format_percent,
    "number": format_number,
    "lsb": format_lsb,
    "count": format_count,
    "shape": format_shape,
    "border": format_border,
    "shorten": shorten,
}
