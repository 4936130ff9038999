"""Layer by layer: inner tensors of an artifact against those of the float source, streamed.

The signal-to-noise ratio of a tensor holds the errors of all layers before it. Its *drop*, the
ratio of the worst tensor it is computed from minus its own, is what the layer itself loses, and
decides what is suggested.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.metrics import LsbHistogram, SqnrAccumulator
from intaglio.verification.comparison import reported_bins, round_to_levels
from intaglio.verification.inner_tensors import InnerTensor, SourceValue
from intaglio.verification.report import LayerResult

#: Below this a layer is said to be in need of more bits.
LOW_SQNR_DB = 20.0

#: A loss of so much is the layer's own; less is inherited.
OWN_DROP_DB = 3.0

#: A larger fraction of values outside the range is worth a word.
SATURATED_FRACTION = 0.01

#: A smaller part of the integer range in use is worth a word, where the tensor is not good anyway.
USED_FRACTION = 0.25
UNUSED_SQNR_DB = 30.0

# Their scale is given by the quantization scheme, not by what was observed.
_FIXED_SCALE = frozenset({"Input", "Sigmoid", "Softmax", "Tanh"})


class LayerComparison:
    """Streaming comparison of one inner tensor with the source value it stands for."""

    def __init__(self, artifact: str, tensor: InnerTensor, source: SourceValue) -> None:
        self.artifact = artifact
        self.tensor = tensor
        self.source = source
        self._scale = tensor.quantization.scale[0]
        self._zero_point = tensor.quantization.zero_point[0]
        self._minimum = tensor.quantization.minimum - self._zero_point
        self._maximum = tensor.quantization.maximum - self._zero_point
        self._sqnr = SqnrAccumulator()
        self._histogram = LsbHistogram()
        self._below = 0
        self._above = 0
        self._low = math.inf
        self._high = -math.inf
        self._lowest_level = math.inf
        self._highest_level = -math.inf

    def add(self, found: NDArray[Any], expected: NDArray[Any]) -> None:
        """Takes one batch into account.

        Args:
            found: The artifact's tensor, integers or dequantized.
            expected: The source's float values, same shape. A different shape (a layout of the
                target's own) cannot be compared and is left out, values that are not finite too.
        """
        if found.shape != expected.shape or not np.issubdtype(expected.dtype, np.floating):
            return
        finite = np.isfinite(expected)
        if not finite.all():
            found, expected = found[finite], expected[finite]
        if found.size == 0:
            return
        if self.tensor.is_integer:
            levels = found.astype(np.int64) - self._zero_point
            real: NDArray[Any] = levels * self._scale
        else:
            levels = round_to_levels(found, self._scale)
            real = found
        wanted = round_to_levels(expected, self._scale)
        self._sqnr.update(expected, real)
        self._histogram.update(wanted, levels)
        # What lies less than one step outside loses no more than rounding does: softmax reaches
        # 1.0 where int8 ends at 255/256.
        self._below += int(np.count_nonzero(wanted < self._minimum - 1))
        self._above += int(np.count_nonzero(wanted > self._maximum + 1))
        self._low = min(self._low, float(expected.min()))
        self._high = max(self._high, float(expected.max()))
        self._lowest_level = min(self._lowest_level, float(levels.min()))
        self._highest_level = max(self._highest_level, float(levels.max()))

    def result(self) -> LayerResult | None:
        """What was found, without drop and suggestion; None where nothing was compared."""
        total = self._histogram.total
        if total == 0:
            return None
        quantization = self.tensor.quantization
        counts = self._histogram.counts
        return LayerResult(
            artifact=self.artifact,
            node=self.source.node,
            operator=self.source.operator,
            tensor=self.source.name,
            dtype=quantization.dtype,
            scale=self._scale,
            zero_point=self._zero_point,
            order=self.source.order,
            sqnr_db=self._sqnr.sqnr_db,
            drop_db=None,
            max_error_lsb=float(self._histogram.max_error),
            mean_error_lsb=sum(error * count for error, count in counts.items()) / total,
            saturated_low=self._below / total,
            saturated_high=self._above / total,
            range_used=(self._highest_level - self._lowest_level) / (self._maximum - self._minimum),
            low=self._low,
            high=self._high,
            histogram=reported_bins(counts),
        )


def rank_layers(
    results: Iterable[LayerResult], sources: Mapping[str, SourceValue], advise: bool = True
) -> list[LayerResult]:
    """Adds drops and suggestions, and sorts the layers, worst first.

    Args:
        results: Layers of one artifact.
        sources: The source's values by name.
        advise: Whether there is anything to choose: the scales did not come with the file.

    Returns:
        New results, by ascending SQNR.
    """
    known = {result.tensor: result for result in results}
    ranked = []
    for result in known.values():
        before = _measured_inputs(sources[result.tensor], sources, known)
        drop = None
        if before and math.isfinite(result.sqnr_db):
            lowest = min(layer.sqnr_db for layer in before)
            drop = lowest - result.sqnr_db if math.isfinite(lowest) else None
        complete = dataclasses.replace(result, drop_db=drop)
        advice = suggest(complete, before) if advise else ""
        ranked.append(dataclasses.replace(complete, suggestion=advice))
    return sorted(ranked, key=lambda layer: (_sortable(layer.sqnr_db), layer.order))


def suggest(layer: LayerResult, before: Sequence[LayerResult] = ()) -> str:
    """What to try for a layer, or an empty text where it is fine.

    Args:
        layer: The layer, its drop known.
        before: The layers it is computed from.
    """
    remedies = []
    saturated = layer.saturated_low + layer.saturated_high
    if saturated > SATURATED_FRACTION:
        remedies.append(
            f"{100 * saturated:.1f} % of its values lie outside the range: calibrate with more "
            "samples like these, or widen it: --set calibrate.observer=minmax"
        )
    elif (
        layer.range_used < USED_FRACTION
        and layer.sqnr_db < UNUSED_SQNR_DB
        and layer.operator not in _FIXED_SCALE
    ):
        remedies.append(
            f"uses {100 * layer.range_used:.0f} % of the range: outliers may have set it, try "
            "--set calibrate.observer=percentile or mse"
        )
    if layer.sqnr_db < LOW_SQNR_DB:
        inherited = layer.drop_db is not None and layer.drop_db < OWN_DROP_DB
        if inherited and before:
            worst = min(before, key=lambda other: other.sqnr_db)
            remedies.append(f"inherits its error from '{worst.node or worst.tensor}'")
        elif layer.dtype != "int16" and layer.node:
            remedies.append(f"keep it at 16 bit: {sixteen_bit_option(layer.node)}")
    return "; ".join(remedies)


def sixteen_bit_option(node: str) -> str:
    """The option that keeps the output of ``node`` at 16 bit, quoted for a shell."""
    listed = f'["{_toml(node)}"]'.replace("'", "'\\''")
    return f"--set quantize.sixteen_bit='{listed}'"


def _toml(text: str) -> str:
    """``text`` as the inside of a TOML string, and as a selector that matches only itself."""
    pattern = "".join(f"[{char}]" if char in "*?[" else char for char in text)
    if pattern.startswith("op:"):  # That would select by operator type.
        pattern = "[o]" + pattern[1:]
    return pattern.replace("\\", "\\\\").replace('"', '\\"')


def _measured_inputs(
    value: SourceValue, sources: Mapping[str, SourceValue], known: Mapping[str, LayerResult]
) -> list[LayerResult]:
    """The nearest measured values that ``value`` is computed from."""
    found: dict[str, LayerResult] = {}
    waiting, seen = list(value.inputs), set(value.inputs)
    while waiting:
        name = waiting.pop()
        if name in known:
            found[name] = known[name]
        elif name in sources:
            new = [source for source in sources[name].inputs if source not in seen]
            seen.update(new)
            waiting.extend(new)
    return list(found.values())


def _sortable(value: float) -> float:
    return -math.inf if math.isnan(value) else value
