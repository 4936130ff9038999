"""Runs ``.tosa`` files in the TOSA reference model, in a child process of its own environment."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError
from intaglio.targets.base import RunResult, Session, Tensors, TensorSpec
from intaglio.targets.tosa.environment import Environment, require_environment
from intaglio.targets.tosa.flatfile import (
    FileTensor,
    TosaFile,
    read_tosa,
    read_tosa_file,
    with_outputs,
)
from intaglio.targets.tosa.process import Child

#: Seconds that the reference model may take to answer one request.
DEFAULT_TIMEOUT_S = 300.0

# A request of many samples is kept to what takes about so long, and to so many bytes each way.
_REQUEST_S = 2.0
_REQUEST_BYTES = 1 << 24

_AGAIN = "the file is not the one that was described; convert again"


class TosaSession(Session):
    """A ``.tosa`` file opened in the reference model.

    Args:
        path: The file.
        inputs: The file's inputs in order, under the names and types that callers use.
        outputs: Its outputs, likewise.
        timeout_s: Seconds that one request may take.
        environment: Where the reference model is; None for the one that is found.

    Raises:
        InputError: The file is missing or damaged, or not the one that the specs describe.
        ToolError: There is no reference model, or not one of the right version.
    """

    def __init__(
        self,
        path: Path,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        environment: Environment | None = None,
    ) -> None:
        self._path = Path(path)
        self._data = read_tosa_file(self._path)
        self._file = read_tosa(self._data, str(self._path))
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        _check_border(self._path, self._file, self._inputs, self._outputs)
        self._timeout_s = timeout_s
        self._environment = require_environment() if environment is None else environment
        self._child: Child | None = None
        self._loaded: tuple[str, ...] | None = None
        self._start()

    @property
    def file(self) -> TosaFile:
        """The file's tensors and operators."""
        return self._file

    @property
    def child(self) -> Child:
        """The child process, started anew where it has crashed."""
        if self._child is None or not self._child.alive:
            return self._start()
        return self._child

    def run(self, inputs: Tensors, *, inner: Sequence[str] = ()) -> RunResult:
        """Runs the file; see :meth:`intaglio.targets.base.Session.run`.

        Raises:
            InputError: A missing or unknown input, a wrong shape or dtype; or the reference model
                refuses the file.
            ToolError: The reference model failed, crashed, or gave no answer in time.
        """
        batch = {name: np.asarray(value)[None] for name, value in inputs.items()}
        found = self.run_many(batch, inner=inner)
        return RunResult(
            {name: value[0] for name, value in found.outputs.items()},
            {name: value[0] for name, value in found.inner.items()},
        )

    def run_many(self, inputs: Tensors, *, inner: Sequence[str] = ()) -> RunResult:
        """Runs the file on many samples, each by itself.

        Args:
            inputs: Array by input name with a leading sample axis: ``[n, *shape of the input]``.
            inner: Names of tensors of the file to return too, in the file's dtypes and shapes.

        Returns:
            Outputs, and the inner tensors that exist, with the same leading axis.

        Raises:
            InputError: A missing or unknown input, a wrong shape or dtype; or the reference model
                refuses the file.
            ToolError: The reference model failed, crashed, or gave no answer in time.
        """
        arrays = self._check(inputs)
        # What no operator makes is an input, and stands for itself.
        made = {name for operator in self._file.operators for name in operator.outputs}
        known = {name: self._file.tensors[name] for name in inner if name in self._file.tensors}
        wanted = [name for name in known if name in made]
        results = self._ask(arrays, wanted)
        samples = len(results[0])
        outputs = {
            spec.name: _as_described(array, spec, samples)
            for spec, array in zip(self._outputs, results, strict=False)
        }
        rest = dict(zip(wanted, results[len(self._outputs) :], strict=True))
        rest |= {
            name: array
            for name, array in zip(self._file.inputs, arrays, strict=True)
            if name in known
        }
        return RunResult(outputs, {name: rest[name] for name in known if name in rest})

    def close(self) -> None:
        """Ends the child process."""
        if self._child is not None:
            self._child.close()

    def __enter__(self) -> TosaSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> Child:
        self._child = Child(self._environment, str(self._path), timeout_s=self._timeout_s)
        self._loaded = None
        return self._child

    def _ask(self, arrays: Sequence[NDArray[Any]], inner: Sequence[str]) -> list[NDArray[Any]]:
        """Outputs and inner tensors of all samples, asked for a fair number at a time."""
        samples = len(arrays[0]) if arrays else 1
        parts: list[list[NDArray[Any]]] = []
        done, count = 0, 1
        while done < samples:
            child = self._ready(tuple(inner))
            chunk = [array[done : done + count] for array in arrays]
            start = time.perf_counter()
            results = child.run(chunk, count)
            took = (time.perf_counter() - start) / count
            size = sum(array.nbytes for array in (*chunk, *results)) / count
            parts.append(results)
            done += count
            most = min(_REQUEST_S / took, _REQUEST_BYTES / max(size, 1), samples - done)
            count = max(1, int(most))
        return [np.concatenate(p) if len(p) > 1 else p[0] for p in zip(*parts, strict=True)]

    def _ready(self, inner: tuple[str, ...]) -> Child:
        """The child with the file loaded, and these of its tensors among the outputs."""
        child = self.child
        if self._loaded != inner:
            names = [*self._file.outputs, *inner]
            child.load(with_outputs(self._data, names) if inner else self._data)
            self._loaded = inner
        return child

    def _check(self, inputs: Tensors) -> list[NDArray[Any]]:
        """The inputs in the file's order, dtypes and shapes, with their sample axis."""
        names = [spec.name for spec in self._inputs]
        missing, unknown = sorted(set(names) - set(inputs)), sorted(set(inputs) - set(names))
        if missing or unknown:
            raise InputError(
                f"missing inputs {missing}, unknown inputs {unknown}",
                remedy=f"the inputs are {sorted(names)}",
            )
        arrays = [np.asarray(inputs[name]) for name in names]
        for spec, array in zip(self._inputs, arrays, strict=True):
            if array.ndim == 0 or array.shape[1:] != spec.shape or array.dtype.name != spec.dtype:
                raise InputError(
                    f"input '{spec.name}' is {array.dtype.name}{list(array.shape[1:])}",
                    remedy=f"it must be {spec.dtype}{list(spec.shape)}",
                )
        counts = sorted({len(array) for array in arrays})
        if len(counts) > 1 or counts == [0]:
            raise InputError(
                f"inputs with {' and '.join(map(str, counts))} samples",
                remedy="give every input the same number of samples, at least one",
            )
        tensors = [self._file.tensors[name] for name in self._file.inputs]
        return [_as_stored(a, tensor) for a, tensor in zip(arrays, tensors, strict=True)]


