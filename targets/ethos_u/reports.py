"""What Vela writes about a compiled file: its summary, its cycles by operator, its warnings.

Read from Vela 4.2 to 5.2, both compilation cores. Of the core in C++ (all of 5.x, and Ethos-U85 in
4.x) the debug database names the operator of the file behind every step; of the core in Python
(Ethos-U55 and U65 in 4.x) the table by layer does, by the name of the tensor it makes.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from intaglio.errors import ToolError

#: What helps where a report is not as known.
OTHER_VERSION = "install a version of Vela that is known to work, 5.2"

_MEMORIES = ("sram", "dram", "on_chip_flash", "off_chip_flash")

# "Warning (supported operators) operator: CONV_2D, ofm: 'name'" (5.2; without quotes before that).
_WARNING = re.compile(r"^Warning \([^)]*\) operator: ?(\w+),? ofm: ?(.+)$")
# The core in Python: "Warning: ... for CONV_2D 'name'. Placing on CPU instead", "Warning: CONV_2D
# 'name' is not supported on the NPU. Placing on CPU instead", "Info: ADD 'name' is a CPU only op".
_OLD_WARNING = re.compile(r"^(?:Warning|Info): .*?'(.*)'.*(Placing on CPU instead|a CPU only op)")


@dataclasses.dataclass(frozen=True)
class Summary:
    """Vela's estimate for the whole network.

    Attributes:
        accelerator: As Vela calls it, such as ``Ethos_U55_128``.
        system_config: System configuration.
        memory_mode: Memory mode.
        clock_hz: Clock of the NPU.
        inferences_per_second: At that clock, batch 1; None where nothing runs on the NPU.
        macs: Multiply-accumulates of one inference.
        weight_bytes: Weights as in the file.
        encoded_weight_bytes: Weights as Vela compresses them.
        memory_bytes: Bytes used, by memory: ``sram``, ``dram``, ``on_chip_flash``,
            ``off_chip_flash``.
        cycles: Cycles of one inference: ``total``, ``npu`` and those each memory is busy.
    """

    accelerator: str
    system_config: str
    memory_mode: str
    clock_hz: float
    inferences_per_second: float | None
    macs: int
    weight_bytes: int
    encoded_weight_bytes: int
    memory_bytes: Mapping[str, int]
    cycles: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one operator of the file costs on the NPU."""

    cycles: int = 0
    macs: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.cycles + other.cycles, self.macs + other.macs)


def read_summary(folder: Path, stem: str) -> Summary:
    """Reads ``<stem>_summary_<system configuration>.csv``.

    Raises:
        ToolError: It is missing, or not as known.
    """
    files = sorted(folder.glob(f"{_glob_safe(stem)}_summary_*.csv"))
    try:
        with files[0].open(encoding="utf-8", newline="") as stream:
            row = next(csv.DictReader(stream))
        rate = float(row["inferences_per_second"])
        return Summary(
            accelerator=row["accelerator_configuration"],
            system_config=row["system_config"],
            memory_mode=row["memory_mode"],
            clock_hz=float(row["core_clock"]),
            inferences_per_second=rate if math.isfinite(rate) else None,
            macs=_whole(row["nn_macs"]),
            weight_bytes=_whole(row["total_original_weights"]),
            encoded_weight_bytes=_whole(row["total_npu_encoded_weights"]),
            memory_bytes={
                m: _whole(1024 * float(row[f"{m}_memory_used"]))
                for m in _MEMORIES
                if f"{m}_memory_used" in row
            },
            cycles={
                "total": _whole(row["cycles_total"]),
                "npu": _whole(row["cycles_npu"]),
                **{
                    m: _whole(row[f"cycles_{m}_access"])
                    for m in _MEMORIES
                    if f"cycles_{m}_access" in row
                },
            },
        )
    except (IndexError, StopIteration, KeyError, ValueError, TypeError, OSError) as error:
        raise _unreadable("summary", error) from error


def read_costs(folder: Path, stem: str, outputs: Sequence[Sequence[str]]) -> dict[int, Cost]:
    """Cycles and multiply-accumulates of the operators of the compiled file.

    Args:
        folder: Vela's output folder.
        stem: Name of the file that was compiled, without its suffix.
        outputs: Names of the output tensors of each of its operators, in order.

    Returns:
        By position of the operator. Operators that cost nothing of their own may be missing.

    Raises:
        ToolError: A report is not as known.
    """
    tables = _debug_tables(folder / f"{stem}_debug.xml")
    layers = folder / f"{stem}_per-layer.csv"
    try:
        if "perf" in tables and "source" in tables:
            return _costs_by_source(tables["perf"], tables["source"])
        if layers.is_file():
            text = layers.read_text(encoding="utf-8", errors="replace")
            return _costs_by_name(_table(text.splitlines(), "Name"), outputs)
    except (KeyError, ValueError, OSError) as error:
        raise _unreadable("costs by layer", error) from error
    return {}


