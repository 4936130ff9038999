"""The emitted training step as a shared library of this machine, called through ctypes.

The files are compiled unchanged, with a small file beside them that takes inputs in tables and runs
a batch of inferences in one call.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InternalError
from intaglio.targets.c.compiler import compile_files, require_compiler
from intaglio.targets.c.library import NATIVE, Port, library_name, load_library
from intaglio.targets.c.literals import c_type
from intaglio.transforms.forward_gradient.step import StepResult

_RUNNER = """\
/* Calls {name}: inputs and outputs come in tables. */
#include <stddef.h>
#include <stdint.h>

#include "{name}.c"

typedef struct {name}_weights runner_weights;

int runner_step(const void *const *inputs, const size_t *sizes, const int32_t *targets,
    size_t count, runner_weights *weights, uint32_t seed, uint32_t step_shift, int64_t *plus,
    int64_t *minus, int8_t *signs, void *arena, size_t arena_bytes)
{{
    return {name}_step({whole}, targets, count, weights, seed, step_shift, plus, minus, signs,
        arena, arena_bytes);
}}

int runner_replay(runner_weights *weights, uint32_t seed, const int8_t *signs, uint32_t step_shift)
{{
    return {name}_replay(weights, seed, signs, step_shift);
}}

/* Inferences of a batch: samples lie one behind the other. */
int runner_predict(const void *const *inputs, const size_t *sizes, void *const *outputs,
    const size_t *output_sizes, size_t count, const runner_weights *weights, void *arena,
    size_t arena_bytes)
{{
    size_t i;
    for (i = 0; i < count; i++) {{
        const int code = {name}_run({each}, weights, {made}, arena, arena_bytes);
        if (code != 0) {{
            return code;
        }}
    }}
    return 0;
}}

size_t runner_arena_bytes(void)
{{
    return {upper}_ARENA_BYTES;
}}

size_t runner_weights_bytes(void)
{{
    return sizeof(runner_weights);
}}

