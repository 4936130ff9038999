"""Fits how the features of a cut go over the wire: quantizers, what shares a code, frequencies.

Quantizers are tables (:mod:`intaglio.transforms.split.quantizers`). How coarse they are follows
from one price of a bit for all stripes of all features, as high as the relative noise that it makes
at the model's outputs allows, or as low as a budget of bits does. Everything is chosen on
calibration samples only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import Field

from intaglio.errors import RecipeError
from intaglio.fitting.base import DataPass
from intaglio.fitting.split import dynamic
from intaglio.fitting.split.design import CLIPS, Choice
from intaglio.fitting.split.modelling import model_codes, packed_bits
from intaglio.fitting.split.probe import Probe
from intaglio.fitting.split.quantizing import FeatureFit, Quantized, Shape, noise_of, search
from intaglio.passes.annotations import all_values, get_quantization, get_source_value
from intaglio.passes.base import APPROXIMATE, Change, Outcome, PassConfig, Skip, outcome
from intaglio.passes.split.cuts import get_cut
from intaglio.passes.split.marks import read_codec, write_codec
from intaglio.transforms.scales import TensorQuantization
from intaglio.transforms.split.entropy import ideal_bits
from intaglio.transforms.split.planes import as_planes
from intaglio.transforms.split.restoration import Restoration
from intaglio.transforms.split.similarity import channel_order
from intaglio.transforms.split.specification import CodecSpecification, Feature, Stripe

#: Bits that a uniform code may have.
_UNIFORM_BITS = (8, 4, 3, 2)
#: Most bits of a code of an entropy-constrained quantizer; more are hardly ever used.
_ENTROPY_BITS = 4
#: Most bits where the noise asks for them.
_LARGEST_BITS = 8

#: A budget of bits may be missed by so much: rounding of frequencies and of the search.
_SLACK = 1.001

#: A budget of bits is well spent from this share on.
_SPENT = 0.9

#: Noise at the outputs that costs most models points.
_LOUD = 0.1

#: A patch of the whole plane is tried up to this side.
_LARGEST_PATCH = 16


class FitCodecConfig(PassConfig):
    """Options of :class:`FitCodec`.

    Attributes:
        noise: Largest power of the error at the outputs, relative to what they vary by, on the
            calibration samples.
        bits_per_element: Budget of bits for an element of the features, side data included;
            the noise is then what it gets.
        quantizer: ``entropy`` (cells of any width, for the least noise at a rate) or ``uniform``.
        bits: Bits of a code: of uniform quantizers all have these (None chooses 8, 4, 3 or 2 for
            each stripe); of the others the most (None is 4, or 8 where the noise
            asks for them).
        clip: Share of a range that uniform quantizers keep; None chooses 1, 0.85, 0.7 or 0.5.
        stripes: Runs of channels that share a quantizer; 0 for one a channel.
        order: Channels on the wire: ``none`` (as they are), ``range``, ``similarity``, or ``auto``
            (by similarity where channels share something).
        ranges: ``static`` (calibrated) or ``dynamic`` (of each sample, sent along).
        tile: Side of squares with a range of their own; dynamic ranges only, 0 for none.
        share_channels: Channels that share a code.
        share_patch: Side of the squares of places that share a code; 0 chooses.
        contexts: Whether the frequency of a code depends on its neighbors' codes.
        restoration: Whether the server filters what it decodes, by a convolution fitted to
            calibration samples; static ranges only.
        coding: ``rans`` (entropy coded), ``packed`` (bits) or ``raw`` (bytes).
        lanes: States of the entropy coder: more are faster, each costs bytes; 0 chooses.
        samples: Use at most so many calibration samples.
    """

    noise: float = Field(default=0.01, gt=0, le=10)
    bits_per_element: float | None = Field(default=None, gt=0, le=8)
    quantizer: Literal["entropy", "uniform"] = "entropy"
    bits: int | None = Field(default=None, ge=1, le=8)
    clip: float | None = Field(default=None, gt=0, le=1)
    stripes: int = Field(default=0, ge=0)
    order: Literal["auto", "none", "range", "similarity"] = "auto"
    ranges: Literal["static", "dynamic"] = "static"
    tile: int = Field(default=0, ge=0)
    share_channels: int = Field(default=1, ge=1)
    share_patch: int = Field(default=0, ge=0)
    contexts: bool = True
    restoration: bool = True
    coding: Literal["rans", "packed", "raw"] = "rans"
    lanes: int = Field(default=0, ge=0, le=64)
    samples: int = Field(default=256, ge=1)


class FitCodec(DataPass):
    """Notes the codec of the model's cut."""

    name = "calibrate.fit_codec"
    semantics = APPROXIMATE
    Config = FitCodecConfig

    def call(self, model: ir.Model) -> Outcome:
        """Writes the specification into the metadata of ``model``; nothing else of it changes.

        Raises:
            RecipeError: The model has no cut, or the options contradict each other or the features.
        """
        if read_codec(model) is not None:
            return outcome(model, [], [Skip("", "the codec is fitted already")])
        cut = get_cut(model)
        if cut is None:
            raise RecipeError(
                f"{self.name} needs a cut", remedy="put calibrate.choose_cut before it"
            )
        _require_consistent(self.config)
        probe = Probe(model, cut, self.require_data(), self.config.samples, self.report)
        fit = self._dynamic if self.config.ranges == "dynamic" else self._static
        found = fit(model, probe, cut)
        specification = CodecSpecification(found.features, self.config.coding).check()
        write_codec(model, specification)
        return self._outcome(model, specification, found, probe)

    def _static(self, model: ir.Model, probe: Probe, cut: Sequence[str]) -> _Fitted:
        """Features with calibrated tables, of the best of the patches that may share a code."""
        return min(
            (
                fitted
                for patch in self._patches(probe)
                if (fitted := self._with_patch(model, probe, cut, patch)) is not None
            ),
            key=self._rank,
        )

    def _with_patch(
        self, model: ir.Model, probe: Probe, cut: Sequence[str], patch: int
    ) -> _Fitted | None:
        """Features whose codes stand for patches; None where that alone is too much noise."""
        fits = [
            FeatureFit(
                probe,
                name,
                self._shape(probe, name, patch),
                self._choice(),
                _quantization(model, name).zero_point[0] if self.config.restoration else None,
            )
            for name in cut
        ]
        tried = patch > 1 and not self.config.share_patch and self.config.bits_per_element is None
        if tried and max(fit.sharing_noise for fit in fits) > self.config.noise:
            return None
        found = self._fitted(model, probe, fits)
        if self._needs_more_levels(found):
            for fit in fits:
                fit.choice = Choice("entropy", (_LARGEST_BITS,))
            found = self._fitted(model, probe, fits)
        return found

    def _fitted(self, model: ir.Model, probe: Probe, fits: Sequence[FeatureFit]) -> _Fitted:
        """Features with the quantizers that the budget leaves, and what they come to."""
        found = self._budgeted(model, probe, fits)
        noise = noise_of(probe, fits, found)
        if any(q.restoration is not None for q in found):
            # A filter of least error at the cut may add some at the outputs.
            plain = [dataclasses.replace(q, restoration=None) for q in found]
            without = noise_of(probe, fits, plain)
            found, noise = (plain, without) if without <= noise else (found, noise)
        features, bits = self._coded(model, fits, found)
        return _Fitted(tuple(features), noise, bits)

    def _coded(
        self, model: ir.Model, fits: Sequence[FeatureFit], found: Sequence[Quantized]
    ) -> tuple[list[Feature], float]:
        """Features with their frequencies, and bits of a sample."""
        features = [
            self._modelled(_feature(model, fit, q), q.codes)
            for fit, q in zip(fits, found, strict=True)
        ]
        return features, self._bits(features, [q.codes for q in found])

    def _dynamic(self, model: ir.Model, probe: Probe, cut: Sequence[str]) -> _Fitted:
        """Features with ranges of their own in each sample, of the best number of bits."""
        tried = dynamic.BITS if self.config.bits is None else (self.config.bits,)
        shapes = {name: self._shape(probe, name, max(1, self.config.share_patch)) for name in cut}
        made = []
        for bits in tried:
            bare = [
                dynamic.with_bits(_bare(model, name, shape, self.config), bits)
                for name, shape in shapes.items()
            ]
            codes = dynamic.encode(probe, bare)
            features = [self._modelled(f, c) for f, c in zip(bare, codes, strict=True)]
            noise = dynamic.noise_of(probe, features)
            made.append(_Fitted(tuple(features), noise, self._bits(features, codes)))
        return min(made, key=self._rank)

    def _needs_more_levels(self, found: _Fitted) -> bool:
        """Whether the budget has use for more levels, and nobody said how many to use."""
        config = self.config
        if config.quantizer != "entropy" or config.bits is not None:
            return False
        if config.bits_per_element is None:
            return bool(found.noise > config.noise)
        elements = sum(feature.elements for feature in found.features)
        return bool(found.bits < _SPENT * config.bits_per_element * elements)

    def _rank(self, fitted: _Fitted) -> tuple[float, float]:
        """The smaller the better: within the budget first, then what the budget leaves open."""
        budget = self.config.bits_per_element
        if budget is None:
            return max(fitted.noise / self.config.noise, 1.0), fitted.bits
        elements = sum(feature.elements for feature in fitted.features)
        return max(fitted.bits / elements / budget, 1.0), fitted.noise

    def _choice(self) -> Choice:
        config = self.config
        if config.quantizer == "entropy":
            return Choice("entropy", (config.bits or _ENTROPY_BITS,))
        clips = CLIPS if config.clip is None else (config.clip,)
        return Choice("uniform", (config.bits,) if config.bits else _UNIFORM_BITS, clips)

    def _budgeted(
        self, model: ir.Model, probe: Probe, fits: Sequence[FeatureFit]
    ) -> list[Quantized]:
        """The quantizers that the budget leaves."""
        config = self.config
        if config.quantizer == "uniform" and config.bits and config.bits_per_element is None:
            return [fit.quantize(0.0) for fit in fits]  # Nothing but the clip to choose.
        if config.bits_per_element is None:
            return search(fits, lambda found: noise_of(probe, fits, found) <= config.noise, True)
        budget = config.bits_per_element * sum(probe.features[fit.name][0].size for fit in fits)

        def within(found: Sequence[Quantized]) -> bool:
            return bool(self._coded(model, fits, found)[1] <= budget)

        return search(fits, within, False)

    def _modelled(self, feature: Feature, codes: NDArray[np.uint8]) -> Feature:
        if self.config.coding != "rans":
            return feature
        return model_codes(feature, codes, contexts=self.config.contexts, lanes=self.config.lanes)

    def _bits(self, features: Sequence[Feature], codes: Sequence[NDArray[np.uint8]]) -> float:
        """Bits of a sample, side data included, the frame's header not."""
        total = 8.0 * sum(feature.side_bytes for feature in features)
        for feature, array in zip(features, codes, strict=True):
            if self.config.coding == "rans":
                total += ideal_bits(array, feature) / len(array)
            elif self.config.coding == "packed":
                total += packed_bits(feature.stripes, math.prod(feature.code_plane))
            else:
                total += 8.0 * feature.codes
        return total

    def _patches(self, probe: Probe) -> list[int]:
        """Sides of patches to try."""
        if self.config.share_patch:
            return [self.config.share_patch]
        planes = [as_planes(array[:1]).shape[2:] for array in probe.features.values()]
        side = max(max(plane) for plane in planes)
        small = [patch for patch in (1, 2) if patch <= side]
        return [*small, side] if 2 < side <= _LARGEST_PATCH else small

    def _shape(self, probe: Probe, name: str, patch: int) -> Shape:
        """Order, stripes and sharing of one feature.

        Raises:
            RecipeError: Its channels cannot be divided so.
        """
        config = self.config
        planes = as_planes(probe.features[name])
        channels = planes.shape[1]
        if channels % config.share_channels:
            raise RecipeError(
                f"{self.name}.share_channels is {config.share_channels}, which does not divide the "
                f"{channels} channels of {name}",
                remedy="give a divisor",
            )
        side = max(planes.shape[2:])
        if patch > side:
            raise RecipeError(
                f"{self.name}.share_patch is {patch}, and the planes of {name} are "
                f"{planes.shape[2]} by {planes.shape[3]}",
                remedy=f"give at most {side}, or 0 to let it be chosen",
            )
        wire = channels // config.share_channels
        stripes = config.stripes or wire
        if stripes > wire:
            raise RecipeError(
                f"{self.name}.stripes is {stripes}, and {name} has {wire} channels of codes",
                remedy=f"give at most {wire}, or 0 for one a channel",
            )
        kind: str = config.order
        if kind == "auto":
            kind = "similarity" if stripes < wire or config.share_channels > 1 else "none"
        sizes = [len(part) for part in np.array_split(np.arange(wire), stripes)]
        order = tuple(channel_order(planes, kind))
        return Shape(order, tuple(sizes), config.share_channels, patch)

    def _outcome(
        self, model: ir.Model, specification: CodecSpecification, found: _Fitted, probe: Probe
    ) -> Outcome:
        elements = specification.elements
        facts = {
            "samples": probe.samples,
            "noise": found.noise,
            "bits_per_element": found.bits / elements,
            "features": [_describe(feature) for feature in specification.features],
        }
        why = f"relative noise {found.noise:.3g} at the outputs on {probe.samples} samples"
        changes = [
            Change(
                "codec",
                feature.source,
                f"{feature.elements} int8",
                f"{feature.codes} codes in {len(feature.stripes)} stripes",
                why,
            )
            for feature in specification.features
        ]
        return outcome(model, changes, facts={**facts, "warnings": self._missed(found, elements)})

    def _missed(self, found: _Fitted, elements: int) -> list[str]:
        """What to tell the user of a budget that was not met.

        Raises:
            RecipeError: A budget of bits was asked for, and no codec of these options is within it.
        """
        budget = self.config.bits_per_element
        if budget is not None and found.bits > budget * elements * _SLACK:
            raise RecipeError(
                f"{self.name}: {budget:g} bits an element are asked for, and these options need "
                f"{found.bits / elements:.3g} at least",
                remedy="give more bits, quantizer=entropy with coding=rans, or fewer stripes",
            )
        if budget is None and found.noise > self.config.noise:
            return [
                f"{self.name}: the codec's noise is {found.noise:.3g}, above the "
                f"{self.config.noise:g} asked for: these options have no finer codes"
            ]
        if found.noise > _LOUD:
            return [
                f"{self.name}: {found.bits / elements:.3g} bits an element leave noise of "
                f"{found.noise:.2g} of what the outputs vary by: check the accuracy, or give more"
            ]
        return []