def read_reasons(log: str) -> dict[str, list[str]]:
    """Why operators run on the CPU, by the name of the tensor they make.

    Args:
        log: What Vela printed.

    Returns:
        For each tensor the distinct reasons, each in one line.
    """
    found: dict[str, list[str]] = {}
    lines = log.splitlines()
    for i, line in enumerate(lines):
        new, old = _WARNING.match(line), _OLD_WARNING.match(line)
        if new is not None:
            operator, tensor = new[1], new[2].strip()
            if tensor.startswith("'") and tensor.endswith("'"):
                tensor = tensor[1:-1]
            if operator == "Passthrough":
                continue  # What was given to the CPU already; the reason was said before.
            reason = _joined(_until_blank(lines[i + 1 :])).removeprefix("Reason: ")
        elif old is not None:
            tensor = old[1]
            reason = _joined(_indented(lines[i + 1 :])).removeprefix("- ") or old[2]
        else:
            continue
        reasons = found.setdefault(tensor, [])
        if reason and reason not in reasons:
            reasons.append(reason)
    return found


def _until_blank(lines: Iterable[str]) -> list[str]:
    found = []
    for line in lines:
        if not line.strip():
            break
        found.append(line.strip())
    return found


def _indented(lines: Iterable[str]) -> list[str]:
    found = []
    for line in lines:
        if not line.startswith(" ") or not line.strip():
            break
        found.append(line.strip())
    return found


def _joined(lines: Sequence[str]) -> str:
    return ": ".join(line.rstrip(".") for line in lines)


def _debug_tables(path: Path) -> dict[str, list[dict[str, str]]]:
    """The tables of a debug database by name; empty where there is none that can be read."""
    if not path.is_file():
        return {}
    try:
        # A tensor may be called "]]>": then there is the table by layer.
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError:
        return {}
    wanted = {t.get("name"): t.text or "" for t in root.iter("table")}
    return {
        name: _table([line for line in wanted[name].splitlines() if line.strip()], "name")
        for name in ("perf", "source")
        if name in wanted
    }


def _table(lines: Sequence[str], free: str) -> list[dict[str, str]]:
    """Rows of a table whose column ``free`` holds names, in which commas are not escaped."""
    if not lines:
        return []
    header = [cell.strip('"') for cell in lines[0].split(",")]
    left = header.index(free) if free in header else len(header) - 1
    right = len(header) - left - 1
    rows = []
    for line in lines[1:]:
        cells = line.split(",", left)
        if len(cells) == left + 1 and right:
            cells[-1:] = cells[-1].rsplit(",", right)
        if len(cells) != len(header):
            raise ValueError(f"a row with {len(cells)} cells instead of {len(header)}")
        rows.append({key: _unquoted(cell) for key, cell in zip(header, cells, strict=True)})
    return rows


def _unquoted(cell: str) -> str:
    quoted = len(cell) >= 2 and cell[0] == cell[-1] == '"'
    return cell[1:-1].replace('""', '"') if quoted else cell


def _costs_by_source(
    steps: Sequence[Mapping[str, str]], sources: Sequence[Mapping[str, str]]
) -> dict[int, Cost]:
    positions = {row["id"]: int(row["ext_key"]) for row in sources}
    found: dict[int, Cost] = {}
    for row in steps:
        position = positions.get(row["source_id"], -1)
        if position >= 0:
            cost = Cost(_whole(row["op_cycles"]), _whole(row["mac_count"]))
            found[position] = found.get(position, Cost()) + cost
    return found


def _costs_by_name(
    steps: Sequence[Mapping[str, str]], outputs: Sequence[Sequence[str]]
) -> dict[int, Cost]:
    """Costs where only names tell: what an operator is split into is called after its output."""
    owners = {name: i for i, names in enumerate(outputs) for name in names}
    longest_first = sorted(owners, key=len, reverse=True)
    found: dict[int, Cost] = {}
    for row in steps:
        name = row["Name"]
        owner = owners.get(name)
        if owner is None:
            owner = next((owners[n] for n in longest_first if name.startswith(n)), None)
        if owner is not None:
            cost = Cost(_whole(row["Op Cycles"]), _whole(row["MAC Count"]))
            found[owner] = found.get(owner, Cost()) + cost
    return found


def _whole(number: str | float) -> int:
    return round(float(number))


def _glob_safe(stem: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", stem)


def _unreadable(what: str, error: Exception) -> ToolError:
    return ToolError(
        f"Vela's {what} cannot be read: {type(error).__name__}: {error}",
        command=("vela",),
        returncode=0,
        remedy=OTHER_VERSION,
    )
