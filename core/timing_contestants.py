"""What can be timed: a model, opened in a runtime and fed with the same input every time."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError, ToolError
from intaglio.targets.base import Session, TensorSpec
from intaglio.targets.c.library import Library
from intaglio.timing import Contestant, Sample

_LONGEST_S = 600.0

# onnxruntime's own chatter is not for our users.
_QUIET = 3


class OnnxContestant(Contestant):
    """An ONNX file in onnxruntime, with all its optimizations.

    Args:
        path: The file.
        inputs: Array by input name.
        threads: Threads within an operator.

    Raises:
        InputError: onnxruntime refuses the file.
    """

    how = "onnxruntime's run on bound inputs"

    def __init__(self, path: Path, inputs: Mapping[str, NDArray[Any]], threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = _QUIET
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
            self._binding = self._session.io_binding()
            for name, array in inputs.items():
                self._binding.bind_cpu_input(name, np.ascontiguousarray(array))
            for output in self._session.get_outputs():
                self._binding.bind_output(output.name)
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # Whatever it raises is about this file.
            raise InputError(f"onnxruntime refuses {path.name}: {error}") from error
        self.threads = threads

    def batch(self, count: int) -> Sample:
        """Runs ``count`` inferences; the mean of them."""
        run = self._session.run_with_iobinding
        return _timed(lambda: run(self._binding), count)


class SessionContestant(Contestant):
    """Anything else that this process can run.

    Args:
        session: The opened artifact.
        inputs: Array by input name.
    """

    how = "calls of its session, what they do in Python included"

    def __init__(self, session: Session, inputs: Mapping[str, NDArray[Any]]) -> None:
        self._session = session
        self._inputs = dict(inputs)
        session.run(self._inputs)

    def batch(self, count: int) -> Sample:
        """Runs ``count`` inferences; the mean of them."""
        return _timed(lambda: self._session.run(self._inputs), count)


class LibraryContestant(Contestant):
    """Emitted C, compiled for this machine; a loop in C calls it.

    Args:
        library: The compiled model.
        inputs: Array by input name.
    """

    how = "a loop in C around the model's function"

    def __init__(self, library: Library, inputs: Mapping[str, NDArray[Any]]) -> None:
        self._library = library
        self._inputs = dict(inputs)

    def batch(self, count: int) -> Sample:
        """Runs ``count`` inferences; the mean of them."""
        start = time.perf_counter()
        processor = self._library.seconds(self._inputs, count)
        return Sample((time.perf_counter() - start) / count, processor)


class LitertContestant(Contestant):
    """A TFLite file in LiteRT, in a child process that takes the time itself.

    Args:
        path: The file.
        kernels: ``xnnpack``, or ``builtin`` for the runtime's own kernels.
        threads: Threads within an operator.

    Raises:
        InputError: LiteRT refuses the file.
        ToolError: It is not installed, crashed or hung.
    """

    how = "LiteRT's invoke in a process of its own, which takes the time"

    def __init__(self, path: Path, kernels: str, threads: int) -> None:
        self.threads = threads
        self._name = path.name
        self._command = (sys.executable, "-m", "intaglio.timing_litert")
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=_environment(),
        )
        try:
            self._ask({"path": str(path.resolve()), "kernels": kernels, "threads": threads})
        except BaseException:
            self.close()
            raise

    def batch(self, count: int) -> Sample:
        """Runs ``count`` inferences; the mean of them."""
        reply = self._ask({"batch": count})
        return Sample(reply["wall"] / count, reply["processor"] / count)

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            # What could not be written to a process that has died is written again on closing.
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        stdin: Any = self._process.stdin
        stdout: Any = self._process.stdout
        timer = threading.Timer(_LONGEST_S, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
            line = stdout.readline()
        except OSError:
            line = ""
        finally:
            timer.cancel()
        if not line:
            raise ToolError(
                f"LiteRT crashed or hung on {self._name}",
                command=self._command,
                returncode=self._process.poll(),
                remedy="the other artifacts are timed without it",
            )
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise InputError(f"LiteRT refuses {self._name}: {reply['error']}")
        return reply


def random_inputs(specs: Sequence[TensorSpec], seed: int = 0) -> dict[str, NDArray[Any]]:
    """Random inputs, by name; open sizes are 1 in front and 32 elsewhere.

    Args:
        specs: The inputs.
        seed: The same seed gives the same numbers.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, NDArray[Any]] = {}
    for spec in specs:
        shape = [
            d if isinstance(d, int) else (1 if place == 0 else 32)
            for place, d in enumerate(spec.shape)
        ]
        dtype = np.dtype(spec.dtype)
        if dtype.kind in "iu" and dtype.itemsize <= 2:
            limits = np.iinfo(dtype)
            found[spec.name] = rng.integers(limits.min, limits.max, shape, dtype, True)
        else:
            found[spec.name] = np.asarray(rng.standard_normal(shape)).astype(dtype)
    return found


def _environment() -> dict[str, str]:
    """The module search path of this process: the child finds what it finds."""
    paths = os.pathsep.join(path for path in sys.path if path)
    return {**os.environ, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}


def _timed(call: Callable[[], Any], count: int) -> Sample:
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(count):
        call()
    return Sample((time.perf_counter() - wall) / count, (time.process_time() - processor) / count)
