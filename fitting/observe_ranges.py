"""Notes the range of every float activation, from calibration samples.

One streaming pass through the float model; each value has an observer of fixed size, so memory
depends neither on the number of samples nor on what was seen.

What the ``mse`` observer should minimize is the error after the operator that reads the value. A
PRelu or LeakyRelu multiplies errors of negative values by its slope, often a small one, while these
values reach far out: a range that holds them all leaves few levels to the others. So each negative
value counts with the square of its slope there.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import Field

from intaglio.errors import InputError, RecipeError
from intaglio.fitting.base import DataPass
from intaglio.fitting.runner import Runner, batch_size, float_values
from intaglio.passes.annotations import get_range, set_extremes, set_range
from intaglio.passes.base import EXACT, Change, Outcome, PassConfig, Skip, outcome
from intaglio.passes.marks import ALREADY_QUANTIZED, is_quantized
from intaglio.passes.operators import constant_array, find_units, is_constant, sole_consumer
from intaglio.transforms.observers import HistogramObserver, Observer, make_observer


class ObserveConfig(PassConfig):
    """Options of :class:`ObserveRanges`.

    Attributes:
        observer: ``minmax``; ``percentile`` (leaves a small fraction of the values outside);
            ``entropy`` (least divergence); ``mse`` (least squared error).
        percentile: For ``percentile``: percent of the values on the inner side of each end.
        bins: Bins of a histogram.
        levels: For ``entropy`` and ``mse``: levels of the quantizer; 65536 for int16.
        symmetric: For ``entropy`` and ``mse``: look for symmetric ranges.
        limit: Use only the first so many samples; None for all.
    """

    observer: Literal["minmax", "percentile", "entropy", "mse"] = "mse"
    percentile: float = Field(default=99.99, gt=50.0, le=100.0)
    bins: int = Field(default=2048, ge=16, le=1 << 20)
    levels: int = Field(default=256, ge=2, le=65536)
    symmetric: bool = False
    limit: int | None = Field(default=None, ge=1)


class ObserveRanges(DataPass):
    """Runs the float model and notes a range on every float activation."""

    name = "calibrate.observe_ranges"
    semantics = EXACT
    Config = ObserveConfig

    def call(self, model: ir.Model) -> Outcome:
        """Notes ranges on the values of ``model``; nothing else of it changes.

        Raises:
            RecipeError: There is no calibration data.
            InputError: The samples are damaged, or make the model overflow.
        """
        if is_quantized(model):
            return outcome(model, [], [Skip("", ALREADY_QUANTIZED)])
        values = float_values(model)
        if values and all(get_range(value) is not None for value in values):
            return outcome(model, [], [Skip("", "every activation has a range already")])
        data = self.require_data()
        points = {value.name for value in find_units(model.graph).points}
        observers = {str(value.name): self._observer(value.name in points) for value in values}
        slopes = {
            str(value.name): slope
            for value in values
            if self.config.observer == "mse" and (slope := negative_slope(value)) is not None
        }
        runner = Runner(model, list(observers), outputs=False)
        stream = runner.stream(
            data, batch=batch_size(model), limit=self.config.limit, progress=self.report
        )
        for number, found in enumerate(stream):
            for name, observer in observers.items():
                _update(observer, name, found[name], slopes.get(name), number)
        changes = []
        for value in values:
            observer = observers[str(value.name)]
            try:
                low, high = observer.range()
            except ValueError as error:
                raise InputError(
                    f"tensor '{value.name}' is empty for every calibration sample",
                    remedy="give samples of a larger size",
                ) from error
            set_range(value, low, high)
            if isinstance(observer, HistogramObserver):
                histogram = observer.histogram
                set_extremes(value, histogram.minimum, histogram.maximum)
            changes.append(Change("range", str(value.name), "unknown", f"[{low:.6g}, {high:.6g}]"))
        count = len(data) if self.config.limit is None else min(self.config.limit, len(data))
        facts = {"observer": self.config.observer, "samples": count, "tensors": len(values)}
        return outcome(model, changes, facts=facts)

    def _observer(self, quantized: bool) -> Observer:
        """An observer; of values inside a fused unit the extremes are enough."""
        config = self.config
        if not quantized or config.observer == "minmax":
            return make_observer("minmax")
        options: dict[str, Any] = {"bins": config.bins}
        if config.observer == "percentile":
            options["percentile"] = config.percentile
        else:
            options.update(levels=config.levels, symmetric=config.symmetric)
        try:
            return make_observer(config.observer, **options)
        except ValueError as error:
            raise RecipeError(
                f"calibrate.observe_ranges: {error}", remedy="see its options"
            ) from error


def negative_slope(value: ir.Value) -> NDArray[np.float32] | None:
    """What negative values are multiplied by in the PRelu or LeakyRelu that alone reads ``value``.

    Returns:
        The slope, of a shape that broadcasts to that of the value; None where something else reads
        it, or the slope is no constant.
    """
    reader = sole_consumer(value)
    if reader is None or reader.inputs[0] is not value:
        return None
    if reader.op_type == "LeakyRelu":
        return np.asarray(reader.attributes.get_float("alpha", 0.01), np.float32)
    if reader.op_type == "PRelu" and is_constant(reader.inputs[1]):
        return np.asarray(constant_array(reader.inputs[1]), np.float32)
    return None


def _update(
    observer: Observer, name: str, values: Any, slope: NDArray[np.float32] | None, batch: int
) -> None:
    try:
        if slope is not None and isinstance(observer, HistogramObserver):
            observer.update(values, np.where(values < 0, np.square(slope), np.float32(1)))
        else:
            observer.update(values)
    except ValueError as error:
        raise InputError(
            f"tensor '{name}' becomes NaN or infinite on calibration batch {batch}",
            remedy="check the model's weights and the scaling of the samples",
        ) from error
