"""The report's section on a model that is cut in two: the cut, bytes, accuracy, and the codec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from intaglio.bundle_files import read_json
from intaglio.report.charts import Bar, bar_chart
from intaglio.report.cut_chart import cut_chart
from intaglio.report.formatting import NOTHING, format_bytes, format_count, format_score

Json = Mapping[str, Any]

#: Entry of the manifest, and the file of the codec's specification.
SPLIT = "split"
_FILE = "split.json"
_CHOOSE = "calibrate.choose_cut"

#: Bars of at most so many times the largest message are drawn; floats would hide the others.
_DRAWN = 4.0


def split_cards(manifest: Json, verify: Json | None) -> list[dict[str, str]]:
    """The figure at the top; nothing for a whole model."""
    if SPLIT not in manifest:
        return []
    traffic = (verify or {}).get("traffic")
    if traffic:
        value, how = format_bytes(traffic["bytes"]), "whole message"
        ratios = traffic["ratio_fp32"], traffic["ratio_u8"]
    elif "bits_per_element" in manifest[SPLIT]:
        found = manifest[SPLIT]
        value = format_bytes(found["elements"] * found["bits_per_element"] / 8)
        how, ratios = "estimate, without headers", (found["ratio_fp32"], found["ratio_u8"])
    else:
        return []
    note = f"a sample, {how}: {ratios[0]:.1f} × less than floats, {ratios[1]:.1f} × than bytes"
    return [{"title": "Traffic", "value": value, "note": note}]


def split_section(
    folder: Path, manifest: Json, steps: Sequence[Json], verify: Json | None
) -> dict[str, Any] | None:
    """What the template ``split.html.j2`` shows, None for a whole model.

    Args:
        folder: The bundle's folder; its codec is read.
        manifest: ``manifest.json``.
        steps: Steps of ``report.json``.
        verify: ``verify.json``, or None.
    """
    if SPLIT not in manifest:
        return None
    codec = read_json(folder / _FILE)
    found = (verify or {}).get(SPLIT) or {}
    rows = [_row(row) for row in found.get("rows", ())]
    choice = next((step["facts"] for step in steps if step["name"] == _CHOOSE), None) or {}
    return {
        "facts": _facts(manifest[SPLIT], codec, (verify or {}).get("traffic"), found),
        "rows": rows,
        "columns": [key for key in ("Top-1", "PSNR", "MSE", "Agreement") if _any(rows, key)],
        "chart": _bytes_chart(found.get("rows", ())),
        "stripes": _stripes(codec, found.get("stripes", ())),
        "cuts": cut_chart(choice.get("candidates", ())),
    }


def _facts(entry: Json, codec: Json, traffic: Json | None, found: Json) -> list[tuple[str, str]]:
    shapes = [" × ".join(map(str, feature["shape"])) for feature in codec["features"]]
    cut = [
        f"{name} ({source}), {shape}" if name != source else f"{name}, {shape}"
        for name, source, shape in zip(entry["cut"], entry["sources"], shapes, strict=True)
    ]
    rows = [
        ("Cut at", "; ".join(cut)),
        ("Elements of a sample", format_count(entry["elements"])),
        ("Codes of a sample", format_count(entry["codes"])),
        ("Coding", entry["coding"]),
        ("Filter on the server", "; ".join(map(_filter, codec["features"]))),
        ("Session", entry["session"]),
    ]
    if entry["side_bytes"]:
        rows.append(("Ranges of a sample", format_bytes(entry["side_bytes"])))
    if traffic:
        text = f"{traffic['bytes']:,.1f} bytes, at most {traffic['largest_bytes']:,.0f}"
        rows.append(("Message of one sample", text))
        if "bytes_batched" in traffic:
            text = f"{traffic['bytes_batched']:,.1f} bytes a sample"
            rows.append((f"Message of {traffic['batch']:.0f} samples", text))
        rows.append(("Bits an element, headers included", f"{traffic['bits_per_element']:.3f}"))
    agreement = (found.get("agreement_with_unsplit") or {}).get("agreement")
    if agreement is not None:
        text = f"in {format_score(agreement)} of the samples"
        rows.append(("Same decisions as the unsplit quantized model", text))
    for name, counted in (found.get("frames") or {}).get("coders", {}).items():
        text = f"{counted['frames']:,} frames of {counted['samples']:,} samples, read back"
        rows.append((f"Coder {name}", text))
    return rows


def _filter(feature: Json) -> str:
    """The filter behind a feature's decoder, in words."""
    found = feature["restoration"]
    if found is None:
        return "none"
    rows, columns = found["kernel"]
    every = len(found["weights"][0]) > rows * columns
    return f"{rows} × {columns}, {'all channels' if every else 'each channel alone'}"


def _row(row: Json) -> dict[str, Any]:
    metrics = row["metrics"]
    cells = {}
    if metrics.get("top1") is not None:
        cells["Top-1"] = format_score(metrics["top1"])
    if metrics.get("psnr_db") is not None:
        cells["PSNR"] = f"{metrics['psnr_db']:.2f} dB"
    if metrics.get("mse") is not None:
        cells["MSE"] = f"{metrics['mse']:.4g}"
    if metrics.get("agreement") is not None:
        cells["Agreement"] = format_score(metrics["agreement"])
    return {
        "name": row["name"],
        "bytes": f"{row['bytes']:,.1f}",
        "ratio_fp32": f"{row['ratio_fp32']:.2f}",
        "ratio_u8": f"{row['ratio_u8']:.2f}",
        "cells": cells,
        "note": row["note"],
    }


def _any(rows: Sequence[Json], key: str) -> bool:
    return any(key in row["cells"] for row in rows)


def _bytes_chart(rows: Sequence[Json]) -> Markup:
    """Bytes of each way; floats are left out where they would hide all else."""
    if not rows:
        return Markup()
    # The second row is the features as bytes, or the first where there is no float model.
    limit = _DRAWN * min(row["bytes"] * row["ratio_u8"] for row in rows)
    return bar_chart(
        "Bytes of a sample",
        [
            Bar(
                row["name"],
                row["note"] or row["name"],
                (row["bytes"],),
                f"{row['bytes']:,.0f}",
                ("good" if row["name"].startswith(SPLIT) else "quiet",),
            )
            for row in rows
            if row["bytes"] < limit
        ],
    )


def _stripes(codec: Json, measured: Sequence[Json]) -> list[dict[str, Any]]:
    """A row for each stripe of each feature."""
    bits = {(row["feature"], row["stripe"]): row for row in measured}
    rows = []
    for feature in codec["features"]:
        start = 0
        for index, stripe in enumerate(feature["stripes"]):
            wire = range(start, start + stripe["channels"] * feature["share_channels"])
            channels = [feature["order"][place] for place in wire]
            start = wire.stop
            found = bits.get((feature["name"], index), {})
            levels = stripe["levels"]
            rows.append(
                {
                    "feature": feature["source"],
                    "stripe": index,
                    "channels": _channels(channels),
                    "levels": levels,
                    "packed": max(1, (levels - 1).bit_length()) if levels > 1 else 0,
                    "entropy": _bits(found.get("entropy")),
                    "coded": _bits(found.get("coded")),
                }
            )
    return rows


def _channels(channels: Sequence[int]) -> str:
    shown = ", ".join(map(str, channels[:8]))
    return shown if len(channels) <= 8 else f"{shown}, … ({len(channels)})"


def _bits(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"
