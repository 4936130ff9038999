"""Runs TFLite files: LiteRT, TFLite Micro or tflite-runtime, each in a child process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError, RecipeError
from intaglio.targets.base import RunResult, Session, Tensors, TensorSpec
from intaglio.targets.tflite.child import Child
from intaglio.targets.tflite.runtimes import (
    TfliteRuntime,
    get_runtime,
    known_runtimes,
)
from intaglio.targets.tflite.table import Table, TableEntry, read_table

#: Seconds a runtime may take to load a file or to answer one request.
DEFAULT_TIMEOUT_S = 120.0

# A request of many samples is kept to what takes about so long, and to so many bytes each way.
_REQUEST_S = 0.5
_REQUEST_BYTES = 1 << 24

Border = tuple[Sequence[TensorSpec], Sequence[TensorSpec]]


class TfliteSession(Session):
    """A TFLite file opened in one runtime.

    Args:
        path: The file.
        runtime: Name of one of :func:`.runtimes.installed_runtimes`.
        timeout_s: Seconds that loading the file, or one request, may take.
        specs: Inputs and outputs whose names to use instead of the file's, by position.

    Raises:
        RecipeError: There is no such runtime.
        InputError: The file is missing or damaged, or the runtime refuses it.
        ToolError: The runtime is not installed, crashed, or gave no answer in time.
    """

    def __init__(
        self,
        path: Path,
        runtime: str,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        specs: Border | None = None,
    ) -> None:
        self._path = Path(path)
        self._runtime = _find(runtime)
        self._timeout_s = timeout_s
        self._table = read_table(self._path)
        self._inputs = self._border(self._table.inputs, specs[0] if specs else None)
        self._outputs = self._border(self._table.outputs, specs[1] if specs else None)
        self._indices = {entry.name: i for i, entry in enumerate(self._table.tensors)}
        # A change of name of the border holds for inner tensors, too.
        self._indices.update(zip(self._inputs, self._table.inputs, strict=True))
        self._indices.update(zip(self._outputs, self._table.outputs, strict=True))
        self._child: Child | None = self._start()

    @property
    def table(self) -> Table:
        """The file's tensors."""
        return self._table

    @property
    def child(self) -> Child:
        """The child process, started anew where it has crashed."""
        if self._child is None or not self._child.alive:
            self._child = self._start()
        return self._child

    def run(self, inputs: Tensors, *, inner: Sequence[str] = ()) -> RunResult:
        """Runs the file; see :meth:`intaglio.targets.base.Session.run`.

        Open dimensions of an input (-1 in its signature) may have any size in LiteRT and
        tflite-runtime; in TFLite Micro they have the size that the file states. Models with
        variables start from their initial state.

        Raises:
            InputError: A missing or unknown input, a wrong shape or dtype.
            ToolError: The runtime failed, crashed, or gave no answer in time.
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
            inner: Names of inner tensors to return too.

        Returns:
            Outputs, and the inner tensors that exist, with the same leading axis.

        Raises:
            InputError: A missing or unknown input, a wrong shape or dtype.
            ToolError: The runtime failed, crashed, or gave no answer in time.
        """
        arrays = self._check(inputs)
        wanted = {name: self._indices[name] for name in inner if name in self._indices}
        have, results = self._ask(arrays, sorted(set(wanted.values())))
        outputs, rest = results[: len(self._outputs)], results[len(self._outputs) :]
        by_index = dict(zip(have, rest, strict=True))
        return RunResult(
            dict(zip(self._outputs, outputs, strict=True)),
            {name: by_index[index] for name, index in wanted.items() if index in by_index},
        )

    def sample(self, seed: int = 0) -> dict[str, NDArray[Any]]:
        """Random inputs of the file's dtypes and shapes; open dimensions as the file states."""
        rng = np.random.default_rng(seed)
        return {
            name: _random(rng, self._table.tensors[index])
            for name, index in zip(self._inputs, self._table.inputs, strict=True)
        }

    def close(self) -> None:
        """Ends the child process."""
        if self._child is not None:
            self._child.close()

    def __enter__(self) -> TfliteSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(
        self, arrays: Sequence[NDArray[Any]], inner: Sequence[int]
    ) -> tuple[list[int], list[NDArray[Any]]]:
        """Outputs and inner tensors of all samples, asked for a fair number at a time."""
        samples = len(arrays[0]) if arrays else 1
        have: list[int] = []
        parts: list[list[NDArray[Any]]] = []
        done, count = 0, 1
        while done < samples:
            chunk = [array[done : done + count] for array in arrays]
            start = time.perf_counter()
            reply, results = self.child.call("run", chunk, inner=list(inner))
            took = (time.perf_counter() - start) / count
            size = sum(array.nbytes for array in (*chunk, *results)) / count
            have = reply["inner"]
            parts.append(results)
            done += count
            most = min(_REQUEST_S / took, _REQUEST_BYTES / max(size, 1), samples - done)
            count = max(1, int(most))
        whole = [np.concatenate(p) if len(p) > 1 else p[0] for p in zip(*parts, strict=True)]
        return have, whole

    def _start(self) -> Child:
        return Child(
            self._path,
            self._runtime,
            timeout_s=self._timeout_s,
            outputs=len(self._table.outputs),
            stateful=self._table.stateful,
        )

    def _border(self, indices: Sequence[int], specs: Sequence[TensorSpec] | None) -> list[str]:
        """Names by position; a tensor may be there twice."""
        names = [self._table.tensors[index].name for index in indices]
        if specs is not None:
            if len(specs) != len(names):
                raise InputError(
                    f"'{self._path}' has {len(names)} inputs or outputs where {len(specs)} are due",
                    remedy="the file is not the one that was described; convert again",
                )
            names = [spec.name for spec in specs]
        return names

    def _check(self, inputs: Tensors) -> list[NDArray[Any]]:
        missing = sorted(set(self._inputs) - set(inputs))
        unknown = sorted(set(inputs) - set(self._inputs))
        if missing or unknown:
            raise InputError(
                f"missing inputs {missing}, unknown inputs {unknown}",
                remedy=f"the inputs are {sorted(self._inputs)}",
            )
        arrays = [np.asarray(inputs[name]) for name in self._inputs]
        for name, array in zip(self._inputs, arrays, strict=True):
            self._check_array(name, array)
        counts = sorted({len(array) for array in arrays})
        if len(counts) > 1 or counts == [0]:
            raise InputError(
                f"inputs with {' and '.join(map(str, counts))} samples",
                remedy="give every input the same number of samples, at least one",
            )
        return arrays

    def _check_array(self, name: str, batch: NDArray[Any]) -> None:
        entry = self._table.tensors[self._indices[name]]
        due = entry.shape if self._runtime.name == "tflm" else entry.signature
        have = batch.shape[1:]
        fits = batch.ndim == len(due) + 1 and all(
            want in (-1, size) for want, size in zip(due, have, strict=True)
        )
        if not fits or batch.dtype.name != entry.dtype:
            raise InputError(
                f"input '{name}' is {batch.dtype.name}{list(have)}",
                remedy=f"it must be {entry.dtype}{list(due)}",
            )


def _find(name: str) -> TfliteRuntime:
    runtime = get_runtime(name)
    if runtime is None:
        known = ", ".join(found.name for found in known_runtimes())
        raise RecipeError(f"there is no TFLite runtime '{name}'", remedy=f"known: {known}")
    return runtime


def _random(rng: np.random.Generator, entry: TableEntry) -> NDArray[Any]:
    dtype = np.dtype(entry.dtype if entry.dtype != "unknown" else "uint8")
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        # Indices, and the like, are small where they are wide.
        low, high = (info.min, info.max) if dtype.itemsize <= 2 else (0, 1)
        return rng.integers(low, high, entry.shape, dtype=dtype, endpoint=True)
    values: NDArray[Any] = np.asarray(rng.standard_normal(entry.shape)).astype(dtype)
    return values
