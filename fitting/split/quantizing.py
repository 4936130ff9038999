"""The quantizers of all features of a cut, for a price of a bit or for a budget."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from intaglio.fitting.split.design import Choice, design, histograms, measure_weights
from intaglio.fitting.split.probe import Probe
from intaglio.transforms.split.planes import as_planes, average, spread
from intaglio.transforms.split.quantizers import Quantizer
from intaglio.transforms.split.restoration import Restoration, fit_restoration, restore

#: Samples that weights are measured on, and samples that noise is.
WEIGHT_SAMPLES = 32
NOISE_SAMPLES = 96

_STEPS = 14

#: Prices of a bit to search, in the median weight of a squared error.
_LEAST_PRICE, _LARGEST_PRICE = 2.0**-8, 2.0**20


@dataclasses.dataclass(frozen=True)
class Shape:
    """How a feature becomes codes, apart from the quantizers.

    Attributes:
        order: Channel at each place of the wire.
        stripes: Code channels of each stripe.
        share: Channels that share a code.
        patch: Rows and columns that share one.
    """

    order: tuple[int, ...]
    stripes: tuple[int, ...]
    share: int = 1
    patch: int = 1


@dataclasses.dataclass(frozen=True)
class Quantized:
    """Quantizers of one feature and what they make of the calibration samples.

    Attributes:
        shape: How it becomes codes.
        quantizers: One a stripe.
        decode: For each wire channel the value of each code.
        codes: Codes of the samples: uint8 [N, code channels, rows, columns].
        restoration: The filter behind the decoder, or None.
    """

    shape: Shape
    quantizers: tuple[Quantizer, ...]
    decode: tuple[NDArray[np.int64], ...]
    codes: NDArray[np.uint8]
    restoration: Restoration | None = None


class FeatureFit:
    """One feature, ready to be quantized at any price.

    Args:
        probe: Runs the server half.
        name: Name of the tensor.
        shape: How it becomes codes.
        choice: What quantizers may be.
        zero_point: Zero point of the feature where the server filters it; None where not.
    """

    def __init__(
        self, probe: Probe, name: str, shape: Shape, choice: Choice, zero_point: int | None
    ) -> None:
        self.name = name
        self.shape = shape
        self.choice = choice
        self._zero_point = zero_point
        feature = probe.features[name]
        self._tensor_shape = feature.shape
        self._wire = as_planes(feature)[:, list(shape.order)]
        self._planes = average(self._wire, shape.share, shape.patch)
        self._histograms = histograms(self._planes, shape.stripes)

        def noise(planes: NDArray[np.int8]) -> float:
            few = {n: array[: len(planes)] for n, array in probe.features.items()}
            return probe.noise({**few, name: self._restored(planes)})

        few = self._planes[:WEIGHT_SAMPLES]
        self.sharing_noise = noise(few) if max(shape.share, shape.patch) > 1 else 0.0
        self.weights = measure_weights(few, shape.stripes, noise)

    def quantize(self, price: float) -> Quantized:
        """The quantizers for a price of a bit."""
        quantizers = tuple(
            design(histogram, float(weight), price, self.choice)
            for histogram, weight in zip(self._histograms, self.weights, strict=True)
        )
        return self.apply(quantizers)

    def apply(self, quantizers: Sequence[Quantizer]) -> Quantized:
        """What quantizers make of the samples; decoders say what each channel means by a code."""
        tables = np.stack([q.encode for q in quantizers]).astype(np.uint8)
        of_channel = np.repeat(np.arange(len(quantizers)), self.shape.stripes)
        index = np.arange(len(of_channel))[:, None, None]
        codes = tables[of_channel][index, self._planes.astype(np.int16) + 128]
        found = Quantized(
            self.shape,
            tuple(quantizers),
            tuple(self._decoders(quantizers, of_channel, codes)),
            codes,
        )
        if self._zero_point is None:
            return found
        decoded = as_planes(self.decoded(found, len(codes)))
        wanted = as_planes(self._in_order(self._wire))
        plane = (codes.shape[2], codes.shape[3])
        filtered = fit_restoration(decoded, wanted, self._zero_point, plane)
        return dataclasses.replace(found, restoration=filtered)

    def decoded(self, found: Quantized, samples: int) -> NDArray[np.int8]:
        """The feature that the server gets, for the first samples."""
        levels = max(len(row) for row in found.decode)
        table = np.stack([np.pad(row, (0, levels - len(row)), "edge") for row in found.decode])
        shape = (samples, *self._wire.shape[1:])
        codes = spread(found.codes[:samples], self.shape.share, self.shape.patch, shape)
        channel = np.arange(shape[1])[:, None, None]
        made = self._in_order(table.astype(np.int8)[channel, codes])
        if found.restoration is None or self._zero_point is None:
            return made
        return restore(as_planes(made), found.restoration, self._zero_point).reshape(made.shape)

    def _decoders(
        self,
        quantizers: Sequence[Quantizer],
        of_channel: NDArray[np.int64],
        codes: NDArray[np.uint8],
    ) -> list[NDArray[np.int64]]:
        share = self.shape.share
        if self.choice.kind == "uniform" and share == 1:
            return [quantizers[stripe].decode for stripe in of_channel]
        made = []
        wide = spread(codes, share, self.shape.patch, self._wire.shape)
        for channel in range(self._wire.shape[1]):
            quantizer = quantizers[of_channel[channel // share]]
            code = wide[:, channel].reshape(-1)
            value = self._wire[:, channel].reshape(-1).astype(np.float64)
            mass = np.bincount(code, minlength=quantizer.levels)
            moments = np.bincount(code, value, minlength=quantizer.levels)
            mean = np.floor(moments / np.maximum(mass, 1) + 0.5)
            made.append(np.where(mass > 0, mean, quantizer.decode).astype(np.int64))
        return made

    def _restored(self, planes: NDArray[np.int8]) -> NDArray[np.int8]:
        shape = (len(planes), *self._wire.shape[1:])
        return self._in_order(spread(planes, self.shape.share, self.shape.patch, shape))

    def _in_order(self, wire: NDArray[np.int8]) -> NDArray[np.int8]:
        """Channels back in the order of the tensor, and its own dimensions."""
        back = np.argsort(self.shape.order)
        return np.ascontiguousarray(wire[:, back]).reshape(len(wire), *self._tensor_shape[1:])


def noise_of(probe: Probe, fits: Sequence[FeatureFit], found: Sequence[Quantized]) -> float:
    """Relative noise at the outputs with all features quantized."""
    count = min(NOISE_SAMPLES, probe.samples)
    return probe.noise(
        {fit.name: fit.decoded(q, count) for fit, q in zip(fits, found, strict=True)}
    )


def search(
    fits: Sequence[FeatureFit], fits_budget: Callable[[Sequence[Quantized]], bool], cheap: bool
) -> list[Quantized]:
    """The quantizers at the edge of a budget: by bisection over the price of a bit.

    Args:
        fits: The features; the price of a bit is the same for all.
        fits_budget: Whether quantizers are within the budget.
        cheap: Whether a higher price leaves a budget (of noise) rather than meets it (of bits).

    Returns:
        The quantizers of the highest price within a budget of noise, or of the lowest within one
        of bits; those of the last price tried where nothing is.
    """
    unit = float(np.median(np.concatenate([fit.weights for fit in fits])))
    low, high = math.log2(_LEAST_PRICE), math.log2(_LARGEST_PRICE)
    best = [fit.quantize(unit * 2.0 ** (low if cheap else high)) for fit in fits]
    for _ in range(_STEPS):
        middle = (low + high) / 2
        found = [fit.quantize(unit * 2.0**middle) for fit in fits]
        within = fits_budget(found)
        if within:
            best = found
        if within == cheap:
            low = middle
        else:
            high = middle
    return best
