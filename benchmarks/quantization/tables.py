"""Tables in Markdown from the result files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.common import markdown_table

OURS = ("onnx-qdq", "onnx-integer")

# On sets of this many samples we may not lose so much more than the best peer. A peer that scores
# above the float model does not count as better than it: a quantizer is to keep what the model
# does, and such a gain is an accident of the test set (its agreement with float is no better).
LARGE_SET = 10_000
ALLOWED_BEHIND = 0.1

_PEER_TITLES = {
    "ort-minmax": "onnxruntime, min-max",
    "ort-percentile": "onnxruntime, percentile",
    "ort-entropy": "onnxruntime, entropy",
    "ort-minmax-u8": "onnxruntime, min-max, uint8 activations",
    "aeq-default": "AI Edge Quantizer, default calibration",
    "aeq-minmax": "AI Edge Quantizer, min-max",
}


def read_results(folder: Path) -> list[dict[str, Any]]:
    """All result files of a folder, in the order of their names."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def write(folder: Path, out: Path) -> str:
    """Writes the tables of all results of a folder.

    Args:
        folder: Where the result files are.
        out: The Markdown file.

    Returns:
        The text.
    """
    parts = [_case(data) for data in read_results(folder)]
    text = "# Post-training quantization: results\n\n" + "\n".join(parts)
    out.write_text(text, encoding="utf-8")
    return text


def title_of(method: str) -> str:
    """What the tables call a method."""
    if method in _PEER_TITLES:
        return _PEER_TITLES[method]
    target, _, variant = method.partition(" ")
    return f"**intaglio {target}**" + ("" if variant == "default" else f", {variant}")


def is_ours(method: str) -> bool:
    """Whether a method of the results is intaglio."""
    return method.split(" ")[0] in OURS


def verdicts(data: dict[str, Any], test: str, method: str) -> list[tuple[bool, str]]:
    """What is asked of a method of ours on a test set, and whether it holds.

    Args:
        data: Results of a case.
        test: Name of the test set.
        method: Name of the method.

    Returns:
        Pairs of "holds" and the finding in words; empty where nothing is asked.
    """
    described = data["sets"][test]
    found = data["methods"][method].get("sets", {}).get(test, {})
    if "loss" not in found:
        return []
    loss = found["loss"]["mean"]
    unit = "dB" if described["metric"] == "psnr" else "points"
    out = []
    if described["limit"] is not None:
        limit = described["limit"]
        out.append((loss <= limit, f"loss {loss:.2f} of {limit:g} {unit} allowed"))
    peers = [
        values["sets"][test]["loss"]["mean"]
        for name, values in data["methods"].items()
        if not is_ours(name) and "sets" in values
    ]
    if peers and described["samples"] >= LARGE_SET:
        best = min(peers)
        behind = loss - max(best, 0.0)
        words = f"{behind:+.2f} against the best peer"
        if best < 0.0:
            words += f", taken as float ({-best:.2f} above it)"
        out.append((behind <= ALLOWED_BEHIND, words))
    return out


def _case(data: dict[str, Any]) -> str:
    lines = [f"## {data['title']}", ""]
    lines.append(
        f"`{data['model']}`, {data['bytes']:,} bytes. Calibration: {data['calibration']}; "
        f"{data['draws']} draws."
    )
    for test, described in data["sets"].items():
        lines += ["", f"**{test}**, {described['samples']:,} samples" + _float(described), ""]
        lines.append(_table(data, test))
    env = data["environment"]
    lines += [
        "",
        f"{env['date']}, {env['processor']}, {_versions(env)}.",
    ]
    return "\n".join(lines) + "\n"


def _versions(env: dict[str, Any]) -> str:
    names = {
        "ai-edge-quantizer": "AI Edge Quantizer",
        "ai-edge-litert": "LiteRT",
        "onnxruntime": "onnxruntime",
        "intaglio": "intaglio",
    }
    return ", ".join(f"{title} {env[key]}" for key, title in names.items() if key in env)


def _float(described: dict[str, Any]) -> str:
    if "float" not in described:
        return "."
    unit = _unit(described)
    text = f"; float {described['float']:.2f}{unit}"
    if "float_interval" in described:
        low, high = described["float_interval"]
        text += f" (95 %: {low:.2f} to {high:.2f})"
    return text + "."


def _unit(described: dict[str, Any]) -> str:
    return " %" if described["metric"] == "top1" else " dB"


def _table(data: dict[str, Any], test: str) -> str:
    described = data["sets"][test]
    columns = [values.get("sets", {}).get(test, {}) for values in data["methods"].values()]
    keys = [k for k in ("value", "loss", "agreement", "sqnr_db") if any(k in c for c in columns)]
    unit = _unit(described)
    heads = {
        "value": "PSNR" if described["metric"] == "psnr" else "top-1",
        "loss": "lost (95 %)",
        "agreement": "agrees with float (95 %)",
        "sqnr_db": "SQNR of logits" if data["sets"][test]["metric"] == "top1" else "SQNR",
    }
    rows = []
    for method, values in data["methods"].items():
        row = [title_of(method)]
        if "error" in values:
            rows.append(
                [*row, "–", "fails: " + values["error"], *[""] * len(keys)][: len(keys) + 3]
            )
            continue
        found = values["sets"][test]
        row.append(f"{values['bytes'] / 1000:,.1f}")
        for key in keys:
            row.append(_cell(found, key, unit))
        holds = verdicts(data, test, method) if is_ours(method) else []
        row.append("; ".join(("✓ " if ok else "✗ ") + words for ok, words in holds))
        rows.append(row)
    return markdown_table(["method", "KB", *[heads[key] for key in keys], "verdict"], rows)


def _cell(found: dict[str, Any], key: str, unit: str) -> str:
    if key not in found:
        return ""
    mean, sd = found[key]["mean"], found[key]["sd"]
    if key == "value":
        return f"{mean:.2f}" + ("" if sd is None else f" ± {sd:.2f}") + unit
    if key == "sqnr_db":
        return f"{mean:.1f}" + ("" if sd is None else f" ± {sd:.1f}") + " dB"
    interval = found.get(f"{key}_interval")
    text = f"{mean:.2f}" + (" %" if key == "agreement" else "")
    if interval:
        text += f" ({interval[0]:.2f} to {interval[1]:.2f})"
    return text
