"""Tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from intaglio.benchmarking import BASELINES
from intaglio.report.formatting import shorten
from intaglio.report.split_points import describe_link
from intaglio.report.tables_cost import tables_section

if TYPE_CHECKING:
    from intaglio.benchmarking import HostBench
    from intaglio.benchmarking_boards import BoardBench
    from intaglio.bundle import Bundle
    from intaglio.inspection import Inspection
    from intaglio.split_points import SplitPoints
    from intaglio.targets.base import TensorSpec
    from intaglio.verification.report import VerifyReport

_WORST_LAYERS = 10

# Longer names of layers lose their middle; ``--json`` has them whole.
_NAME = 60


def model(console: Console, found: Inspection) -> None:
    """Prints what is in a model, node by node."""
    table = _table("layer", "operator", "output", right=("parameters", "bytes", "MACs"))
    for layer in found.layers:
        table.add_row(
            escape(shorten(layer.name, _NAME)),
            layer.operator,
            _shape(layer.output_shape),
            f"{layer.parameters:,}" if layer.parameters else "",
            f"{layer.parameter_bytes:,}" if layer.parameters else "",
            _count(layer.macs) if layer.macs != 0 else "",
        )
    table.add_section()
    table.add_row(
        "total",
        f"{sum(found.operators.values())}",
        "",
        f"{found.parameters:,}",
        f"{found.parameter_bytes:,}",
        _count(found.macs),
    )
    console.print(table)
    for kind, specs in (("input", found.inputs), ("output", found.outputs)):
        for spec in specs:
            console.print(f"{kind}: {_spec(spec)}", highlight=False, markup=False)
    counts = ", ".join(f"{name} {count}" for name, count in found.operators.items())
    console.print(f"operators: {counts}", highlight=False, markup=False)
    if found.table_network is not None:
        _table_network(console, found.table_network)
    if found.quantized:
        console.print("quantized already: its scales are kept, no calibration is needed")


def split_points(console: Console, found: SplitPoints, plot: str | None) -> None:
    """Prints where a model can be cut, and what each cut costs."""
    if not found.points:
        console.print(
            "no tensor, and no two of them, lie on every way from the inputs to the outputs"
        )
    else:
        encoded = ("encoded",) if found.samples else ()
        columns = ("device\nMACs", "server\nMACs", "RAM", "int8", *encoded, "ms", "")
        table = _table("cut", right=columns)
        for point in found.points:
            size = [] if point.encoded_bytes is None else [_rounded(point.encoded_bytes)]
            mark = "best" if point.best else "front" if point.pareto else ""
            table.add_row(
                "\n".join(
                    f"{escape(shorten(name, _NAME))}\n{_shape(shape)}"
                    for name, shape in zip(point.values, point.shapes, strict=True)
                ),
                _rounded(point.device_macs),
                _rounded(point.server_macs),
                _rounded(point.device_peak_bytes),
                _rounded(point.int8_bytes),
                *size,
                f"{1000 * point.seconds:,.4g}",
                mark,
                style="bold green" if point.best else "bold" if point.pareto else None,
            )
        console.print(table)
    sent = "as int8"
    if found.samples:
        sent = f"entropy coded (bytes estimated on {found.samples} samples)"
    lines = [
        "one sample: multiply-accumulates, bytes (RAM: of the device), and ms when sent "
        f"{sent} at {describe_link(found.link)}"
    ]
    if found.best is not None:
        lines += [
            "front: no other cut sends as few bytes after as little work of the device",
            f"without a cut: {1000 * found.device_only_seconds:,.4g} ms on the device alone, "
            f"{1000 * found.server_only_seconds:,.4g} ms on the server alone, its input sent as "
            "bytes",
            f"least time: --split-at '{found.best.name}'",
        ]
    if found.points and not found.samples:
        lines.append("with --calibration DATA the bytes of encoded features are estimated")
    if plot is not None:
        lines.append(f"drawn in {plot}")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def bundle(console: Console, data: Mapping[str, Any]) -> None:
    """Prints what is in a bundle."""
    console.print(
        f"recipe {data['recipe']}, profile {data['profile']}, from {data['source']['path']}",
        highlight=False,
        markup=False,
    )
    _calibration(console, data["calibration"])
    if data["table_network"] is not None:
        _table_network(console, data["table_network"])
    console.print(_artifacts(data["artifacts"]))
    table = _table("artifact", "measured", right=("value",))
    table.add_column("unit")
    table.add_column("how", overflow="fold")
    for row in data["measured"]:
        value = f"{row['value']:,.4g}" if row["unit"] == "ms" else f"{row['value']:,.0f}"
        table.add_row(row["artifact"], row["name"], value, row["unit"], row["how"])
    console.print(table)
    _operators(console, data["reports"])
    _left_to_cpu(console, data["reports"])
    table = _table("step", "for", right=("changes", "skips"))
    for step in data["steps"]:
        table.add_row(step["name"], step["phase"], str(step["changes"]), str(step["skips"]))
    console.print(table)


def conversion(console: Console, made: Bundle) -> None:
    """Prints what a conversion did and wrote."""
    done = made.conversion
    described = made.manifest.get("table_network")
    if described is not None:
        _table_network(console, described)
    elif done is not None:
        table = _table("step", "for", right=("changes", "skips", "seconds"))
        for record in done.records:
            table.add_row(
                record.name,
                record.phase,
                str(len(record.changes)),
                str(len(record.skips)),
                f"{record.seconds:.2f}",
            )
        console.print(table)
        _tables_cost(console, [record.to_dict() for record in done.records])
    _calibration(console, made.manifest["calibration"])
    console.print(_artifacts(made.manifest["artifacts"]))
    if done is not None:
        memory = done.peak_memory_bytes
        spent = f"{done.seconds:.1f} s"
        if memory is not None:
            spent += f", at most {memory / 2**20:.0f} MiB of memory"
        console.print(spent, highlight=False)
    console.print(f"next: intaglio verify {made.folder}", highlight=False, markup=False)


def verification(console: Console, report: VerifyReport) -> None:
    """Prints what ``verify`` found: pairs, worst layers, accuracy, verdict."""
    table = _table(
        "artifact",
        "reference",
        "arithmetic",
        "verdict",
        right=("max error [LSB]", "values that differ", "SQNR [dB]"),
    )
    for pair in report.pairs:
        color = {"exact": "green", "different": "yellow", "failed": "red"}.get(pair.verdict, "")
        verdict = f"[{color}]{pair.verdict}[/{color}]" if color else pair.verdict
        table.add_row(
            escape(pair.artifact),
            escape(pair.reference),
            pair.arithmetic,
            verdict,
            _number(pair.max_error_lsb, "g"),
            _percent(pair.mismatch_fraction),
            _number(pair.sqnr_db, ".1f"),
        )
    if report.pairs:
        console.print(table)
    for inner in report.inner:
        console.print(
            f"{inner.artifact}: {inner.tensors} inner tensors, {inner.values:,} values, "
            f"{inner.different:,} differ from {inner.reference}",
            highlight=False,
            markup=False,
        )
    if report.layers:
        table = _table(
            "worst layers", "operator", "artifact", right=("SQNR [dB]", "loses [dB]", "saturated")
        )
        table.add_column("suggestion")
        for layer in report.layers[:_WORST_LAYERS]:
            table.add_row(
                escape(shorten(layer.node or layer.tensor, _NAME)),
                layer.operator,
                layer.artifact,
                _number(layer.sqnr_db, ".1f"),
                _number(layer.drop_db, ".1f"),
                _percent(layer.saturated_low + layer.saturated_high),
                escape(layer.suggestion),
            )
        console.print(table)
    if report.accuracy:
        names = list(dict.fromkeys(name for found in report.accuracy.values() for name in found))
        table = _table("accuracy", right=tuple(names))
        for artifact, found in report.accuracy.items():
            table.add_row(artifact, *(_number(found.get(name), ".4g") for name in names))
        console.print(table)
    if report.split is not None and report.traffic is not None:
        _split(console, report.split, report.traffic)
    for warning in report.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)
    for failure in report.failures:
        console.print(f"failed: {failure}", style="bold red", markup=False, highlight=False)
    if report.ok and report.pairs:
        console.print("verified", style="bold green")
    elif report.ok:
        console.print("nothing was compared", style="bold yellow")


def _split(console: Console, found: Mapping[str, Any], traffic: Mapping[str, float]) -> None:
    """Prints what device and server exchange, beside other ways to send a sample."""
    rows = found["rows"]
    known = {"top1": "top-1", "psnr_db": "PSNR [dB]", "mse": "MSE", "agreement": "agreement"}
    keys = [key for key in known if any(row["metrics"].get(key) is not None for row in rows)]
    columns = ("bytes a sample", "× less than FP32", "× less than 8 bits")
    table = _table("sent", right=(*columns, *(known[key] for key in keys)))
    table.add_column("note", overflow="fold")
    for row in rows:
        numbers = [_number(row[key], ",.1f") for key in ("bytes", "ratio_fp32", "ratio_u8")]
        metrics = [_number(row["metrics"].get(key), ".4g") for key in keys]
        style = "bold" if row["name"].startswith("split") else None
        table.add_row(escape(row["name"]), *numbers, *metrics, escape(row["note"]), style=style)
    if rows:
        console.print(table)
    coders = " and ".join(found["frames"]["coders"])
    console.print(
        f"cut at {', '.join(found['cut'])}: a message of one sample has {traffic['bytes']:,.1f} "
        f"bytes, {traffic['bits_per_element']:.3f} bits an element; coded by {coders}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def outputs(console: Console, found: Mapping[str, NDArray[Any]], written: str | None) -> None:
    """Prints a summary of output arrays."""
    table = _table("output", "type", "shape", right=("least", "mean", "largest"))
    for name, array in found.items():
        numbers = ["", "", ""]
        if array.size:
            numbers = [f"{v:.6g}" for v in (np.min(array), np.mean(array), np.max(array))]
        table.add_row(escape(name), array.dtype.name, _shape(array.shape), *numbers)
    console.print(table)
    if written is not None:
        console.print(f"written to {written}", highlight=False, markup=False)


def timed(console: Console, found: HostBench) -> None:
    """Prints times of artifacts beside those of other runtimes."""
    table = _table(
        "artifact",
        right=("threads", "median [ms]", "10th percentile [ms]", *(f"× {b}" for b in BASELINES)),
    )
    for entry in found.entries:
        if entry.reason is None:
            table.add_row(
                escape(entry.name),
                str(entry.threads),
                _number(entry.median_ms, ".4g"),
                _number(entry.p10_ms, ".4g"),
                *(_number(entry.times_as_fast.get(base), ".2f") for base in BASELINES),
            )
    if table.row_count:
        console.print(table)
        console.print(
            "× how many times as fast, by 10th percentiles; batch 1, random inputs",
            highlight=False,
        )
    for entry in found.entries:
        if entry.reason is not None:
            line = f"{entry.name} not timed: {entry.reason}"
            console.print(line, style="yellow", markup=False, highlight=False)
    clock = {"processor": "time of the processor", "wall": "time on the wall"}[found.clock]
    threads = "one thread" if found.threads == 1 else f"up to {found.threads} threads"
    console.print(
        f"{clock}, {threads}, on {found.machine} with {found.cores} cores",
        highlight=False,
        markup=False,
    )
    if found.load is not None and found.load > found.cores / 2:
        console.print(
            f"other programs were running too (load {found.load:.1f}): repeat on an idle machine",
            style="yellow",
            highlight=False,
        )


def counted(console: Console, found: Sequence[BoardBench]) -> None:
    """Prints what emitted C takes on emulated boards."""
    table = _table(
        "artifact",
        "board",
        right=("instructions", "M4 cycles (model)", "flash", "code", "constants", "arena", "stack"),
    )
    table.add_column("outputs")
    for each in found:
        run = each.run
        same = f"as {each.compared_with}" if not run.differing else f"{run.differing} values differ"
        table.add_row(
            escape(each.artifact),
            run.board,
            f"{run.mean_instructions:,.0f}",
            _count(run.cycles) if run.cycles is not None else "-",
            f"{run.image.text + run.image.data:,}",
            f"{run.code_bytes:,}",
            f"{run.weight_bytes:,}",
            f"{run.arena_bytes:,}",
            f"{run.stack_bytes:,}",
            "not compared" if each.compared_with is None else same,
        )
    console.print(table)
    for each in found:
        worst = sorted(each.run.layers, key=lambda layer: -layer.instructions)[:_WORST_LAYERS]
        title = f"most in {each.artifact} on {each.run.board}"
        layers = _table(title, right=("instructions", "share"))
        for layer in worst:
            layers.add_row(
                escape(shorten(each.layers[layer.index], _NAME)),
                f"{layer.instructions:,.0f}",
                _percent(layer.instructions / each.run.mean_instructions),
            )
        console.print(layers)
    if found:
        run = found[0].run
        exactly = "exactly" if run.resolution == 1 else f"to {run.resolution:g}"
        console.print(
            f"instructions of one inference, counted {exactly}, on random inputs, mean of "
            f"{len(run.instructions)}; bytes; flash with the frame that runs it; {run.compiler}, "
            f"{run.options.optimization}, {run.emulator}",
            highlight=False,
            markup=False,
        )


def listing(console: Console, what: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints recipes, passes or targets."""
    if what == "recipes":
        table = _table("recipe", "description", "profile", "steps")
        for row in rows:
            steps = [s["pass"] + ("" if s["enabled"] else " (off)") for s in row["steps"]]
            table.add_row(row["name"], row["description"], row["profile"], "\n".join(steps))
            table.add_section()
    elif what == "passes":
        table = _table("pass", "semantics", "data", "what it does, and its options")
        for row in rows:
            options = [f"{name} = {value!r}" for name, value in row["options"].items()]
            table.add_row(
                row["name"],
                row["semantics"],
                "yes" if row["needs_data"] else "",
                escape("\n  ".join([row["description"], *options])),
            )
    else:
        table = _table("target", "takes", "exact", "prepared by", "what it is, and its options")
        for row in rows:
            described = f"{row['description']}\n{len(row['operators'])} operators"
            options = [f"{name} = {value!r}" for name, value in row["options"].items()]
            table.add_row(
                row["name"],
                row["form"],
                "yes" if row["exact"] else "no",
                ", ".join(row["prepare"]),
                escape("\n  ".join([described, *options])),
            )
    console.print(table)