@dataclasses.dataclass(frozen=True)
class _Fitted:
    """Features with all they need, the noise that they make, and bits of a sample."""

    features: tuple[Feature, ...]
    noise: float
    bits: float


def _require_consistent(config: FitCodecConfig) -> None:
    """Refuses options that say nothing together.

    Raises:
        RecipeError: There are such.
    """
    name = FitCodec.name
    if config.tile and config.ranges == "static":
        raise RecipeError(
            f"{name}.tile is for dynamic ranges", remedy=f"set {name}.ranges=dynamic too"
        )
    if config.clip is not None and (config.quantizer, config.ranges) != ("uniform", "static"):
        raise RecipeError(
            f"{name}.clip is for uniform quantizers with static ranges",
            remedy=f"set {name}.quantizer=uniform, or leave clip out",
        )
    if config.coding != "rans" and config.lanes:
        raise RecipeError(f"{name}.lanes is for coding rans", remedy="leave it out")
    given = config.model_fields_set
    if config.coding != "rans" and "contexts" in given and config.contexts:
        raise RecipeError(f"{name}.contexts is for coding rans", remedy="leave it out")
    if config.bits_per_element is not None and "noise" in given:
        raise RecipeError(
            f"{name}.noise and {name}.bits_per_element are two budgets",
            remedy="give one: the noise follows from the bits, or the bits from the noise",
        )
    if config.ranges == "dynamic" and "restoration" in given and config.restoration:
        raise RecipeError(f"{name}.restoration is for static ranges", remedy="leave it out")
    if config.ranges == "dynamic" and "quantizer" in given and config.quantizer == "entropy":
        raise RecipeError(
            f"{name}.quantizer=entropy is for static ranges",
            remedy="leave it out: codes of a range that is sent along are uniform",
        )


