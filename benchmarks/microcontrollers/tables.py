"""The results in Markdown: beside TFLite Micro, beside real boards, and layer by layer."""

from __future__ import annotations

from typing import Any

from benchmarks.common import markdown_table
from benchmarks.microcontrollers.peers import (
    MICRO,
    MICRO_CONDITIONS,
    NETWORKS,
    PUBLISHED,
    PUBLISHED_CONDITIONS,
    Micro,
)

_M4 = "cortex-m4"


def table(data: dict[str, Any]) -> str:
    """What the emitted C takes, beside what others take."""
    parts = [_instructions(data["rows"]), _memory(data["rows"]), _cycles(data["rows"])]
    parts.append(_conditions(data))
    parts += [f"Left out: {name}: {reason}" for name, reason in data["left_out"].items()]
    return "\n\n".join(parts) + "\n"


def _instructions(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        peer = MICRO[row["board"]][row["network"]]
        lines.append(
            [
                f"{row['network']}, {row['board']}",
                f"**{row['instructions']:,.0f}**",
                _peer_instructions(peer),
                f"{row['instructions'] / peer.best:.2f}",
                _millions(row["cycles"] and row["cycles"] / 1e6),
                _millions(peer.cycles),
                f"{row['differing']} of {row['values']}",
            ]
        )
    head = ["network, board", "instructions", "TFLM + CMSIS-NN", "ratio to its best"]
    head += ["modelled M4 cycles", "TFLM + CMSIS-NN", "outputs that differ"]
    return markdown_table(head, lines)


def _peer_instructions(peer: Micro) -> str:
    best = f" ({peer.best:,})" if peer.best != peer.instructions else ""
    return f"{peer.instructions:,}{best}"


def _memory(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        peer = MICRO[row["board"]][row["network"]]
        flash = None if peer.code_bytes is None else peer.code_bytes + peer.model_bytes
        lines.append(
            [
                f"{row['network']}, {row['board']}",
                f"{row['code_bytes']:,}",
                f"{row['weight_bytes']:,}",
                f"{row['flash_bytes']:,}",
                _count(flash),
                f"{row['arena_bytes']:,}",
                _count(peer.arena_bytes),
                f"{row['stack_bytes']:,}",
                _count(peer.stack_bytes),
            ]
        )
    head = ["bytes", "code", "constants", "flash of the image", "TFLM + CMSIS-NN", "arena"]
    return markdown_table([*head, "TFLM + CMSIS-NN", "stack", "TFLM + CMSIS-NN"], lines)


def _cycles(rows: list[dict[str, Any]]) -> str:
    """Modelled cycles of ours and of TFLite Micro between measured ones of others."""
    ours = {row["network"]: row["cycles"] for row in rows if row["board"] == _M4}
    lines = [[f"{each.engine}, {each.board}", *map(_millions, each.cycles)] for each in PUBLISHED]
    lines.append(
        ["*TFLM + CMSIS-NN, modelled*", *(_millions(MICRO[_M4][n].cycles) for n in NETWORKS)]
    )
    mine = [_millions(ours[n] / 1e6 if ours.get(n) else None) for n in NETWORKS]
    lines.append(["**emitted C, modelled**", *mine])
    return markdown_table(["cycles on a Cortex-M4, millions", *NETWORKS], lines)


def _conditions(data: dict[str, Any]) -> str:
    return (
        f"Ours: {data.get('compiler', '')}, {data['optimization']}, newlib-nano, "
        f"{data.get('emulator', '')}; instructions of one inference, counted exactly, mean of "
        f"{data['samples']} random inputs, each compared bit by bit with onnx-integer. Modelled "
        "cycles: the timing table of the Cortex-M4 with memory that answers at once; a real board "
        f"adds wait states. Flash of the image includes what runs it.\n\n{MICRO_CONDITIONS}\n\n"
        f"{PUBLISHED_CONDITIONS}\n\n{data['environment']['date']}."
    )


def layers(data: dict[str, Any]) -> str:
    """Instructions of every layer."""
    parts = []
    for row in data["rows"]:
        whole = row["instructions"]
        lines = [
            [
                f"{layer['name']} ({layer['kind']})",
                f"{layer['macs']:,}" if layer["macs"] else "",
                f"{layer['instructions']:,.0f}",
                f"{layer['instructions'] / layer['macs']:.2f}" if layer["macs"] else "",
                f"{100 * layer['instructions'] / whole:.1f} %",
            ]
            for layer in row["layers"]
        ]
        head = [f"{row['network']}, {row['board']}", "MAC", "instructions", "per MAC", "share"]
        parts.append(markdown_table(head, lines))
    return "\n\n".join(parts) + "\n"


def _millions(value: float | None) -> str:
    return "" if not value else f"{value:,.2f}"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