def _table(*left: str, right: Sequence[str] = ()) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name in left:
        table.add_column(escape(name), overflow="fold")
    for name in right:
        table.add_column(escape(name), justify="right")
    return table


def _operators(console: Console, reports: Mapping[str, Any]) -> None:
    """Operators of the files whose report counts them by name."""
    table = _table("artifact", "operators", "looked up in a table")
    for path, report in reports.items():
        counts = report.get("operators")
        if isinstance(counts, Mapping):
            named = ", ".join(f"{name} {count}" for name, count in counts.items())
            table.add_row(path, named, escape(", ".join(report.get("looked_up", []))))
    if table.row_count:
        console.print(table)


def _left_to_cpu(console: Console, reports: Mapping[str, Any]) -> None:
    """Operators that an NPU does not take, and why."""
    table = _table("not on the NPU", "operator", "tensor", "reason")
    for path, report in reports.items():
        rows = report.get("operators", [])
        for row in [] if isinstance(rows, Mapping) else rows:
            if row["on"] == "CPU":
                table.add_row(path, row["operator"], escape(row["tensor"]), escape(row["reason"]))
    if table.row_count:
        console.print(table)


def _table_network(console: Console, found: Mapping[str, Any]) -> None:
    """What a table network is, in one line."""
    cell = "a pixel" if found["cell"] == 1 else f"a cell of {found['cell']}×{found['cell']} pixels"
    task = f" ({found['task']})" if found["task"] else ""
    console.print(
        f"table network{task}: {found['layers']} layers of {found['channels']} channels, "
        f"{found['table_bytes']:,} bytes of tables and weights; {found['lookups']:,} look-ups and "
        f"{found['multiplications']:,} multiplications for {cell}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _artifacts(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("artifact", "role", "arithmetic", right=("bytes",))
    table.add_column("inputs and outputs")
    for row in rows:
        inputs = ", ".join(_border(spec) for spec in row["inputs"])
        results = ", ".join(_border(spec) for spec in row["outputs"])
        table.add_row(
            row["path"],
            row["role"],
            row["arithmetic"],
            f"{row['bytes']:,}",
            escape(f"{inputs} -> {results}"),
        )
    return table


def _tables_cost(console: Console, steps: Sequence[Mapping[str, Any]]) -> None:
    """Prints what each layer costs as tables, where a recipe weighed that."""
    found = tables_section(steps)
    if found is None:
        return
    columns = ("products", "bytes", "time", "look-ups", "table bytes", "time as tables")
    table = _table("layer", "kept as", right=columns)
    for row in found["rows"]:
        table.add_row(
            escape(row["layer"]),
            row["verdict"],
            _count(row["products"]),
            _count(row["weight_bytes"]),
            row["time"],
            _count(row["lookups"]),
            _count(row["table_bytes"]),
            row["table_time"],
        )
    console.print(table)
    kind = "with" if found["multiplier"] else "without"
    console.print(f"times are predicted for a processor {kind} a multiplier", highlight=False)


def _calibration(console: Console, origin: Mapping[str, Any]) -> None:
    if origin["kind"] == "random":
        console.print("calibrated on random numbers", style="bold red")
    elif origin["kind"] == "data":
        name = f" of {origin['path']}" if origin["path"] else ""
        console.print(
            f"calibrated on {origin['samples']} samples{name}", highlight=False, markup=False
        )


def _border(spec: Mapping[str, Any]) -> str:
    return f"{spec['name']} {spec['dtype']} {_shape(spec['shape'])}"


def _spec(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype} {_shape(spec.shape)}"


def _shape(shape: Sequence[int | str]) -> str:
    return "×".join(str(d) for d in shape)


def _count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _rounded(value: float) -> str:
    """A count in three digits: exact ones are in the JSON."""
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= 0.9995 * unit:
            return f"{value / unit:#.3g}".rstrip(".") + name
    return f"{value:.0f}"


def _number(value: float | None, form: str) -> str:
    if value is None or np.isnan(value):
        return "-"
    return "∞" if np.isinf(value) else format(value, form)


def _percent(fraction: float) -> str:
    return "-" if np.isnan(fraction) else f"{100 * fraction:.3g} %"
