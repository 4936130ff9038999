"""What the report's template shows, gathered from the JSON files of a bundle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from intaglio.report.c_code import c_sections
from intaglio.report.charts import Bar, Span, bar_chart, histogram, interval, span_chart
from intaglio.report.formatting import (
    NOTHING,
    format_bytes,
    format_db,
    format_number,
    format_percent,
    format_score,
)
from intaglio.report.npu import npu_sections
from intaglio.report.sizes import layer_sizes
from intaglio.report.split import split_cards, split_section
from intaglio.report.table_network import (
    ARITHMETIC,
    TABLE_NETWORK,
    table_network_cards,
    table_network_code,
)
from intaglio.report.tables_cost import tables_section
from intaglio.report.training import training_section
from intaglio.verification.comparison import OUTERMOST_LSB
from intaglio.verification.layers import LOW_SQNR_DB, SATURATED_FRACTION
from intaglio.verification.report import SOURCE, UNSPLIT

Json = Mapping[str, Any]

#: Changes and skips of a step that are shown; report.json has all of them.
SHOWN = 200

#: Layers below this are colored as fair, below the low limit as poor.
FAIR_SQNR_DB = 30.0

_GOLDEN = "onnx-integer"


def build_context(
    folder: Path, manifest: Json, evidence: Json, plan: Json | None, verify: Json | None
) -> dict[str, Any]:
    """Gathers what the template shows.

    Args:
        folder: The bundle's folder; only its models are read.
        manifest: ``manifest.json``.
        evidence: ``report.json``.
        plan: ``plan.json``, or None.
        verify: ``verify.json``, or None before the first verification.

    Returns:
        The template's variables.
    """
    artifacts = [a for a in manifest["artifacts"] if a["target"] != SOURCE]
    source = next((a for a in manifest["artifacts"] if a["target"] == SOURCE), None)
    own = TABLE_NETWORK in manifest
    left_alone = own and not any(step["changes"] for step in evidence["steps"])
    layers = list(verify["layers"]) if verify else []
    main, others = _split_layers(layers)
    # Nothing of a table network was float before.
    sizes = [] if own else _sizes(folder, artifacts, source)
    return {
        "title": manifest["source"]["path"],
        "manifest": manifest,
        "artifacts": artifacts,
        "source": source,
        "all_artifacts": _named_arithmetic(manifest["artifacts"], own),
        "profile": ARITHMETIC if own else manifest["profile"],
        "steps": [] if left_alone else [_step(step) for step in evidence["steps"]],
        "steps_left_alone": len(evidence["steps"]) if left_alone else 0,
        "plan": _plan_rows(plan),
        "verify": verify,
        "cards": _cards(manifest, artifacts, source, verify, main),
        "warnings": _warnings(manifest, evidence, verify, main),
        "pairs": _named_arithmetic(_pairs(verify), own),
        "accuracy": _accuracy(verify, artifacts),
        "scale_note": _scale_note(verify),
        "layers": [_layer(layer) for layer in main],
        "other_layers": {
            name: [_layer(layer) for layer in found] for name, found in others.items()
        },
        "layers_of": main[0]["artifact"] if main else "",
        "sqnr_chart": _sqnr_chart(main),
        "range_chart": _range_chart(main),
        "npu": npu_sections(folder, artifacts),
        "c_code": c_sections(folder, artifacts),
        "network_code": table_network_code(folder, artifacts),
        "training": training_section(manifest.get("adapted")),
        "split": split_section(folder, manifest, evidence["steps"], verify),
        "tables_cost": tables_section(evidence["steps"]),
        "sizes": sizes,
        "size_chart": _size_chart(sizes),
        "size_total": (sum(s.source_bytes for s in sizes), sum(s.artifact_bytes for s in sizes)),
        "outermost": OUTERMOST_LSB,
        "low_sqnr_db": LOW_SQNR_DB,
    }


def _named_arithmetic(rows: Sequence[Json], own: bool) -> list[dict[str, Any]]:
    """Artifacts or pairs; of a table network no profile is told, since none counts."""
    return [{**row, "arithmetic": ARITHMETIC} if own else dict(row) for row in rows]


def _split_layers(layers: Sequence[Json]) -> tuple[list[Json], dict[str, list[Json]]]:
    """The layers of the main artifact, and those of the others by name."""
    grouped: dict[str, list[Json]] = {}
    for layer in layers:
        grouped.setdefault(layer["artifact"], []).append(layer)
    if not grouped:
        return [], {}
    main = _GOLDEN if _GOLDEN in grouped else next(iter(grouped))
    return grouped.pop(main), grouped


def _cards(
    manifest: Json,
    artifacts: Sequence[Json],
    source: Json | None,
    verify: Json | None,
    layers: Sequence[Json],
) -> list[dict[str, str]]:
    """The four or five figures at the top."""
    cards = []
    before = source["bytes"] if source else manifest["source"]["bytes"]
    golden = _golden(artifacts)
    if golden:
        cards.append(
            {
                "title": "Size",
                "value": format_bytes(golden["bytes"]),
                "note": f"{_named(golden)}, from {format_bytes(before)} in float",
            }
        )
    if TABLE_NETWORK in manifest:
        cards = table_network_cards(manifest[TABLE_NETWORK])
    cards += split_cards(manifest, verify)
    if verify is None:
        return cards
    exact = [pair for pair in verify["pairs"] if pair["reference"] not in (SOURCE, UNSPLIT)]
    if exact:
        worst = max(exact, key=_badness)
        cards.append(
            {
                "title": "Between artifacts",
                "value": _largest(worst),
                "note": f"{worst['artifact']} against {worst['reference']}",
            }
        )
    cards += _accuracy_cards(verify)
    if layers:
        worst_layer = layers[0]
        cards.append(
            {
                "title": "Worst layer",
                "value": format_db(worst_layer["sqnr_db"]),
                "note": worst_layer["node"] or worst_layer["tensor"],
            }
        )
    return cards


def _accuracy_cards(verify: Json) -> list[dict[str, str]]:
    accuracy = verify["accuracy"]
    name = (
        _GOLDEN if _GOLDEN in accuracy else next((n for n in sorted(accuracy) if n != SOURCE), None)
    )
    if name is None:
        return []
    found, before = accuracy[name], accuracy.get(SOURCE, {})
    if "top1" in found:
        note = "top-1"
        if "top1" in before:
            note += f", float has {format_score(before['top1'])}"
        return [{"title": "Accuracy", "value": format_score(found["top1"]), "note": note}]
    if found.get("psnr_db") is not None:
        note = "PSNR"
        if before.get("psnr_db") is not None:
            note += f", float has {before['psnr_db']:.2f} dB"
        return [{"title": "Accuracy", "value": f"{found['psnr_db']:.2f} dB", "note": note}]
    if "agreement" in found:
        return [
            {
                "title": "Agreement",
                "value": format_score(found["agreement"]),
                "note": f"top-1 equals the float model's, {found['samples']} samples",
            }
        ]
    return []


def _named(artifact: Json) -> str:
    """The target, and the part where an artifact is not the whole model."""
    role = artifact["role"]
    return f"{artifact['target']} {role}" if role in ("device", "server") else artifact["target"]


def _golden(artifacts: Sequence[Json]) -> Json | None:
    found = [a for a in artifacts if a["target"] == _GOLDEN] or list(artifacts)
    return found[0] if found else None


def _largest(pair: Json) -> str:
    """The largest difference of a pair in few words."""
    if pair["error"] is not None or pair["max_error_lsb"] is None:
        return str(pair["verdict"])
    return "exact" if pair["verdict"] == "exact" else f"≤ {pair['max_error_lsb']:g} LSB"


def _badness(pair: Json) -> float:
    if pair["error"] is not None:
        return float("inf")
    return pair["max_error_lsb"] or 0.0


def _warnings(
    manifest: Json, evidence: Json, verify: Json | None, layers: Sequence[Json]
) -> list[str]:
    """What the reader must not miss."""
    found = [*manifest.get("warnings", []), *manifest.get("adapted", {}).get("warnings", [])]
    if (manifest.get("calibration") or {}).get("kind") == "random":
        found.append(
            "Calibrated on random numbers: the ranges say nothing about real inputs. Convert with "
            "--calibration before using this."
        )
    for step in evidence["steps"]:
        repaired = [c for c in step["changes"] if c["kind"] == "bias-fit"]
        for change in repaired[:10]:
            found.append(
                f"Bias repaired at '{change['node']}': {change['before']} → {change['after']}"
                + (f" ({change['why']})" if change["why"] else "")
            )
        if len(repaired) > 10:
            found.append(f"… and {len(repaired) - 10} more biases repaired.")
    saturated = [
        layer
        for layer in layers
        if layer["saturated_low"] + layer["saturated_high"] > SATURATED_FRACTION
    ]
    for layer in saturated[:5]:
        share = layer["saturated_low"] + layer["saturated_high"]
        found.append(
            f"{format_percent(share)} of the values of '{layer['tensor']}' lie outside its range."
        )
    if len(saturated) > 5:
        found.append(f"… and {len(saturated) - 5} more tensors saturate.")
    if verify is not None:
        found += verify["warnings"]
    return found


def _pairs(verify: Json | None) -> list[dict[str, Any]]:
    if verify is None:
        return []
    return [
        {
            **pair,
            "kind": _pair_kind(pair),
            "verdict_note": _verdict_note(pair),
            "plot": histogram(pair["histogram"], OUTERMOST_LSB),
        }
        for pair in verify["pairs"]
    ]


def _pair_kind(pair: Json) -> str:
    """CSS class of the verdict."""
    if pair["error"] is not None or (pair["must_be_exact"] and pair["verdict"] != "exact"):
        return "poor"
    if pair["verdict"] == "exact":
        return "good"
    return "quiet" if pair["reference"] in (SOURCE, UNSPLIT) else "fair"


def _verdict_note(pair: Json) -> str:
    if pair["reference"] == UNSPLIT:
        return "against the unsplit quantized model: what the codec costs"
    if pair["reference"] == SOURCE:
        return "against the float model: a measure of quantization, not of correctness"
    if pair["must_be_exact"] and pair["reference"] == "numpy":
        return "the definition in numpy: every bit must agree"
    if pair["must_be_exact"]:
        return f"both compute '{pair['arithmetic']}': every bit must agree"
    return "another arithmetic: differences are counted"


def _accuracy(verify: Json | None, artifacts: Sequence[Json]) -> list[dict[str, Any]]:
    """Rows of the accuracy table: the float model, then the order of the manifest."""
    if verify is None:
        return []
    accuracy = verify["accuracy"]
    known = [SOURCE, *(artifact["target"] for artifact in artifacts)]
    order = sorted(accuracy, key=lambda name: (known.index(name) if name in known else 99, name))
    before = accuracy.get(SOURCE, {})
    scale = _interval_scale(accuracy)
    rows = []
    for name in order:
        found = accuracy[name]
        row: dict[str, Any] = {"name": name, "samples": found["samples"], "cells": []}
        for key, label in (("top1", "Top-1"), ("agreement", "Agreement with float")):
            if key in found:
                low, high = found[f"{key}_low"], found[f"{key}_high"]
                kind = "quiet" if name == SOURCE else "good"
                row["cells"].append(
                    {
                        "label": label,
                        "text": format_score(found[key]),
                        "note": f"{100 * low:.1f} to {100 * high:.1f} %",
                        "plot": interval(low, found[key], high, *scale, kind),
                        "delta": _points(found, before, key) if name != SOURCE else "",
                    }
                )
        for key, label, digits in (("psnr_db", "PSNR", 2), ("mse", "MSE", 6)):
            if found.get(key) is not None:
                text = f"{found[key]:.{digits}f} dB" if key == "psnr_db" else f"{found[key]:.4g}"
                delta = ""
                if name != SOURCE and before.get(key) is not None and key == "psnr_db":
                    delta = f"{found[key] - before[key]:+.2f} dB".replace("-", "−")
                row["cells"].append(
                    {"label": label, "text": text, "note": "", "plot": "", "delta": delta}
                )
        if row["cells"]:
            rows.append(row)
    return rows


def _interval_scale(accuracy: Json) -> tuple[float, float]:
    """A common scale for all intervals, in steps of five percent."""
    lows = [v for f in accuracy.values() for k, v in f.items() if k.endswith("_low")]
    lowest = min(lows, default=0.0)
    return max(0.0, math.floor(lowest * 20) / 20), 1.0


def _scale_note(verify: Json | None) -> str:
    """What the plots of intervals span; empty where there are none."""
    if verify is None or not any("_low" in k for f in verify["accuracy"].values() for k in f):
        return ""
    start, end = _interval_scale(verify["accuracy"])
    return f"{100 * start:.0f} to {100 * end:.0f} %"


def _points(found: Json, before: Json, key: str) -> str:
    if key not in before:
        return ""
    return f"{100 * (found[key] - before[key]):+.2f} points".replace("-", "−")


def _layer(layer: Json) -> dict[str, Any]:
    plot = histogram(layer["histogram"], OUTERMOST_LSB, width=68, height=18)
    return {**layer, "kind": _sqnr_kind(layer["sqnr_db"]), "plot": plot}


def _sqnr_kind(sqnr: float | None) -> str:
    if sqnr is None or sqnr >= FAIR_SQNR_DB:
        return "good"
    return "fair" if sqnr >= LOW_SQNR_DB else "poor"


def _name(layer: Json) -> str:
    return str(layer["node"] or layer["tensor"])


def _sqnr_chart(layers: Sequence[Json]) -> Any:
    # A tensor without any error gets the longest bar.
    highest = max([layer["sqnr_db"] or 0.0 for layer in layers], default=0.0)
    bars = [
        Bar(
            label=_name(layer),
            tip=f"{_name(layer)} ({layer['operator']}), tensor {layer['tensor']}",
            values=[max(layer["sqnr_db"] if layer["sqnr_db"] is not None else highest, 0.0)],
            text=format_db(layer["sqnr_db"]) if layer["sqnr_db"] is not None else "no error",
            kinds=[_sqnr_kind(layer["sqnr_db"])],
        )
        for layer in sorted(layers, key=lambda layer: layer["order"])
    ]
    marks = [(LOW_SQNR_DB, f"{LOW_SQNR_DB:.0f} dB"), (40.0, "40 dB")] if bars else []
    return bar_chart("Signal-to-noise ratio by layer", bars, marks)


def _range_chart(layers: Sequence[Json]) -> Any:
    spans = []
    for layer in sorted(layers, key=lambda layer: layer["order"]):
        low, high = _representable(layer)
        saturated = layer["saturated_low"] + layer["saturated_high"]
        text = f"{100 * layer['range_used']:.0f} % used"
        if saturated:
            text = f"{format_percent(saturated, 2)} out"
        spans.append(
            Span(
                label=layer["tensor"],
                tip=(
                    f"{layer['tensor']}: values {format_number(layer['low'])} to "
                    f"{format_number(layer['high'])}; {layer['dtype']} holds "
                    f"{format_number(low)} to {format_number(high)}"
                ),
                representable=(low, high),
                seen=(layer["low"], layer["high"]),
                text=text,
                kind="fair" if saturated > SATURATED_FRACTION else "good",
            )
        )
    return span_chart("Range of values by tensor", spans)


def _representable(layer: Json) -> tuple[float, float]:
    bits = 16 if layer["dtype"].endswith("16") else 8
    lowest = 0 if layer["dtype"].startswith("u") else -(1 << (bits - 1))
    scale, zero = layer["scale"], layer["zero_point"]
    return scale * (lowest - zero), scale * (lowest + (1 << bits) - 1 - zero)


def _sizes(folder: Path, artifacts: Sequence[Json], source: Json | None) -> list[Any]:
    golden = _golden([a for a in artifacts if str(a["path"]).endswith(".onnx")])
    if golden is None or source is None:
        return []
    return list(layer_sizes(folder / source["path"], folder / golden["path"]))


def _size_chart(sizes: Sequence[Any]) -> Any:
    bars = [
        Bar(
            label=size.node,
            tip=(
                f"{size.node} ({size.operator}): {size.source_bytes} bytes in float, "
                f"{size.artifact_bytes} in integers"
            ),
            values=[size.source_bytes, size.artifact_bytes],
            text=f"{format_bytes(size.source_bytes)} → {format_bytes(size.artifact_bytes)}",
            kinds=["quiet", "good"],
        )
        for size in sizes
    ]
    return bar_chart("Bytes of constants by layer", bars)


def _plan_rows(plan: Json | None) -> list[dict[str, Any]]:
    if plan is None:
        return []
    rows = []
    for name, note in plan["tensors"].items():
        quantization, limits = note.get("quantization"), note.get("range")
        if quantization is None:
            continue
        scales, points = quantization["scale"], quantization["zero_point"]
        single = len(scales) == 1
        rows.append(
            {
                "name": name,
                "dtype": quantization["dtype"],
                "scheme": (
                    "per tensor"
                    if quantization.get("axis") is None
                    else f"{len(scales)} channels, axis {quantization['axis']}"
                ),
                "scale": (
                    f"{scales[0]:.6g}" if single else f"{min(scales):.4g} … {max(scales):.4g}"
                ),
                "zero_point": (
                    str(points[0])
                    if min(points) == max(points)
                    else f"{min(points)} … {max(points)}"
                ),
                "range": f"{limits[0]:.4g} … {limits[1]:.4g}" if limits else NOTHING,
            }
        )
    return rows


def _step(step: Json) -> dict[str, Any]:
    return {
        **step,
        "shown_changes": step["changes"][:SHOWN],
        "more_changes": max(len(step["changes"]) - SHOWN, 0),
        "shown_skips": step["skips"][:SHOWN],
        "more_skips": max(len(step["skips"]) - SHOWN, 0),
    }
