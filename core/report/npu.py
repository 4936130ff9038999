"""The report's section on an NPU: what runs on it, what does not and why, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from intaglio.bundle_files import read_json
from intaglio.report.charts import Bar, bar_chart
from intaglio.report.formatting import NOTHING, format_bytes, format_count, format_percent

Json = Mapping[str, Any]

#: The target whose artifacts have such a report, and the end of the report's name.
TARGET = "ethos-u"
SUFFIX = "_report.json"

_NAMES = {"tflite": "TFLite", "tosa": "TOSA"}

_MEMORIES = {
    "sram": "SRAM",
    "dram": "DRAM",
    "on_chip_flash": "On-chip flash",
    "off_chip_flash": "Flash",
}


def npu_sections(folder: Path, artifacts: Sequence[Json]) -> list[dict[str, Any]]:
    """What the template ``npu.html.j2`` shows, one entry an artifact.

    Args:
        folder: The bundle's folder.
        artifacts: The artifacts of the manifest.

    Raises:
        InputError: A report is missing or damaged.
    """
    return [
        _section(a, read_json(folder / _report_of(str(a["path"]))))
        for a in artifacts
        if a["target"] == TARGET
    ]


def _report_of(path: str) -> str:
    return path.removesuffix("_vela.tflite") + SUFFIX


def _section(artifact: Json, report: Json) -> dict[str, Any]:
    operators = list(report["operators"])
    total = report["cycles"]["total"]
    on_cpu = [each for each in operators if each["on"] != "NPU"]
    return {
        "path": artifact["path"],
        "for": f"{report['accelerator']}, {report['system_config']}, {report['memory_mode']}",
        "vela": report["vela"],
        "via": _NAMES[report.get("via", "tflite")],
        "figures": _figures(report),
        "on_cpu": on_cpu,
        "operators": [_row(each, total) for each in operators],
        "chart": _chart(operators, total),
        "compared": _compared(artifact, report),
    }


def _figures(report: Json) -> list[tuple[str, str, str]]:
    """Title, value and note of each figure, in the order of interest."""
    count = len(report["operators"])
    of_npu = " of the NPU; what the CPU takes is not known" if report["cpu_operators"] else ""
    found = [
        ("On the NPU", f"{report['npu_operators']} of {count}", "operators of the model"),
        ("Cycles", format_count(report["cycles"]["total"]), f"an inference{of_npu}"),
    ]
    rate = report["inferences_per_second"]
    if rate is not None:
        note = f"at {report['clock_hz'] / 1e6:g} MHz{of_npu}"
        found.append(("Inferences a second", format_count(round(rate)), note))
    for memory, title in _MEMORIES.items():
        used = report["memory_bytes"].get(memory, 0)
        if used:
            found.append((title, format_bytes(used), "as allocated by Vela"))
    return found


def _row(operator: Json, total: int) -> dict[str, Any]:
    cycles = operator["cycles"]
    share = cycles / total if cycles is not None and total else None
    return {
        **operator,
        "node": operator.get("node", ""),
        "kind": "good" if operator["on"] == "NPU" else "poor",
        "share": format_percent(share) if share is not None else NOTHING,
        "order": -1 if cycles is None else cycles,
        "cycles_text": NOTHING if cycles is None else format_count(cycles),
        "macs_text": NOTHING if operator["macs"] is None else format_count(operator["macs"]),
    }


def _chart(operators: Sequence[Json], total: int) -> Any:
    """A bar for each layer in the order of the model; what is merged into others has none."""
    layers: dict[str, list[Json]] = {}
    for each in operators:
        layers.setdefault(_layer(each), []).append(each)
    bars = []
    for name, parts in layers.items():
        cycles = sum(each["cycles"] or 0 for each in parts)
        macs = sum(each["macs"] or 0 for each in parts)
        said = [each for each in parts if each["cycles"] is None]
        kinds = ", ".join(each["operator"] for each in parts)
        share = format_percent(cycles / total) if total else NOTHING
        text = f"{format_count(cycles)} ({share})"
        if said:
            reasons = "; ".join(f"{each['operator']}: {each['reason']}" for each in said)
            tip = f"{name} ({kinds}) runs on the CPU: {reasons}"
            text = f"{text}, CPU" if cycles else "CPU"
        elif cycles:
            tip = f"{name} ({kinds}): {cycles} cycles, {macs} MACs"
        else:
            continue
        bars.append(Bar(name, tip, [float(cycles)], text, ["poor" if said else "good"]))
    return bar_chart("Cycles by layer", bars)


def _layer(operator: Json) -> str:
    """The source node that an operator belongs to; its tensor where that is not known."""
    return str(operator.get("node") or operator["tensor"] or operator["operator"])


def _compared(artifact: Json, report: Json) -> dict[str, Any] | None:
    """The figures of both ways of compiling beside each other; None where one only was gone."""
    other = report.get("compared")
    if other is None:
        return None
    names = [_NAMES[report.get("via", "tflite")], _NAMES[other["via"]]]
    if "refused" in other:
        return {"names": names, "refused": other["refused"], "rows": []}
    both = (report, other)
    rows = [_difference("Cycles an inference", [each["cycles"]["total"] for each in both])]
    rates = [each["inferences_per_second"] for each in both]
    if None not in rates:
        rows.append(_difference("Inferences a second", [round(rate) for rate in rates]))
    for memory, title in _MEMORIES.items():
        used = [each["memory_bytes"].get(memory, 0) for each in both]
        if any(used):
            rows.append(_difference(title, used, format_bytes))
    sizes = [artifact["bytes"], other["file_bytes"]]
    rows.append(_difference("Compiled file", sizes, format_bytes))
    for title, key in (
        ("Operators on the NPU", "npu_operators"),
        ("Operators on the CPU", "cpu_operators"),
    ):
        # Operators of two formats: more or fewer of them says nothing.
        counts = [format_count(each[key]) for each in both]
        rows.append({"title": title, "values": counts, "change": NOTHING})
    return {"names": names, "refused": [], "rows": rows}


def _difference(
    title: str, values: Sequence[int], form: Callable[[int], str] = format_count
) -> dict[str, Any]:
    """A row: both figures, and by how much the first is above the second."""
    mine, other = values
    if mine == other:
        change = "same"
    elif other:
        change = f"{100 * (mine / other - 1):+.1f} %".replace("-", "\u2212")
    else:
        change = NOTHING
    return {"title": title, "values": [form(value) for value in values], "change": change}
