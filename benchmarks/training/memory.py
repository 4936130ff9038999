"""How much memory does a step take, beside an inference and beside backpropagation?

    python -m benchmarks.training.memory

Ours: the arena of the emitted C, for one inference and for one step, whatever the batch. Against
it: the float training graph that the pass ``train.differentiate`` makes of the same model, batch 1
(each further sample of a batch adds as much again), its tensors placed by the same memory planner.
Parameters count on neither side, nor does an optimizer's state.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from intaglio.passes.differentiate.build_training_graph import build_training_graph
from intaglio.passes.differentiate.config import TrainingOptions
from intaglio.passes.differentiate.interface import initial_state
from intaglio.passes.differentiate.stored import stored_activations
from intaglio.targets.c.memory import Buffer, plan_memory
from intaglio.targets.reading import read_model

from benchmarks.common import environment, markdown_table, open_session, write_json
from benchmarks.training.cases import CASES, Case

RESULTS = Path(__file__).resolve().parent / "results"
VARIANT = "dsp"


def measure(case: Case, folder: Path) -> dict[str, Any]:
    """Bytes of both ways."""
    bundle = case.convert(folder / f"{case.model}-{case.layers}", targets=("c",))
    record = json.loads((bundle.folder / "c" / f"{case.model}_train.json").read_text())["training"]
    arena = record["arena"][VARIANT]
    stored, peak = backpropagation(case)
    return {
        "model": case.model,
        "layers": case.layers,
        "weights": record["weights_bytes"],
        "inference": arena["inference_bytes"],
        "step": arena["step_bytes"],
        "stored": stored,
        "backpropagation": peak,
    }


def backpropagation(case: Case) -> tuple[int, int]:
    """Bytes of the activations that the backward reads, and of the planned arena; batch 1."""
    model = read_model(case.path)
    trained = ("fc*",) if case.layers == "head" and case.model != "digits" else ()
    trained = ("fc2*",) if case.layers == "head" and case.model == "digits" else trained
    options = TrainingOptions(**({"trained": trained} if trained else {}))
    graph = build_training_graph(model, options)
    sizes = _sizes(graph, initial_state(model, options))
    inside = {str(value.name) for node in graph.graph for value in node.outputs}
    outside = {str(value.name) for value in graph.graph.outputs}
    first, last = {}, {}
    for step, node in enumerate(graph.graph):
        for value in node.outputs:
            first[str(value.name)] = last[str(value.name)] = step
        for read in node.inputs:
            if read is not None and read.name in inside:
                last[str(read.name)] = step
    buffers = [
        Buffer(name, sizes[name], first[name], last[name])
        for name in first
        if name in sizes and sizes[name] and name not in outside
    ]
    kept = {str(value.name) for value in stored_activations(graph)}
    return sum(sizes.get(name, 0) for name in kept), plan_memory(buffers).bytes


def _sizes(graph: ir.Model, state: dict[str, Any]) -> dict[str, int]:
    """Bytes of every tensor of a training graph, by running it once on one sample."""
    proto = ir.to_proto(graph)
    names = [name for node in proto.graph.node for name in node.output if name]
    present = {output.name for output in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in present)
    session = open_session(proto.SerializeToString(), optimize=False)
    feeds = {}
    for value in session.get_inputs():
        if value.name in state:
            feeds[value.name] = state[value.name]
            continue
        shape = [size if isinstance(size, int) else 1 for size in value.shape]
        kind = np.int64 if "int64" in value.type else np.float32
        feeds[value.name] = np.zeros(shape, kind)
    found = dict(zip(names, session.run(names, feeds), strict=True))
    return {name: array.nbytes for name, array in {**feeds, **found}.items()}


def main() -> None:
    """Command line."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(case, Path(folder)) for case in CASES]
    head = [
        "bytes",
        "trains",
        "weights, 16 bit",
        "inference",
        "step",
        "step / inference",
        "backpropagation: stored",
        "its arena",
        "its arena / ours",
    ]
    lines = [
        [
            row["model"],
            row["layers"],
            f"{row['weights']:,}",
            f"{row['inference']:,}",
            f"{row['step']:,}",
            f"{row['step'] / row['inference']:.3f}",
            f"{row['stored']:,}",
            f"{row['backpropagation']:,}",
            f"{row['backpropagation'] / row['step']:.1f}",
        ]
        for row in rows
    ]
    text = markdown_table(head, lines)
    print(text)
    write_json(RESULTS / "memory.json", {"environment": environment(), "rows": rows})
    (RESULTS / "memory.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
