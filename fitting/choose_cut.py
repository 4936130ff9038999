"""Chooses where the integer graph is cut in two, and notes it on the model.

``auto`` takes the cut with the least seconds a sample::

    2 * device_macs / device_speed + bits / bandwidth + 2 * server_macs / server_speed

where ``bits`` is estimated on calibration samples run through the integer graph
(:mod:`intaglio.transforms.split.estimate`). Speeds count two operations to a multiply-accumulate.
Cuts that leave one side without any are chosen only where there are no others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import Field

from intaglio.errors import RecipeError, UnsupportedError
from intaglio.fitting.base import DataPass
from intaglio.fitting.runner import Runner, batch_size
from intaglio.passes.annotations import get_quantization, get_source_value
from intaglio.passes.base import EXACT, Change, Outcome, PassConfig, Skip, outcome
from intaglio.passes.marks import is_integer
from intaglio.passes.split.cut_names import find_named_cut
from intaglio.passes.split.cuts import Cut, find_cuts, get_cut, set_cut
from intaglio.transforms.split.estimate import count_bytes, estimate_from_counts
from intaglio.transforms.split.links import Link, parse_bandwidth
from intaglio.transforms.split.pareto import pareto_front

_AUTO = "auto"


class ChooseCutConfig(PassConfig):
    """Options of :class:`ChooseCut`.

    Attributes:
        at: ``auto``, or where to cut: name of a tensor of the source or of the integer graph, or
            of a node of the source; two of them joined by a comma.
        bandwidth: From device to server: ``500kbps``, ``1Mbps``, ``10Mbit/s``, ``2MB/s``.
        device_gops: Speed of the device in 10^9 operations a second.
        server_gops: Speed of the server.
        samples: Calibration samples that the bits of a tensor are estimated on.
    """

    at: str = _AUTO
    bandwidth: str = "1Mbps"
    device_gops: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    server_gops: float = Field(default=100.0, gt=0, allow_inf_nan=False)
    samples: int = Field(default=32, ge=1)


class ChooseCut(DataPass):
    """Marks the tensors through which data goes from the device to the server."""

    name = "calibrate.choose_cut"
    semantics = EXACT
    Config = ChooseCutConfig

    def call(self, model: ir.Model) -> Outcome:
        """Notes the cut in the metadata of ``model``; nothing else of it changes.

        Raises:
            RecipeError: The graph is not one of integers, there is no cut where ``at`` says, the
                bandwidth is none, or ``auto`` has no calibration data.
            UnsupportedError: ``auto`` finds no cut, or sizes are not known.
        """
        marked = get_cut(model)
        if marked is not None:
            return outcome(model, [], [Skip(", ".join(marked), "the cut is chosen already")])
        if not is_integer(model):
            raise RecipeError(
                f"{self.name} works on a graph of integers", remedy="put lower.to_integer before it"
            )
        link = self._link()
        if self.config.at == _AUTO:
            chosen, rows = self._best(model, link)
        else:
            chosen = find_named_cut(model.graph, self.config.at)
            rows = self._table_if_known(model, link)
        set_cut(model, chosen)
        for row in rows:
            row["chosen"] = tuple(row["values"]) == chosen
        why = "as asked" if self.config.at != _AUTO else "least seconds a sample"
        change = Change("cut", _source_names(model, chosen), "whole", ", ".join(chosen), why)
        facts = {"cut": list(chosen), "link": dataclasses.asdict(link), "candidates": rows}
        return outcome(model, [change], facts=facts)

    def _link(self) -> Link:
        config = self.config
        try:
            return Link(parse_bandwidth(config.bandwidth), config.device_gops, config.server_gops)
        except ValueError as error:
            raise RecipeError(
                f"{self.name}: {error}", remedy="write it as 500kbps, 1Mbps or 10Mbit/s"
            ) from error

    def _best(self, model: ir.Model, link: Link) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
        self.require_data()
        rows = self._table(model, link)
        if not rows and any(
            v.dtype == ir.DataType.INT16 for node in model.graph for v in node.outputs
        ):
            raise UnsupportedError(
                "the model cannot be cut in two: its activations have 16 bits, and what crosses a "
                "cut is made of 8",
                remedy="use recipe split alone, whose activations have 8 bits",
            )
        if not rows:
            raise UnsupportedError(
                "the model cannot be cut in two: no 8-bit tensor, and no two of them, lie on every "
                "way from its inputs to its outputs",
                remedy="use recipe int8, which keeps the model whole",
            )
        # A server that is left with a Softmax alone is none, unless there is no other way.
        useful = [row for row in rows if row["device_macs"] and row["server_macs"]] or rows
        best = min(useful, key=lambda row: (row["seconds"], row["bits"], row["device_macs"]))
        return tuple(best["values"]), rows

    def _table_if_known(self, model: ir.Model, link: Link) -> list[dict[str, Any]]:
        """The table, for the report only: nothing where sizes are not known."""
        try:
            return self._table(model, link)
        except UnsupportedError:
            return []

    def _table(self, model: ir.Model, link: Link) -> list[dict[str, Any]]:
        """Every cut with what it costs."""
        cuts = find_cuts(model.graph)
        measured = self._measure(model, cuts)
        rows = []
        for cut in cuts:
            bits = sum(measured.get(name, 0.0) for name in cut.values)
            if not measured:
                bits = 8.0 * cut.elements
            rows.append(
                {
                    **dataclasses.asdict(cut),
                    "bits": bits,
                    "estimated": bool(measured),
                    "seconds": link.seconds(cut.device_macs, bits, cut.server_macs),
                }
            )
        front = pareto_front([(row["device_macs"], row["bits"]) for row in rows])
        for row, on_front in zip(rows, front, strict=True):
            row["pareto"] = on_front
        return rows

    def _measure(self, model: ir.Model, cuts: Sequence[Cut]) -> dict[str, float]:
        """Bits of a sample for each tensor of the cuts; nothing without data."""
        names = list(dict.fromkeys(name for cut in cuts for name in cut.values))
        if self.data is None or not names:
            return {}
        runner = Runner(model, names, outputs=False)
        counts: dict[str, NDArray[np.int64]] = {}
        total, done = min(self.config.samples, len(self.data)), 0
        for feed in self.data.batches(batch_size(model), total):
            found = runner.run(integer_feed(model, feed))
            for name in names:
                new = count_bytes(_signed(found[name]))
                counts[name] = counts[name] + new if name in counts else new
            # Of a model that takes several samples at once, all of them are one run.
            done += 1 if self.data.fixed_batch else len(next(iter(feed.values())))
            self.report(min(done, total), total)
        return {name: estimate_from_counts(each, done) for name, each in counts.items()}


def integer_feed(model: ir.Model, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Samples as the inputs of an integer graph take them.

    Args:
        model: The integer graph.
        feed: Samples as the source model takes them, by input name.

    Returns:
        The same, reals quantized as the inputs say; uint8 moved to int8.
    """
    made = {}
    for value in model.graph.inputs:
        name = str(value.name)
        array = feed[name]
        quantization = get_quantization(value)
        wants = None if value.dtype is None else value.dtype.numpy()
        if quantization is not None and array.dtype.kind == "f" and wants != array.dtype:
            array = quantization.quantize(array)
        elif array.dtype == np.uint8 and wants == np.int8:
            array = (array.astype(np.int16) - 128).astype(np.int8)
        made[name] = array
    return made


def _is_wide(model: ir.Model) -> bool:
    """Whether there are activations of 16 bits."""
    return any(v.dtype == ir.DataType.INT16 for node in model.graph for v in node.outputs)


def _signed(array: NDArray[Any]) -> NDArray[np.int8]:
    """8-bit integers as int8; uint8 in the same order."""
    if array.dtype == np.uint8:
        return (array.astype(np.int16) - 128).astype(np.int8)
    return array


def _source_names(model: ir.Model, chosen: Sequence[str]) -> str:
    """The float tensors that the tensors of the cut stand for."""
    values = {v.name: v for node in model.graph for v in node.outputs}
    values.update((v.name, v) for v in model.graph.inputs)
    return ", ".join(get_source_value(values[name]) or name for name in chosen)
