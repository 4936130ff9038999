"""The table of a split model: what each way to send a sample takes, and what it costs.

Ways that send features go through the unsplit model's tail; pictures of the input go through the
float model, where the bundle keeps it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.base import Artifact, RunResult
from intaglio.transforms.split.specification import CodecSpecification
from intaglio.verification.accuracy import Accuracy
from intaglio.verification.comparison import quantization_of, to_real
from intaglio.verification.inputs import Batch
from intaglio.verification.report import SOURCE, UNSPLIT, finite_or_none
from intaglio.verification.runs import Side
from intaglio.verification.split_baselines import (
    FORMATS,
    PictureQuality,
    Tail,
    find_quality,
    from_pixels,
    is_picture,
    quantize_uniform,
    through_pictures,
    to_pixels,
)

Arrays = Mapping[str, NDArray[Any]]

#: Pictures that the quality is sought with.
SOUGHT = 256

_UNIFORM = {
    "uniform 4 bits, a tensor": (4, False),
    "uniform 4 bits, a channel": (4, True),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A way to send a sample.

    Attributes:
        name: What is sent.
        bytes: Of a sample, in the mean.
        ratio_fp32: How many times less than the features as floats.
        ratio_u8: Likewise as bytes.
        metrics: As in ``accuracy``; agreement is with the float model.
        note: What is counted, and what else to know.
    """

    name: str
    bytes: float
    ratio_fp32: float
    ratio_u8: float
    metrics: Mapping[str, float]
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Returns the row as JSON-friendly data."""
        data = dataclasses.asdict(self)
        data["metrics"] = {key: finite_or_none(value) for key, value in self.metrics.items()}
        return data


class Baselines:
    """Runs the other ways on real samples.

    Args:
        codec: The codec.
        tail: The unsplit model behind the cut.
        whole: The unsplit model's artifact.
        source: The float model, or None.
        metric: The metric, or None.
        largest: Bytes that a picture may have.
    """

    def __init__(
        self,
        codec: CodecSpecification,
        tail: Tail,
        whole: Artifact,
        source: Side | None,
        metric: str | None,
        largest: float,
    ) -> None:
        self._codec = codec
        self._tail = tail
        self._outputs = {spec.name: spec for spec in whole.outputs}
        self._source = source
        self._accuracy = Accuracy(metric)
        self._largest = largest
        self._bytes: dict[str, int] = {}
        self._count = 0
        spec = whole.inputs[0]
        # Pictures are looked at by the float model, which has to take the same single input.
        fits = len(whole.inputs) == 1 and source is not None and is_picture(spec)
        self._picture = spec if fits else None
        self._qualities: dict[str, PictureQuality] = {}

    def seek(self, feeds: Iterable[Arrays]) -> None:
        """Finds the quality of pictures.

        Args:
            feeds: The first samples, batch by batch, as the unsplit model takes them.
        """
        if self._picture is None:
            return
        found: list[NDArray[np.uint8]] = []
        for feed in feeds:
            found.append(to_pixels(feed[self._picture.name]))
            if sum(map(len, found)) >= SOUGHT:
                break
        pixels = np.concatenate(found)[:SOUGHT]
        self._qualities = {kind: find_quality(pixels, kind, self._largest) for kind in FORMATS}

    def add(self, batch: Batch, whole: RunResult, feed: Arrays) -> None:
        """Takes a batch into account.

        Args:
            batch: Real samples.
            whole: Outputs of the unsplit model, and its features.
            feed: The samples as it takes them.
        """
        features = {f.name: whole.inner[f.name] for f in self._codec.features}
        count = len(next(iter(features.values())))
        found: dict[str, Arrays] = {}
        for name, (bits, per_channel) in _UNIFORM.items():
            pairs = {
                key: quantize_uniform(each, bits, per_channel=per_channel)
                for key, each in features.items()
            }
            restored = self._tail.run({key: each for key, (each, _) in pairs.items()})
            found[name] = self._real(restored)
            self._bytes[name] = sum(size for _, size in pairs.values())
        if self._source is not None:
            run = self._source.run(batch.inputs, {})
            if run is not None:
                found[SOURCE] = run.outputs
        found.update(self._add_pictures(feed))
        self._count += count
        self._accuracy.add(found, batch.count, batch.labels, batch.targets)

    def _add_pictures(self, feed: Arrays) -> dict[str, Arrays]:
        if self._picture is None or self._source is None:
            return {}
        name = self._picture.name
        pixels = to_pixels(feed[name])
        found: dict[str, Arrays] = {}
        for kind, chosen in self._qualities.items():
            restored, size = through_pictures(pixels, kind, chosen.quality)
            self._bytes[kind] = self._bytes.get(kind, 0) + size
            run = self._source.run({name: self._as_source_takes(from_pixels(restored))}, {})
            if run is not None:
                found[kind] = run.outputs
        return found

    def _as_source_takes(self, values: NDArray[np.int8]) -> NDArray[Any]:
        """int8 of the integer model as the float model's input."""
        if self._picture is None or self._source is None:
            return values
        spec = next(s for s in self._source.artifact.inputs if s.name == self._picture.name)
        if spec.dtype == "uint8":
            return (values.astype(np.int16) + 128).astype(np.uint8)
        known = quantization_of(self._picture)
        if known is None or np.dtype(spec.dtype).kind != "f":
            return values
        return known.dequantize(values).astype(spec.dtype)

    def _real(self, outputs: Arrays) -> dict[str, NDArray[Any]]:
        return {name: to_real(array, self._outputs[name]) for name, array in outputs.items()}

    def rows(
        self, results: Mapping[str, Mapping[str, float]], traffic: Mapping[str, float]
    ) -> list[Row]:
        """All ways, those of this bundle first.

        Args:
            results: Accuracy of ``source``, ``unsplit`` and ``split``.
            traffic: What the frames took.
        """
        elements = self._codec.elements
        rows = []
        if SOURCE in results:
            rows.append(self._row("float model, features as floats", 4 * elements, results[SOURCE]))
        rows.append(self._row("uniform 8 bits, the unsplit model", elements, results.get(UNSPLIT)))
        split = results.get("split")
        rows.append(
            self._row("split, one sample a message", traffic["bytes"], split, "whole messages")
        )
        if "bytes_batched" in traffic:
            name = f"split, {traffic['batch']:.0f} samples a message"
            rows.append(self._row(name, traffic["bytes_batched"], split, "whole messages"))
        others = self._accuracy.results()
        for name in _UNIFORM:
            note = "codes packed, not entropy coded, and ranges; no header"
            rows.append(self._row(name, self._bytes[name], others.get(name), note))
        for name, quality in self._qualities.items():
            note = f"of the input, quality {quality.quality}, to the float model"
            if not quality.fits:
                note += "; larger even at the lowest quality"
            mean = self._bytes[name] / self._count
            rows.append(self._row(name, mean, others.get(name), note))
        return rows

    def _row(
        self, name: str, size: float, metrics: Mapping[str, float] | None, note: str = ""
    ) -> Row:
        elements = self._codec.elements
        return Row(name, float(size), 4 * elements / size, elements / size, metrics or {}, note)
