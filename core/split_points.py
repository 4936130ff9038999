"""Where a model can be cut in two, and what each cut costs: ``inspect --split-points``.

The model is simplified as recipe ``int8`` does it, so that names are those that ``--split-at``
takes. Bytes are those of a sample's feature alone: the header of a frame is not in them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.errors import InputError, RecipeError, UnsupportedError
from intaglio.passes.split.cut_costs import elements
from intaglio.passes.split.cuts import Cut, find_cuts
from intaglio.transforms.split.estimate import count_bytes, estimate_from_counts, to_bytes
from intaglio.transforms.split.links import Link, parse_bandwidth
from intaglio.transforms.split.pareto import pareto_front

if TYPE_CHECKING:
    from intaglio.fitting.data import CalibrationData

#: Samples that bits are estimated on.
SAMPLES = 32

#: From this step on a recipe decides on scales.
_SIMPLIFIED = "quantize.isolate_tensors"


@dataclasses.dataclass(frozen=True)
class SplitPoint:
    """One cut.

    Attributes:
        values: Names of the tensors that cross; joined by a comma they are what ``--split-at``
            takes.
        shapes: Their shapes.
        elements: Elements of all of them in one sample.
        device_macs: Multiply-accumulates of one sample in front of the cut.
        server_macs: Those behind it.
        device_peak_bytes: Most bytes of int8 activations alive at once in front of it.
        float_bytes: Bytes of a sample's feature as FP32.
        int8_bytes: Bytes of it as int8.
        encoded_bytes: Bytes of it entropy coded, estimated on calibration data; None without.
        seconds: Of one sample, from device to server, with ``encoded_bytes`` where known and
            ``int8_bytes`` else.
        pareto: Whether no other cut sends as few of these bytes after as little work of the device.
        best: Whether it takes the least seconds.
    """

    values: tuple[str, ...]
    shapes: tuple[tuple[int | str, ...], ...]
    elements: int
    device_macs: int
    server_macs: int
    device_peak_bytes: int
    float_bytes: int
    int8_bytes: int
    encoded_bytes: float | None
    seconds: float
    pareto: bool
    best: bool

    @property
    def name(self) -> str:
        """What ``--split-at`` takes."""
        return ",".join(self.values)

    @property
    def sent_bytes(self) -> float:
        """Bytes that ``seconds`` counts."""
        return self.int8_bytes if self.encoded_bytes is None else self.encoded_bytes


@dataclasses.dataclass(frozen=True)
class SplitPoints:
    """The cuts of a model.

    Attributes:
        path: The file as given.
        link: Bandwidth in bits a second, and the speeds of both sides.
        samples: Calibration samples that bytes were estimated on; 0 without data.
        points: The cuts, by what the device has to do.
        device_only_seconds: A sample with the whole model on the device.
        server_only_seconds: A sample with the whole model on the server, its input sent at one
            byte an element.
    """

    path: str
    link: Link
    samples: int
    points: tuple[SplitPoint, ...]
    device_only_seconds: float
    server_only_seconds: float

    @property
    def best(self) -> SplitPoint | None:
        """The cut that takes the least seconds, None where there is no cut."""
        return next((point for point in self.points if point.best), None)

    def to_dict(self) -> dict[str, Any]:
        """Returns the cuts as JSON-friendly data."""
        data = dataclasses.asdict(self)
        for row, point in zip(data["points"], self.points, strict=True):
            row["name"] = point.name
        return data


def find_split_points(
    path: str | Path,
    shapes: Mapping[str, Sequence[int]] | None = None,
    calibration: str | Path | Mapping[str, NDArray[Any]] | None = None,
    bandwidth: str = "1Mbps",
    device_gops: float = 1.0,
    server_gops: float = 100.0,
) -> SplitPoints:
    """Looks where a model can be cut between a device and a server.

    Args:
        path: An ONNX or TFLite file, float or quantized.
        shapes: Dimensions by input name, for inputs whose shape is symbolic in the file.
        calibration: Samples to estimate the bytes of encoded features on: a file, a folder, or
            arrays by input name.
        bandwidth: From device to server, as in ``500kbps``, ``1Mbps`` or ``10Mbit/s``.
        device_gops: Speed of the device in 10^9 operations a second, two to a multiply-accumulate.
        server_gops: Speed of the server.

    Returns:
        The cuts; none where no tensor, and no two, separate the inputs from the outputs.

    Raises:
        InputError: The file or the data is missing, damaged or does not fit.
        RecipeError: ``shapes``, the bandwidth or a speed makes no sense.
        UnsupportedError: The model cannot be read, or has sizes that are not known.
    """
    link = _link(bandwidth, device_gops, server_gops)
    model, data = _open(path, shapes, calibration)
    cuts = find_cuts(model.graph)
    encoded = {} if data is None else _measure(model, cuts, data)
    inputs = [v for v in model.graph.inputs if v.name not in model.graph.initializers]
    sent = sum(elements(value) for value in inputs) if cuts else 0
    macs = cuts[0].device_macs + cuts[0].server_macs if cuts else 0
    return SplitPoints(
        path=str(path),
        link=link,
        samples=0 if data is None else min(SAMPLES, len(data)),
        points=_weighed(cuts, encoded, link),
        device_only_seconds=link.seconds(macs, 0, 0),
        server_only_seconds=link.seconds(0, 8 * sent, macs),
    )


def _link(bandwidth: str, device_gops: float, server_gops: float) -> Link:
    for side, speed in (("device", device_gops), ("server", server_gops)):
        if not (math.isfinite(speed) and speed > 0):
            raise RecipeError(
                f"the speed of the {side} is {speed:g} Gop/s",
                remedy=f"give --{side}-gops a number above 0",
            )
    try:
        return Link(parse_bandwidth(bandwidth), device_gops, server_gops)
    except ValueError as error:
        raise RecipeError(
            str(error), remedy="write --bandwidth as 500kbps, 1Mbps or 10Mbit/s"
        ) from error


def _open(
    path: str | Path,
    shapes: Mapping[str, Sequence[int]] | None,
    calibration: str | Path | Mapping[str, NDArray[Any]] | None,
) -> tuple[ir.Model, CalibrationData | None]:
    """Reads and simplifies the model, and opens its data."""
    from intaglio.fitting.data import open_data
    from intaglio.pipeline import make_pass, run_pass
    from intaglio.recipe import load_recipe
    from intaglio.table_networks import open_table_network
    from intaglio.targets.base import spec_of
    from intaglio.targets.reading import read_model

    if open_table_network(path) is not None:
        raise UnsupportedError(
            "a table network is not cut in two", remedy="leave --split-points out"
        )
    model = read_model(path, shapes)
    specs = [spec_of(value) for value in model.graph.inputs]
    data = None if calibration is None else open_data(calibration, specs)
    for step in load_recipe("int8").steps:
        if step.pass_name == _SIMPLIFIED:
            break
        if step.enabled:
            run_pass(make_pass(step.pass_name, step.options), model, "inspect")
    return model, data


def _measure(model: ir.Model, cuts: Sequence[Cut], data: CalibrationData) -> dict[str, float]:
    """Bits of a sample for each tensor of the cuts.

    Two runs through the data: the range of each tensor first, then how often each of 256 levels
    occurs, so that memory does not depend on the number of samples.
    """
    from intaglio.fitting.runner import Runner, batch_size

    names = list(dict.fromkeys(name for cut in cuts for name in cut.values))
    if not names:
        return {}
    runner = Runner(model, names, outputs=False)
    batch = batch_size(model)
    ranges: dict[str, tuple[float, float]] = {}
    for found in runner.stream(data, batch=batch, limit=SAMPLES):
        for name in names:
            low, high = _range_of(name, found[name])
            before = ranges.get(name, (low, high))
            ranges[name] = min(low, before[0]), max(high, before[1])
    counts: dict[str, NDArray[np.int64]] = {}
    # Of a model that takes several samples at once, all of them are one run.
    samples = 0
    for feed in data.batches(batch, SAMPLES):
        found = runner.run(feed)
        samples += 1 if data.fixed_batch else len(next(iter(feed.values())))
        for name in names:
            new = count_bytes(to_bytes(found[name], *ranges[name]))
            counts[name] = counts[name] + new if name in counts else new
    return {name: estimate_from_counts(each, samples) for name, each in counts.items()}


def _range_of(name: str, array: NDArray[Any]) -> tuple[float, float]:
    if not array.size or not np.isfinite(array).all():
        what = "is empty" if not array.size else "becomes NaN or infinite"
        raise InputError(
            f"tensor '{name}' {what} on the calibration data",
            remedy="check the model's weights and the scaling of the samples",
        )
    return float(array.min()), float(array.max())


def _weighed(
    cuts: Sequence[Cut], encoded: Mapping[str, float], link: Link
) -> tuple[SplitPoint, ...]:
    points = []
    for cut in cuts:
        bits = sum(encoded[name] for name in cut.values) if encoded else None
        sent = 8.0 * cut.elements if bits is None else bits
        points.append(
            SplitPoint(
                **{field.name: getattr(cut, field.name) for field in dataclasses.fields(cut)},
                float_bytes=4 * cut.elements,
                int8_bytes=cut.elements,
                encoded_bytes=None if bits is None else bits / 8,
                seconds=link.seconds(cut.device_macs, sent, cut.server_macs),
                pareto=False,
                best=False,
            )
        )
    front = pareto_front([(point.device_macs, point.sent_bytes) for point in points])
    # As auto does: a side without products is no side, unless there is no other way.
    useful = [i for i, p in enumerate(points) if p.device_macs and p.server_macs]
    order = useful or range(len(points))
    best = min(order, key=lambda i: (points[i].seconds, points[i].sent_bytes), default=None)
    return tuple(
        dataclasses.replace(point, pareto=on_front, best=index == best)
        for index, (point, on_front) in enumerate(zip(points, front, strict=True))
    )
