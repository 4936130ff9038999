"""LiteRT, and its forerunner tflite-runtime, as the worker drives them.

Runs in a child process only; see ``worker.py``. ``litert-reference`` and ``tflite-runtime`` use
the reference kernels (``OpResolverType.BUILTIN_REF``), ``litert`` what the runtime does by
default: XNNPACK where it can.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MODULES = {
    "litert": "ai_edge_litert.interpreter",
    "litert-reference": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
}

#: Operators whose result is the same bytes in the same order as what they read.
_VIEWS = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "BITCAST"})


class LitertRunner:
    """One model in LiteRT.

    Args:
        data: The file's bytes.
        runtime: ``litert``, ``litert-reference`` or ``tflite-runtime``.
        stateful: Whether the model has variables, which are then reset before every run.

    Raises:
        ImportError: The runtime is not installed.
        ValueError: The runtime refuses the file (also RuntimeError).
    """

    def __init__(self, data: bytes, runtime: str, *, stateful: bool) -> None:
        self._module = importlib.import_module(_MODULES[runtime])
        self._data = data
        self._reference = runtime != "litert"
        self._stateful = stateful
        self._opened: dict[bool, _Opened] = {}
        self._open(keep=False)

    def run(
        self, inputs: Sequence[NDArray[Any]], inner: Sequence[int]
    ) -> tuple[list[NDArray[Any]], dict[int, NDArray[Any]]]:
        """Runs once.

        Args:
            inputs: Arrays in the order of the file's inputs; open dimensions may differ from
                one run to the next.
            inner: Tensor indices to return too.

        Returns:
            The outputs in order, and the inner tensors that the runtime has by index.

        Raises:
            ValueError: The runtime fails (also RuntimeError).
        """
        opened = self._open(keep=bool(inner))
        interpreter = opened.interpreter
        opened.feed(inputs)
        if self._stateful:
            interpreter.reset_all_variables()
        interpreter.invoke()
        outputs = [interpreter.get_tensor(index) for index in opened.outputs]
        return outputs, {index: t for index in inner if (t := opened.peek(index)) is not None}

    def invoke(self) -> None:
        """Runs again on the inputs of the last :meth:`run` that asked for no inner tensors."""
        self._open(keep=False).interpreter.invoke()

    def _open(self, *, keep: bool) -> _Opened:
        if keep not in self._opened:
            resolver = self._module.OpResolverType
            kind = resolver.BUILTIN_REF if self._reference else resolver.AUTO
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                interpreter = self._module.Interpreter(
                    model_content=self._data,
                    num_threads=1,
                    experimental_op_resolver_type=kind,
                    experimental_preserve_all_tensors=keep,
                )
            self._opened[keep] = _Opened(interpreter)
        return self._opened[keep]


class _Opened:
    """An interpreter and what we know of its border."""

    def __init__(self, interpreter: Any) -> None:
        self.interpreter = interpreter
        details = interpreter.get_input_details()
        self.inputs = [int(detail["index"]) for detail in details]
        self.shapes = [tuple(int(d) for d in detail["shape"]) for detail in details]
        self.outputs = [int(detail["index"]) for detail in interpreter.get_output_details()]
        # Here rather than on the first run: unknown operators are found now.
        interpreter.allocate_tensors()
        self._allocated = True
        self._lost: frozenset[int] | None = None

    def feed(self, arrays: Sequence[NDArray[Any]]) -> None:
        for position, array in enumerate(arrays):
            if array.shape != self.shapes[position]:
                self.interpreter.resize_tensor_input(self.inputs[position], array.shape)
                self.shapes[position] = array.shape
                self._allocated = False
        if not self._allocated:
            self.interpreter.allocate_tensors()
            self._allocated = True
        for index, array in zip(self.inputs, arrays, strict=True):
            self.interpreter.set_tensor(index, array)

    def peek(self, index: int) -> NDArray[Any] | None:
        if self._lost is None:
            self._lost = self._overwritten()
        if index in self._lost:
            return None
        try:
            return np.asarray(self.interpreter.get_tensor(index))
        except (ValueError, RuntimeError):
            return None

    def _overwritten(self) -> frozenset[int]:
        """Tensors in whose memory a later operator has put its result.

        tflite-runtime 2.14 computes ADD and the like in place even where it is to keep all.
        """
        count = len(self.interpreter.get_tensor_details())
        addresses = {index: self._address(index) for index in range(count)}
        holders: dict[int, set[int]] = {}
        for operator in self.interpreter._get_ops_details():
            for index in map(int, operator["outputs"]):
                if (address := addresses.get(index)) is None:
                    continue
                same = {int(i) for i in operator["inputs"] if addresses.get(int(i)) == address}
                if operator["op_name"] not in _VIEWS:
                    holders[address] = set()
                holders.setdefault(address, same).add(index)
        return frozenset(
            index
            for index, address in addresses.items()
            if address is not None and index not in holders.get(address, {index})
        )

    def _address(self, index: int) -> int | None:
        try:
            view = self.interpreter.tensor(index)()
        except (ValueError, RuntimeError):
            return None
        # Of a scalar numpy gives a copy, whose address tells nothing.
        return int(view.__array_interface__["data"][0]) if np.ndim(view) and view.size else None
