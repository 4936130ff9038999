"""What ``inspect --split-points`` shows: the link in words, and a plot of the cuts."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from intaglio.bundle_files import cannot_write
from intaglio.errors import RecipeError
from intaglio.report.formatting import shorten
from intaglio.transforms.split.links import Link, describe_bandwidth

if TYPE_CHECKING:
    from intaglio.split_points import SplitPoint, SplitPoints

#: Kinds of file, by suffix.
KINDS = (".svg", ".png")

_NAME = 32
_GREY, _BLUE, _RED = "#8a8f98", "#2563c9", "#c62f2f"


def check_plot_path(path: str | Path) -> Path:
    """The path of a plot, before there is anything to draw.

    Raises:
        RecipeError: It is neither SVG nor PNG, or matplotlib is not installed.
    """
    found = Path(path)
    if found.suffix.lower() not in KINDS:
        raise RecipeError(
            f"--plot {found} is neither an .svg nor a .png file", remedy="give one of the two"
        )
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise RecipeError(
            "--plot needs matplotlib, which is not installed",
            remedy="install it with `pip install 'intaglio[plot]'`, or leave --plot out",
        ) from error
    return found


def plot_split_points(found: SplitPoints, path: str | Path) -> None:
    """Draws the cuts: bytes of a sample, on a logarithmic axis, against MACs of the device.

    The same cuts give the same file.

    Args:
        found: The cuts.
        path: The file to write, ``.svg`` or ``.png``.

    Raises:
        RecipeError: It is neither, or matplotlib is not installed.
        OutputError: It cannot be written.
    """
    target = check_plot_path(path)
    drawn = draw(found, target.suffix.lower()[1:])
    try:
        target.write_bytes(drawn)
    except OSError as error:
        raise cannot_write(target, error) from error


def describe_link(link: Link) -> str:
    """Bandwidth and speeds in words."""
    return (
        f"{describe_bandwidth(link.bandwidth)}, device {link.device_gops:g} and server "
        f"{link.server_gops:g} Gop/s (two operations to a multiply-accumulate)"
    )


def draw(found: SplitPoints, kind: str) -> bytes:
    """The plot as the bytes of a file of ``kind``: ``svg`` or ``png``."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Ids in the file come from the salt and not from the clock.
    with mpl.rc_context({"svg.hashsalt": "intaglio", "svg.fonttype": "none"}):
        figure = Figure(figsize=(9, 5.5), layout="constrained")
        axes = figure.add_subplot()
        front = [point for point in found.points if point.pareto]
        others = [point for point in found.points if not point.pareto]
        axes.scatter(*_places(others), s=18, color=_GREY, label="other cuts")
        axes.step(
            *_places(front), "o-", where="post", color=_BLUE, markersize=5, label="Pareto front"
        )
        if found.best is not None:
            axes.scatter(
                *_places([found.best]), s=110, marker="o", facecolors="none", edgecolors=_RED,
                linewidths=1.8, zorder=3, label=f"least time: {found.best.seconds:.3g} s a sample",
            )  # fmt: skip
        named: dict[tuple[float, float], list[str]] = {}
        for point in front:
            named.setdefault(_place(point), []).append(shorten(" + ".join(point.values), _NAME))
        for place, names in named.items():
            axes.annotate(
                "\n".join(names),
                place,
                xytext=(5, 5),
                textcoords="offset points",
                fontsize=7,
                parse_math=False,
            )
        axes.set_yscale("log")
        how = f"estimated on {found.samples} samples" if found.samples else "as int8"
        axes.set_ylabel(f"bytes of a sample's feature ({how})")
        axes.set_xlabel("million multiply-accumulates on the device")
        axes.set_title(
            f"{Path(found.path).name}: where to cut at {describe_bandwidth(found.link.bandwidth)}",
            fontsize=10,
            parse_math=False,
        )
        axes.grid(True, which="major", linewidth=0.4, alpha=0.6)
        axes.margins(x=0.12, y=0.12)
        axes.legend(fontsize=8)
        written = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(written, format=kind, dpi=130, metadata=metadata)
    return written.getvalue()


def _place(point: SplitPoint) -> tuple[float, float]:
    # A constant feature is estimated at no bits; a logarithmic axis has no zero.
    return point.device_macs / 1e6, max(point.sent_bytes, 0.1)


def _places(points: list[SplitPoint]) -> tuple[list[float], list[float]]:
    places = [_place(point) for point in points]
    return [x for x, _ in places], [y for _, y in places]