def _value(model: ir.Model, name: str) -> ir.Value:
    return next(value for value in all_values(model) if value.name == name)


def _quantization(model: ir.Model, name: str) -> TensorQuantization:
    """What the integers of a value mean.

    Raises:
        RecipeError: Nothing says so.
    """
    found = get_quantization(_value(model, name))
    if found is None:
        raise RecipeError(f"the scale of {name} is not known")
    return found


def _bare(model: ir.Model, name: str, shape: Shape, config: FitCodecConfig) -> Feature:
    """A feature without tables and frequencies."""
    value, quantization = _value(model, name), _quantization(model, name)
    if value.shape is None:
        raise RecipeError(f"the shape of {name} is not known")
    return Feature(
        name=name,
        source=get_source_value(value) or name,
        shape=tuple(int(str(d)) for d in list(value.shape)[1:]),
        scale=quantization.scale[0],
        zero_point=quantization.zero_point[0],
        order=shape.order,
        stripes=tuple(Stripe(count, 1) for count in shape.stripes),
        ranges=config.ranges,
        tile=config.tile,
        share_channels=shape.share,
        share_patch=shape.patch,
    )


def _feature(model: ir.Model, fit: FeatureFit, found: Quantized) -> Feature:
    """A feature with the tables of its quantizers."""
    stripes = tuple(
        Stripe(count, quantizer.levels, tuple(int(c) for c in quantizer.encode))
        for count, quantizer in zip(found.shape.stripes, found.quantizers, strict=True)
    )
    decode = tuple(tuple(int(v) for v in row) for row in found.decode)
    bare = _bare(model, fit.name, found.shape, FitCodecConfig())
    return dataclasses.replace(bare, stripes=stripes, decode=decode, restoration=found.restoration)


def _describe(feature: Feature) -> dict[str, Any]:
    """What the report shows of a feature."""
    return {
        "source": feature.source,
        "shape": list(feature.shape),
        "codes": feature.codes,
        "stripes": [{"channels": s.channels, "levels": s.levels} for s in feature.stripes],
        "ranges": feature.ranges,
        "share_channels": feature.share_channels,
        "share_patch": feature.share_patch,
        "contexts": feature.contexts,
        "lanes": feature.lanes,
        "restoration": _describe_restoration(feature.restoration),
    }


def _describe_restoration(found: Restoration | None) -> str:
    if found is None:
        return "none"
    rows, columns = found.kernel
    return f"{rows} x {columns}, {'all channels' if found.groups == 1 else 'each channel alone'}"
