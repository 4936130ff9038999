"""Calibration data: samples of a model's inputs, streamed in batches.

Sources are ``.npz`` and ``.npy`` files, arrays in memory, folders of images and of wav files. All
of them can be read again and again, and none is ever held in memory as a whole.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError, RecipeError
from intaglio.fitting.array_sources import ArraySource, open_arrays
from intaglio.fitting.data_options import DataOptions
from intaglio.fitting.file_sources import open_folder
from intaglio.targets.base import TensorSpec
from intaglio.transforms.scales import TensorQuantization

LABELS_KEY = "labels"
TARGET_KEY = "target"

# Every integer up to here is exact in float32.
_LARGEST_EXACT = 1 << 24


@dataclasses.dataclass(frozen=True)
class _Feed:
    """How the samples of one source become one input.

    Attributes:
        spec: The model's input.
        source: The samples.
        group: Samples in one run: the fixed first dimension of the input, or None if it is open.
        stacked: The source has a sample axis in front of all the input's own dimensions.
    """

    spec: TensorSpec
    source: ArraySource
    group: int | None
    stacked: bool


class CalibrationData:
    """Samples of all inputs of a model.

    Made by :func:`open_data`. The number of samples is ``len(data)``.

    Args:
        feeds: One for each input, with equally many samples.
        labels: Class of each sample, if known.
        target: What the outputs should be, if known.
        description: Where the samples came from.
    """

    def __init__(
        self,
        feeds: Sequence[_Feed],
        labels: ArraySource | None = None,
        target: ArraySource | None = None,
        description: str = "",
    ) -> None:
        self._feeds = list(feeds)
        self._labels = labels
        self._target = target
        self.description = description
        groups = {feed.group for feed in feeds if feed.group is not None}
        if len(groups) > 1:
            raise InputError(
                f"the inputs take {sorted(groups)} samples at once, which differ",
                remedy="bind the batch dimensions to one number with --shape",
            )
        self._group = groups.pop() if groups else None
        count = min(len(feed.source) for feed in feeds)
        self._count = count if self._group is None else count - count % self._group

    def __len__(self) -> int:
        return self._count

    @property
    def fixed_batch(self) -> int | None:
        """Samples in each batch where the model prescribes it, else None."""
        return self._group

    def batches(self, size: int = 1, limit: int | None = None) -> Iterator[dict[str, NDArray[Any]]]:
        """Streams the samples, ready to be fed to the model.

        Args:
            size: Samples in a batch, where the model leaves that open; the last may have fewer.
            limit: Use only the first so many samples (rounded up to a whole batch where the
                model prescribes its size).

        Yields:
            Array by input name, of the input's dtype.

        Raises:
            InputError: A value is NaN or infinite, or does not fit the input's dtype; the file is
                damaged.
        """
        step = size if self._group is None else self._group
        count = len(self) if limit is None else min(limit, len(self))
        if self._group is not None:
            count = min(len(self), math.ceil(count / self._group) * self._group)
        streams = [feed.source.chunks(step, count) for feed in self._feeds]
        start = 0
        for arrays in zip(*streams, strict=True):
            batch = {}
            for feed, array in zip(self._feeds, arrays, strict=True):
                converted = _convert(array, feed.spec, feed.source.label, start)
                batch[feed.spec.name] = converted[0] if feed.stacked else converted
            yield batch
            start += len(arrays[0])

    def head(self, count: int) -> dict[str, NDArray[Any]]:
        """The first ``count`` samples (fewer if there are not so many), one array an input.

        The arrays have the sample axis first, as :func:`open_data` takes them. Of samples with
        different shapes only those up to the first change are returned.
        """
        count = min(count, len(self))
        found = {}
        for feed in self._feeds:
            array = next(iter(feed.source.chunks(max(count, 1), count)))
            found[feed.spec.name] = _convert(array, feed.spec, feed.source.label, 0)
        shortest = min(len(array) for array in found.values())
        return {name: array[:shortest] for name, array in found.items()}

    def labels(self) -> NDArray[np.int64] | None:
        """The class of each sample, or None where the source has no ``labels``."""
        if self._labels is None:
            return None
        return self._labels.whole().reshape(-1)[: len(self)].astype(np.int64)

    def target_batches(self, size: int = 1, limit: int | None = None) -> Iterator[NDArray[Any]]:
        """Streams what the outputs should be, in the batches of :meth:`batches`.

        Yields:
            Targets, sample axis first; nothing where the source has no ``target``.
        """
        if self._target is None:
            return
        count = len(self) if limit is None else min(limit, len(self))
        if self._group is not None:
            count = min(len(self), math.ceil(count / self._group) * self._group)
        yield from self._target.chunks(size if self._group is None else self._group, count)

    def targets(self) -> NDArray[Any] | None:
        """What the output should be for each sample, or None where there is no ``target``."""
        return None if self._target is None else self._target.whole()[: len(self)]


def open_data(
    source: str | Path | Mapping[str, NDArray[Any]],
    inputs: Sequence[TensorSpec],
    *,
    options: DataOptions | None = None,
) -> CalibrationData:
    """Opens calibration data for a model.

    Args:
        source: ``.npz`` with a key for each input (a single array may have any key) and optionally
            ``labels`` and ``target``; ``.npy``; a folder of images or wav files; or arrays by name.
            The first axis counts the samples.
        inputs: The model's inputs.
        options: How files of a folder become numbers.

    Returns:
        The samples; values are checked while they are streamed.

    Raises:
        InputError: The file is missing, damaged or empty, or does not fit the inputs.
        RecipeError: The options do not fit the inputs.
    """
    options = options or DataOptions()
    if isinstance(source, Mapping):
        return _from_arrays(open_arrays(source), inputs, "arrays")
    path = Path(source)
    if not path.exists():
        raise InputError(
            f"there is no calibration data at {path}", remedy="check the path of --calibration"
        )
    if path.is_dir():
        return _from_folder(path, inputs, options)
    if path.suffix.lower() not in (".npz", ".npy"):
        raise InputError(
            f"{path} is neither an .npz nor an .npy file nor a folder",
            remedy="save the samples with numpy.savez, or give a folder of images or wav files",
        )
    return _from_arrays(open_arrays(path), inputs, str(path))


def random_data(inputs: Sequence[TensorSpec], count: int = 64, seed: int = 0) -> CalibrationData:
    """Random samples: standard normal floats, integers from 0 to 127.

    They say nothing about a model's real ranges; users have to ask for them by name.

    Args:
        inputs: The model's inputs.
        count: Samples; rounded up to a whole batch where the model prescribes its size.
        seed: Seed of the generator; the same seed gives the same samples.

    Raises:
        RecipeError: A dimension other than the first is not known.
    """
    generator = np.random.default_rng(seed)
    arrays: dict[str, NDArray[Any]] = {}
    for spec in inputs:
        if any(not isinstance(d, int) for d in spec.shape[1:]):
            raise RecipeError(
                f"random samples need a fixed shape; '{spec.name}' has {spec.shape}",
                remedy=f"bind it, as in --shape {spec.name}=1,3,96,96",
            )
        first = spec.shape[0] if spec.shape and isinstance(spec.shape[0], int) else 1
        rows = math.ceil(count / max(first, 1)) * max(first, 1)
        shape = (rows, *(int(d) for d in spec.shape[1:]))
        if np.issubdtype(np.dtype(spec.dtype), np.floating):
            arrays[spec.name] = generator.standard_normal(shape).astype(spec.dtype)
        else:
            arrays[spec.name] = generator.integers(0, 128, shape).astype(spec.dtype)
    return _from_arrays(open_arrays(arrays), inputs, f"random, seed {seed}")


def _from_folder(
    folder: Path, inputs: Sequence[TensorSpec], options: DataOptions
) -> CalibrationData:
    if len(inputs) != 1:
        raise InputError(
            f"a folder of files gives one input; the model has {len(inputs)}",
            remedy="give an .npz with a key for each input",
        )
    source = open_folder(folder, inputs[0].shape, options)
    return CalibrationData([_feed(inputs[0], source)], description=str(folder))


def _from_arrays(
    arrays: dict[str, ArraySource], inputs: Sequence[TensorSpec], description: str
) -> CalibrationData:
    names = {spec.name for spec in inputs}
    labels = arrays.pop(LABELS_KEY, None) if LABELS_KEY not in names else None
    target = arrays.pop(TARGET_KEY, None) if TARGET_KEY not in names else None
    if len(arrays) == 1 and len(inputs) == 1:
        arrays = {inputs[0].name: next(iter(arrays.values()))}
    _check_keys(set(arrays), names, description)
    feeds = [_feed(spec, arrays[spec.name]) for spec in inputs]
    counts = {feed.source.label: len(feed.source) for feed in feeds}
    for extra in (labels, target):
        if extra is not None:
            counts[extra.label] = len(extra) if extra.shape else 0
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{label}: {count}" for label, count in counts.items())
        raise InputError(
            f"the numbers of samples differ ({listed})", remedy="the first axis counts samples"
        )
    if labels is not None:
        _check_labels(labels)
    return CalibrationData(feeds, labels, target, description)


def _check_keys(keys: set[str], names: set[str], description: str) -> None:
    known = ", ".join([*sorted(names), LABELS_KEY, TARGET_KEY])
    missing, unknown = sorted(names - keys), sorted(keys - names)
    if not keys or missing:
        raise InputError(
            f"{description} has no samples for {', '.join(missing)}", remedy=f"keys may be: {known}"
        )
    if unknown:
        raise InputError(
            f"{description} has unknown keys: {', '.join(unknown)}", remedy=f"keys may be: {known}"
        )


def _check_labels(labels: ArraySource) -> None:
    whole = math.prod(int(d or 0) for d in labels.shape)
    if not np.issubdtype(labels.dtype, np.integer) or whole != len(labels):
        raise InputError(
            f"{labels.label} has shape {labels.shape} and dtype {labels.dtype}",
            remedy="give one integer class index a sample",
        )


def _feed(spec: TensorSpec, source: ArraySource) -> _Feed:
    """Matches the shape of a source with an input."""
    shape, dims = source.shape, spec.shape
    if shape and len(source) == 0:
        raise InputError(f"{source.label} holds no samples", remedy="give at least one")
    _check_dtype(spec, source)
    if dims and len(shape) == len(dims) and _agree(shape[1:], dims[1:]):
        group = dims[0] if isinstance(dims[0], int) else None
        if group is not None and len(source) < group:
            raise InputError(
                f"{source.label} holds {len(source)} samples; the model takes {group} at once",
                remedy=f"give at least {group}, or bind the batch with --shape",
            )
        return _Feed(spec, source, group, stacked=False)
    if len(shape) == len(dims) + 1 and _agree(shape[1:], dims):
        return _Feed(spec, source, 1, stacked=True)
    raise InputError(
        f"{source.label} has shape {_show(shape)}; input '{spec.name}' takes {_show(dims)}",
        remedy=_shape_remedy(shape, dims),
    )


def _agree(shape: Sequence[int | None], dims: Sequence[int | str]) -> bool:
    if len(shape) != len(dims):
        return False
    known = zip(shape, dims, strict=True)
    return all(n is None or not isinstance(d, int) or n == d for n, d in known)


def _show(shape: Sequence[int | str | None]) -> str:
    return "×".join("?" if d is None else str(d) for d in shape) or "one number"


def _shape_remedy(shape: Sequence[int | None], dims: Sequence[int | str]) -> str:
    if len(shape) == len(dims) == 4:
        if _agree((shape[3], shape[1], shape[2]), dims[1:]):
            return "channels are last in it and first in the model: transpose it by (0, 3, 1, 2)"
        if _agree((shape[2], shape[3], shape[1]), dims[1:]):
            return "channels are first in it and last in the model: transpose it by (0, 2, 3, 1)"
    if len(shape) == len(dims) - 1 and _agree(shape, dims[1:]):
        return "it seems to be a single sample: add the sample axis in front, x[None]"
    return f"give an array of shape {_show(('samples', *dims[1:]))}"


def _check_dtype(spec: TensorSpec, source: ArraySource) -> None:
    wanted, given = np.dtype(spec.dtype), source.dtype
    if spec.scale is not None and given.kind == "f":
        return
    fits = given.kind in "iuf" if wanted.kind == "f" else given.kind in "iu" and wanted.kind in "iu"
    if wanted.kind == "b":
        fits = given.kind == "b"
    if not fits:
        raise InputError(
            f"{source.label} has dtype {given}; input '{spec.name}' takes {wanted}",
            remedy=f"convert it with astype('{wanted}')",
        )


def _convert(array: NDArray[Any], spec: TensorSpec, label: str, start: int) -> NDArray[Any]:
    """Converts to the input's dtype where that keeps the meaning; real values are quantized.

    Args:
        array: Some samples.
        spec: The input.
        label: What to call the source.
        start: Index of the first of the samples.

    Returns:
        The samples in the input's dtype, C-contiguous.

    Raises:
        InputError: NaN, infinity, or a number that the dtype cannot hold; names the sample.
    """
    wanted = np.dtype(spec.dtype)
    if array.dtype.kind == "f":
        # Overflow to infinity in a narrower type is caught right below.
        with np.errstate(over="ignore", invalid="ignore"):
            array = array.astype(wanted if wanted.kind == "f" else np.float64, copy=False)
        bad = ~np.isfinite(array)
        if spec.scale is not None and not bad.any():
            array = TensorQuantization(spec.dtype, (spec.scale,), (spec.zero_point or 0,)).quantize(
                array
            )
        what = "holds NaN or infinity"
    elif wanted.kind == "f":
        # Integers narrower than 24 bits cannot fail this.
        wide = array.dtype.itemsize > 2
        bad = (array > _LARGEST_EXACT) | (array < -_LARGEST_EXACT) if wide else np.zeros(1, bool)
        what = "holds integers that float32 cannot represent"
    elif wanted.kind in "iu" and array.dtype != wanted:
        limits = np.iinfo(wanted)
        bad = (array > limits.max) | (array < limits.min)
        what = f"holds integers that {wanted} cannot represent"
    else:
        return np.ascontiguousarray(array)
    if bad.any():
        index = start + int(np.argwhere(bad.reshape(len(array), -1).any(axis=1))[0, 0])
        raise InputError(
            f"{label}: sample {index} {what}", remedy="remove that sample, or repair the data"
        )
    return np.ascontiguousarray(array.astype(wanted, copy=False))


__all__ = ["CalibrationData", "DataOptions", "open_data", "random_data"]