const void *runner_initial_weights(void)
{{
    return &{name}_initial_weights;
}}
"""

_ALIGNMENT = 64


class TrainingLibrary:
    """A compiled training step, with weights of its own.

    Args:
        sources: Folder of the emitted files.
        name: Their prefix.
        inputs: Inputs of the model, in order, for one sample.
        outputs: Outputs likewise.
        probes: Losses of a step on either side.
        build: Folder to compile in.
        flags: Arguments for the compiler.
        compiler: The compiler; None for the system's.

    Attributes:
        arena_bytes: Working memory.
        weights_bytes: Bytes of the weights.

    Raises:
        ToolError: There is no compiler, or it failed.
    """

    def __init__(
        self,
        sources: Path,
        name: str,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        probes: int,
        build: Path,
        flags: Sequence[str] = NATIVE,
        compiler: str | None = None,
    ) -> None:
        self._inputs, self._outputs, self._probes = tuple(inputs), tuple(outputs), probes
        (build / "emitted__trainer.c").write_text(self._runner(name), encoding="utf-8")
        target = build / library_name("trainer")
        sources = sources.resolve()
        command = [
            *((compiler,) if compiler else require_compiler()), "-std=c99", "-shared", "-fPIC",
            *flags, f"-I{sources}", "emitted__trainer.c", str(sources / f"{name}_weights.c"),
            "-o", str(target),
        ]  # fmt: skip
        compile_files(command, build)
        self._library = load_library(target)
        self._library.runner_arena_bytes.restype = ctypes.c_size_t
        self._library.runner_weights_bytes.restype = ctypes.c_size_t
        self._library.runner_initial_weights.restype = ctypes.c_void_p
        self.arena_bytes = int(self._library.runner_arena_bytes())
        self.weights_bytes = int(self._library.runner_weights_bytes())
        self._turn = threading.Lock()
        self._arena = _aligned(self.arena_bytes)
        self._weights = _aligned(self.weights_bytes)
        self.set_weights(
            ctypes.string_at(self._library.runner_initial_weights(), self.weights_bytes)
        )

    def _runner(self, name: str) -> str:
        whole = [
            f"(const {c_type(port.dtype)} *)inputs[{place}], sizes[{place}]"
            for place, port in enumerate(self._inputs)
        ]
        each = [
            f"(const {c_type(port.dtype)} *)inputs[{place}] + i * {_count(port)}u, sizes[{place}]"
            for place, port in enumerate(self._inputs)
        ]
        made = [
            f"({c_type(port.dtype)} *)outputs[{place}] + i * {_count(port)}u, output_sizes[{place}]"
            for place, port in enumerate(self._outputs)
        ]
        return _RUNNER.format(
            name=name, upper=name.upper(), whole=", ".join(whole), each=", ".join(each),
            made=", ".join(made),
        )  # fmt: skip

    def weights(self) -> bytes:
        """A copy of the weights as they lie in memory."""
        with self._turn:
            return self._weights.tobytes()

    def set_weights(self, memory: bytes) -> None:
        """Takes over weights as they lie in memory."""
        with self._turn:
            self._weights[:] = np.frombuffer(memory, np.uint8, self.weights_bytes)

    def step(
        self,
        inputs: Sequence[NDArray[Any]],
        targets: NDArray[np.int32],
        count: int,
        seed: int,
        step_shift: int,
    ) -> StepResult:
        """Makes a step and changes the weights.

        Args:
            inputs: A batch for each input, contiguous, of the right types.
            targets: int32, contiguous.
            count: Samples of the batch.
            seed: Seed of the step.
            step_shift: How many times the step is halved.

        Raises:
            InternalError: The function refused.
        """
        plus, minus = np.zeros(self._probes, np.int64), np.zeros(self._probes, np.int64)
        signs = np.zeros(self._probes, np.int8)
        with self._turn:
            # Nothing may lean on what an earlier call left in the arena.
            self._arena.fill(0xA5)
            code = self._library.runner_step(
                _table(inputs), _sizes(array.nbytes for array in inputs), _pointer(targets),
                ctypes.c_size_t(count), _pointer(self._weights), ctypes.c_uint32(seed),
                ctypes.c_uint32(step_shift), _pointer(plus), _pointer(minus), _pointer(signs),
                _pointer(self._arena), ctypes.c_size_t(self.arena_bytes),
            )  # fmt: skip
        _require(code)
        return StepResult(tuple(plus.tolist()), tuple(minus.tolist()), tuple(signs.tolist()))

    def replay(self, seed: int, signs: Sequence[int], step_shift: int) -> None:
        """Changes the weights as a step did that found these signs.

        Raises:
            InternalError: The function refused.
        """
        array = np.array(signs, np.int8)
        with self._turn:
            code = self._library.runner_replay(
                _pointer(self._weights), ctypes.c_uint32(seed), _pointer(array),
                ctypes.c_uint32(step_shift),
            )  # fmt: skip
        _require(code)

    def predict(self, inputs: Sequence[NDArray[Any]], count: int) -> list[NDArray[Any]]:
        """Outputs of a batch, one array for each of the model's.

        Raises:
            InternalError: The function refused.
        """
        made = [np.zeros((count, *port.shape[1:]), port.dtype) for port in self._outputs]
        with self._turn:
            self._arena.fill(0x5A)
            code = self._library.runner_predict(
                _table(inputs), _sizes(port.empty().nbytes for port in self._inputs), _table(made),
                _sizes(port.empty().nbytes for port in self._outputs), ctypes.c_size_t(count),
                _pointer(self._weights), _pointer(self._arena), ctypes.c_size_t(self.arena_bytes),
            )  # fmt: skip
        _require(code)
        return made


def _count(port: Port) -> int:
    return int(port.empty().size)


def _aligned(size: int) -> NDArray[np.uint8]:
    """Memory at a multiple of 64 bytes."""
    memory = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size]


def _pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _table(arrays: Sequence[NDArray[Any]]) -> Any:
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


def _sizes(sizes: Any) -> Any:
    found = list(sizes)
    return (ctypes.c_size_t * len(found))(*found)


def _require(code: int) -> None:
    if code:
        raise InternalError(f"the emitted C refused its arguments with code {code}")