def _check_border(
    path: Path, file: TosaFile, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> None:
    """Refuses specs of another file.

    Raises:
        InputError: Their number, a size or a type is not the file's.
    """
    for what, specs, names in (
        ("inputs", inputs, file.inputs),
        ("outputs", outputs, file.outputs),
    ):
        if len(specs) != len(names):
            raise InputError(
                f"'{path}' has {len(names)} {what} where {len(specs)} are due", remedy=_AGAIN
            )
        for spec, name in zip(specs, names, strict=True):
            tensor = file.tensors[name]
            sizes = [dim for dim in spec.shape if isinstance(dim, int)]
            fits = len(sizes) == len(spec.shape) and math.prod(sizes) == math.prod(tensor.shape)
            if not fits or tensor.dtype not in (spec.dtype, spec.dtype.removeprefix("u")):
                raise InputError(
                    f"'{path}' has {tensor.dtype}{list(tensor.shape)} where "
                    f"{spec.dtype}{list(spec.shape)} is due for '{spec.name}'",
                    remedy=_AGAIN,
                )


def _as_stored(array: NDArray[Any], tensor: FileTensor) -> NDArray[Any]:
    """An input as the file has it: TOSA knows no unsigned types, only unsigned readings of them."""
    solid = np.ascontiguousarray(array).reshape(len(array), *tensor.shape)
    stored: NDArray[Any] = solid.view(tensor.dtype)
    return stored


def _as_described(array: NDArray[Any], spec: TensorSpec, samples: int) -> NDArray[Any]:
    """An output as the callers know it."""
    sizes = [dim for dim in spec.shape if isinstance(dim, int)]
    found: NDArray[Any] = np.ascontiguousarray(array).view(spec.dtype).reshape(samples, *sizes)
    return found
