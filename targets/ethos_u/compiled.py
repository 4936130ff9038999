"""What became of a model's operators: on the NPU or on the CPU, at what cost, and why.

The compiled file itself says what is left to the CPU: whatever is not the custom operator
``ethos-u``. Tensors keep their names, and those are the names of the source model, so that every
line of the report speaks about something that the user knows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from intaglio.targets.base import Measurement
from intaglio.targets.ethos_u.files import CONSTANTS, FileOperator
from intaglio.targets.ethos_u.layers import layers_of
from intaglio.targets.ethos_u.reports import Cost, Summary

#: Schema of the report file.
SCHEMA = 1

NPU, CPU = "NPU", "CPU"

_CUSTOM = "ethos-u"
_UNSAID = "Vela gives no reason"


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where an operator of the model ended up.

    Attributes:
        index: Position in the model.
        operator: Its type, such as ``CONV_2D``.
        tensor: Name of the tensor that it makes.
        on: ``NPU`` or ``CPU``.
        cycles: Vela's estimate; 0 where it is merged into another, None on the CPU.
        macs: Multiply-accumulates; None likewise.
        reason: Why it runs on the CPU; empty on the NPU.
        node: Name of the source node that it belongs to; empty where none is known.
    """

    index: int
    operator: str
    tensor: str
    on: str
    cycles: int | None
    macs: int | None
    reason: str = ""
    node: str = ""


@dataclasses.dataclass(frozen=True)
class CompileReport:
    """The evidence of one compilation.

    Attributes:
        vela: Version of Vela.
        options: The target's options.
        summary: Vela's summary.
        operators: Every operator of the model, in order.
        via: Format of the file that Vela was given: ``tflite`` or ``tosa``.
        compared: Figures of the other path, as :func:`figures` gives them with its ``via``; or the
            reason (``refused``) why there are none. None where it was not asked for.
        host: Outputs whose Softmax is left to the host, each with its logits.
    """

    vela: str
    options: Mapping[str, Any]
    summary: Summary
    operators: tuple[Placement, ...]
    via: str = "tflite"
    compared: Mapping[str, Any] | None = None
    host: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as JSON-friendly data."""
        return {
            "schema": SCHEMA,
            "vela": self.vela,
            "options": dict(self.options),
            **self.figures(),
            "operators": [dataclasses.asdict(each) for each in self.operators],
            "host": dict(self.host),
            "compared": None if self.compared is None else dict(self.compared),
        }

    def figures(self) -> dict[str, Any]:
        """The figures of the whole network, and the format of the file they are of."""
        return {
            "via": self.via,
            **dataclasses.asdict(self.summary),
            "npu_operators": sum(each.on == NPU for each in self.operators),
            "cpu_operators": sum(each.on == CPU for each in self.operators),
        }


def place(
    before: Sequence[FileOperator],
    after: Sequence[FileOperator],
    costs: Mapping[int, Cost],
    reasons: Mapping[str, Sequence[str]],
    nodes: Mapping[str, str] | None = None,
) -> tuple[Placement, ...]:
    """Compares a file with what Vela made of it.

    Args:
        before: Operators of the file. Those that hold constants are left out of the answer.
        after: Operators of the compiled file.
        costs: Cycles and multiply-accumulates by position in ``before``.
        reasons: Why operators are left to the CPU, by tensor.
        nodes: Source nodes, as :func:`.layers.source_nodes` gives them.

    Returns:
        Where each operator ended up, and after them those that Vela added for the CPU.
    """
    left = [op for op in after if not (op.custom and op.name == _CUSTOM)]
    on_cpu = {name for op in left for name in op.outputs}
    known = {name for op in before for name in op.outputs}
    layers = layers_of(before, nodes or {})
    found: list[Placement] = []
    for i, op in enumerate(before):
        if op.name in CONSTANTS:
            continue
        if on_cpu.isdisjoint(op.outputs):
            cost = costs.get(i, Cost())
            placed = Placement(i, op.name, _first(op), NPU, cost.cycles, cost.macs)
        else:
            placed = _left_to_cpu(i, op, reasons)
        found.append(dataclasses.replace(placed, index=len(found), node=layers[i]))
    added = [op for op in left if known.isdisjoint(op.outputs)]
    found += [_left_to_cpu(len(found) + i, op, reasons) for i, op in enumerate(added)]
    return tuple(found)


def measurements(report: Mapping[str, Any]) -> list[Measurement]:
    """The figures of a report file.

    Args:
        report: What :meth:`CompileReport.to_dict` gave.

    Raises:
        KeyError: It is not such a report.
    """
    how = (
        f"estimate of Vela {report['vela']} for {report['accelerator']}, "
        f"{report['system_config']}, {report['memory_mode']}, {report['clock_hz'] / 1e6:g} MHz"
    )
    counted = "counted in the compiled file"
    found = [
        Measurement("cycles", float(report["cycles"]["total"]), "cycles", how),
        Measurement("npu_operators", float(report["npu_operators"]), "operators", counted),
        Measurement("cpu_operators", float(report["cpu_operators"]), "operators", counted),
    ]
    rate = report["inferences_per_second"]
    if rate is not None:
        found.insert(1, Measurement("inferences_per_second", float(rate), "1/s", how))
    allocated = f"allocated by Vela {report['vela']}, {report['memory_mode']}"
    for memory, used in sorted(report["memory_bytes"].items()):
        if used or memory == "sram":
            found.append(Measurement(f"{memory}_bytes", float(used), "bytes", allocated))
    return found


def _first(operator: FileOperator) -> str:
    return operator.outputs[0] if operator.outputs else ""


def _left_to_cpu(
    index: int, operator: FileOperator, reasons: Mapping[str, Sequence[str]]
) -> Placement:
    said = [reason for name in operator.outputs for reason in reasons.get(name, ())]
    text = "; ".join(dict.fromkeys(said)) or _UNSAID
    return Placement(index, operator.name, _first(operator), CPU, None, None, text)
