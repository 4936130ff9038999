"""What ``verify`` runs the artifacts on: stored or given samples, and generated ones.

Everything is streamed: only one batch is in memory. Generated inputs are made on the integer grid
of the artifacts' inputs, so that every artifact sees exactly the integers that were drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError, RecipeError
from intaglio.targets.base import TensorSpec
from intaglio.transforms.scales import TensorQuantization
from intaglio.verification.comparison import quantization_of

if TYPE_CHECKING:
    from intaglio.fitting.data import CalibrationData, DataOptions

#: How many random inputs are run beside the stored samples.
RANDOM_INPUTS = 64

#: Seed of the random inputs: every run of ``verify`` sees the same.
SEED = 20240

# Real samples that use less than one in so many levels of an input were scaled in another way.
_LEAST_COVERAGE = 16

#: Size of a spatial dimension that neither the model nor a sample fixes.
OPEN_DIMENSION = 32


@dataclass(frozen=True)
class Batch:
    """Some inputs of the model.

    Attributes:
        inputs: Array by input name, in the dtype and layout of the source model.
        count: How many samples it holds.
        generated: Whether they were made up.
        labels: Class of each sample, int64 [count], or None.
        targets: What the output should be, or None.
    """

    inputs: dict[str, NDArray[Any]]
    count: int
    generated: bool = False
    labels: NDArray[np.int64] | None = None
    targets: NDArray[Any] | None = None


class VerifyInputs:
    """The inputs of one verification.

    Args:
        specs: Inputs of the source model.
        quantizations: How the artifacts quantize their inputs, by name.
        data: Real samples, or None.
        limit: Use only the first so many of them.
        generate: Whether to add random and extreme inputs.
    """

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        quantizations: Mapping[str, TensorQuantization],
        data: CalibrationData | None,
        *,
        limit: int | None = None,
        generate: bool = True,
    ) -> None:
        self._specs = list(specs)
        self._quantizations = dict(quantizations)
        self._data = data
        self._limit = limit
        self._generate = generate
        self._example = data.head(1) if data is not None else {}

    @property
    def real(self) -> int:
        """How many real samples there are."""
        if self._data is None:
            return 0
        count = len(self._data)
        return count if self._limit is None else min(count, self._limit)

    @property
    def generated(self) -> int:
        """How many inputs are made up."""
        return RANDOM_INPUTS + 3 if self._generate else 0

    @property
    def has_labels(self) -> bool:
        """Whether the class of each real sample is known."""
        return self._data is not None and self._data.labels() is not None

    @property
    def has_targets(self) -> bool:
        """Whether the right output of each real sample is known."""
        return self._data is not None and next(self._data.target_batches(1, 1), None) is not None

    @property
    def open_batch(self) -> bool:
        """Whether the source model leaves the number of samples in a run open."""
        return all(spec.shape and isinstance(spec.shape[0], str) for spec in self._specs)

    def batches(self, size: int) -> Iterator[Batch]:
        """Streams the real samples, then the generated ones, ``size`` at a time where open."""
        if self._data is not None:
            yield from self._real_batches(self._data, size)
        if self._generate:
            yield from self._generated_batches(size)

    def _real_batches(self, data: CalibrationData, size: int) -> Iterator[Batch]:
        labels = data.labels()
        targets = data.target_batches(size, self._limit) if self.has_targets else None
        start = 0
        for inputs in data.batches(size, self._limit):
            # Without a batch axis of its own a run holds a single sample.
            count = data.fixed_batch or len(next(iter(inputs.values())))
            yield Batch(
                inputs,
                count,
                labels=None if labels is None else labels[start : start + count],
                targets=None if targets is None else next(targets),
            )
            start += count

    def _generated_batches(self, size: int) -> Iterator[Batch]:
        rows = [self._batch_rows(spec, size) for spec in self._specs]
        step = rows[0] if rows else 1
        generator = np.random.default_rng(SEED)
        kinds = ["random"] * RANDOM_INPUTS + ["minimum", "maximum", "zero"]
        for start in range(0, len(kinds), step):
            chosen = kinds[start : start + step]
            # A fixed batch dimension is filled up with more random inputs.
            if not self.open_batch:
                chosen += ["random"] * (step - len(chosen))
            inputs = {spec.name: self._made(spec, chosen, generator) for spec in self._specs}
            yield Batch(inputs, len(chosen), generated=True)

    def _batch_rows(self, spec: TensorSpec, size: int) -> int:
        if not spec.shape or self._is_single(spec):
            return 1
        first = spec.shape[0]
        return first if isinstance(first, int) else size

    def _is_single(self, spec: TensorSpec) -> bool:
        """Whether a run holds one sample without a batch axis of its own."""
        return self._data is not None and self._example[spec.name].ndim == len(spec.shape) + 1

    def _made(
        self, spec: TensorSpec, kinds: Sequence[str], generator: np.random.Generator
    ) -> NDArray[Any]:
        rows = [self._make_one(spec, kind, generator) for kind in kinds]
        if not spec.shape or self._is_single(spec):
            return rows[0]
        return np.stack(rows)

    def _make_one(
        self, spec: TensorSpec, kind: str, generator: np.random.Generator
    ) -> NDArray[Any]:
        shape = self._sample_shape(spec)
        dtype = np.dtype(spec.dtype)
        quantization = quantization_of(spec) or self._quantizations.get(spec.name)
        if quantization is not None and dtype.kind in "fiu":
            low, high = quantization.minimum, quantization.maximum
            if kind == "random":
                integers = generator.integers(low, high, shape, endpoint=True)
            else:
                corners = {"minimum": low, "maximum": high, "zero": quantization.zero_point[0]}
                integers = np.full(shape, corners[kind], np.int64)
            if dtype.kind in "iu":
                return integers.astype(dtype)
            return np.asarray(quantization.dequantize(integers).astype(dtype))
        bottom, top = self._sampled_range(spec)
        if kind == "random":
            if dtype.kind == "f":
                return generator.uniform(bottom, top, shape).astype(dtype)
            drawn = generator.integers(int(bottom), int(top), shape, endpoint=True)
            return drawn.astype(dtype)
        value = {"minimum": bottom, "maximum": top, "zero": min(max(0, bottom), top)}[kind]
        return np.full(shape, value).astype(dtype)

    def _sample_shape(self, spec: TensorSpec) -> tuple[int, ...]:
        """Shape of one sample: known dimensions, else those of a real sample, else a default."""
        single = self._is_single(spec)
        dimensions = spec.shape if single else spec.shape[1:]
        example = self._example[spec.name].shape[1:] if spec.name in self._example else ()
        found = []
        for index, dimension in enumerate(dimensions):
            if isinstance(dimension, int):
                found.append(dimension)
            else:
                found.append(example[index] if index < len(example) else OPEN_DIMENSION)
        return tuple(found)

    def _sampled_range(self, spec: TensorSpec) -> tuple[float, float]:
        """Range of an input that is not quantized: that of a real sample, else [0, 1].

        Integers of 8 bits are pictures rather than places in a list: all of them occur.
        """
        example = self._example.get(spec.name)
        if example is None or example.size == 0:
            if spec.dtype in ("int8", "uint8"):
                return int(np.iinfo(spec.dtype).min), int(np.iinfo(spec.dtype).max)
            return 0, 1
        return example.min().item(), example.max().item()


class Coverage:
    """How much of the integer range of the inputs real samples use.

    Pictures that were scaled in another way than for training fill some levels only, or one, and
    then everything agrees and nothing is proved.

    Args:
        specs: Inputs of the source model.
    """

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        found = {spec.name: quantization_of(spec) for spec in specs}
        self._quantizations = {name: known for name, known in found.items() if known is not None}
        self._ranges: dict[str, tuple[int, int]] = {}
        self._counts: dict[str, int] = {}

    def add(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Takes real samples into account, in the source's own integers."""
        for name in self._quantizations:
            array = inputs[name]
            low, high = self._ranges.get(name, (2**31, -(2**31)))
            self._ranges[name] = (min(low, int(array.min())), max(high, int(array.max())))
            self._counts[name] = self._counts.get(name, 0) + array.size

    def warnings(self) -> list[str]:
        """A sentence for each input that is hardly used."""
        found = []
        for name, (low, high) in self._ranges.items():
            known = self._quantizations[name]
            levels = known.maximum - known.minimum + 1
            if self._counts[name] < levels or (high - low + 1) * _LEAST_COVERAGE > levels:
                continue
            ends = np.array([low, high, known.minimum, known.maximum])
            used, takes = np.split(known.dequantize(ends), 2)
            found.append(
                f"the samples use {used[0]:.4g} to {used[1]:.4g} of input '{name}', which takes "
                f"{takes[0]:.4g} to {takes[1]:.4g}: scale them as for training (pictures with "
                "--set data.scale, data.mean and data.std of convert)"
            )
        return found


def open_inputs(
    source: str | Path | Mapping[str, NDArray[Any]],
    specs: Sequence[TensorSpec],
    options: DataOptions | None = None,
) -> CalibrationData:
    """Opens what ``--inputs`` names.

    Raises:
        InputError: It is missing, damaged or does not fit the model's inputs.
        RecipeError: The options of the recipe do not fit it.
    """
    from intaglio.fitting.data import open_data

    if isinstance(source, (str, Path)) and not Path(source).exists():
        raise InputError(f"there is no data at {source}", remedy="check the path of --inputs")
    return open_data(source, specs, options=options)


def check_limit(samples: int | None) -> None:
    """Refuses a number of samples that makes no sense.

    Raises:
        RecipeError: It is below 1.
    """
    if samples is not None and samples < 1:
        raise RecipeError(f"--samples {samples} leaves nothing to verify", remedy="give 1 or more")
