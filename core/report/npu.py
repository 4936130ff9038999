"""The report's section on an NPU: what runs on it, what does not and why, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from intaglio.bundle_files import read_json
from intaglio.report.charts import Bar, bar_chart
from intaglio.report.formatting import NOTHING, format_bytes, format_count, format_percent

Json = Mapping[str, Any]

#: The target whose artifacts have such a report, and the end of the report's name.
TARGET = "ethos-u"
SUFFIX = "_report.json"

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
        _section(str(a["path"]), read_json(folder / _report_of(str(a["path"]))))
        for a in artifacts
        if a["target"] == TARGET
    ]


def _report_of(path: str) -> str:
    return path.removesuffix("_vela.tflite") + SUFFIX


def _section(path: str, report: Json) -> dict[str, Any]:
    operators = list(report["operators"])
    total = report["cycles"]["total"]
    on_cpu = [each for each in operators if each["on"] != "NPU"]
    return {
        "path": path,
        "for": f"{report['accelerator']}, {report['system_config']}, {report['memory_mode']}",
        "vela": report["vela"],
        "figures": _figures(report),
        "on_cpu": on_cpu,
        "operators": [_row(each, total) for each in operators],
        "chart": _chart(operators, total),
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
        "kind": "good" if operator["on"] == "NPU" else "poor",
        "share": format_percent(share) if share is not None else NOTHING,
        "order": -1 if cycles is None else cycles,
        "cycles_text": NOTHING if cycles is None else format_count(cycles),
        "macs_text": NOTHING if operator["macs"] is None else format_count(operator["macs"]),
    }


def _chart(operators: Sequence[Json], total: int) -> Any:
    """Bars of cycles in the order of the model; what is merged into others has none."""
    bars = []
    for each in operators:
        name = each["tensor"] or each["operator"]
        if each["cycles"] is None:
            text, tip = "CPU", f"{name} ({each['operator']}) runs on the CPU: {each['reason']}"
        elif each["cycles"]:
            share = format_percent(each["cycles"] / total) if total else NOTHING
            text = f"{format_count(each['cycles'])} ({share})"
            tip = f"{name} ({each['operator']}): {each['cycles']} cycles, {each['macs']} MACs"
        else:
            continue
        kind = "poor" if each["cycles"] is None else "good"
        bars.append(Bar(name, tip, [float(each["cycles"] or 0)], text, [kind]))
    return bar_chart("Cycles by operator", bars)
