"""TFLite Micro (the ``tflite_micro`` wheel) as the worker drives it.

Runs in a child process only; see ``worker.py``.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Arena sizes tried for running, in bytes; the last is where we give up.
_ARENAS = tuple(1 << bits for bits in (18, 20, 22, 24, 26, 28, 30))


class MicroRunner:
    """One model in TFLite Micro.

    Args:
        data: The file's bytes.
        outputs: How many outputs the model has.

    Raises:
        ImportError: The wheel is not installed.
        RuntimeError: TFLite Micro refuses the file (also ValueError and others).
    """

    def __init__(self, data: bytes, *, outputs: int) -> None:
        self._runtime = importlib.import_module("tflite_micro.python.tflite_micro.runtime")
        self._data = data
        self._outputs = outputs
        self._opened: dict[bool, Any] = {}
        self._open(keep=False)

    def run(
        self, inputs: Sequence[NDArray[Any]], inner: Sequence[int]
    ) -> tuple[list[NDArray[Any]], dict[int, NDArray[Any]]]:
        """Runs once; see :meth:`intaglio.targets.tflite.litert.LitertRunner.run`."""
        interpreter = self._open(keep=bool(inner))
        outputs = self._run(interpreter, inputs)
        return outputs, {
            index: t for index in inner if (t := _peek(interpreter, index)) is not None
        }

    def invoke(self) -> None:
        """Runs again on the inputs of the last :meth:`run` that asked for no inner tensors."""
        self._open(keep=False).invoke()

    def print_allocations(self) -> None:
        """Lets TFLite Micro print what it took from the arena, to stderr."""
        self._open(keep=False).print_allocations()

    def try_arena(self, size: int, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]] | None:
        """Initializes and runs with an arena of its own.

        Args:
            size: Bytes of the arena.
            inputs: Arrays in the order of the file's inputs.

        Returns:
            The outputs, or None where the arena is too small.
        """
        try:
            return self._run(self._make(size, keep=False), inputs)
        except RuntimeError:
            return None

    def _run(self, interpreter: Any, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        # Every run starts from the state after initialization, so order does not matter.
        interpreter.reset()
        for position, array in enumerate(inputs):
            interpreter.set_input(array, position)
        interpreter.invoke()
        return [interpreter.get_output(position) for position in range(self._outputs)]

    def _open(self, *, keep: bool) -> Any:
        if keep not in self._opened:
            self._opened[keep] = self._grow(keep=keep)
        return self._opened[keep]

    def _grow(self, *, keep: bool) -> Any:
        for size in _ARENAS[:-1]:
            try:
                return self._make(size, keep=keep)
            except RuntimeError:  # Raised for any failed initialization: a larger one may do.
                continue
        return self._make(_ARENAS[-1], keep=keep)

    def _make(self, size: int, *, keep: bool) -> Any:
        kinds = self._runtime.InterpreterConfig
        kind = kinds.kPreserveAllTensors if keep else kinds.kAllocationRecording
        return self._runtime.Interpreter.from_bytes(
            self._data, arena_size=size, intrepreter_config=kind
        )


def _peek(interpreter: Any, index: int) -> NDArray[Any] | None:
    try:
        return np.asarray(interpreter.GetTensor(index, 0)["tensor_data"])
    except (ValueError, RuntimeError, IndexError, KeyError):
        return None
