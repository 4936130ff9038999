"""Runs ONNX artifacts in onnxruntime, inner tensors included."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from intaglio.errors import InputError, InternalError
from intaglio.targets.base import RunResult, Session, Tensors

# onnxruntime's own chatter (constant folding notes and the like) is not for our users.
_QUIET = 3


def make_session(
    model: bytes, *, threads: int = 0, optimize: bool = True, arena: bool = False
) -> onnxruntime.InferenceSession:
    """An onnxruntime CPU session over a serialized model.

    Args:
        model: Serialized ModelProto.
        threads: Threads within an operator; 0 leaves it to onnxruntime.
        optimize: Whether onnxruntime may rewrite the graph.
        arena: Whether memory is kept from run to run: for many runs of one model.

    Raises:
        InternalError: onnxruntime refuses the model.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = threads
    options.enable_cpu_mem_arena = arena
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InternalError(f"onnxruntime refuses the artifact: {error}") from error


class OnnxSession(Session):
    """An ONNX file opened in onnxruntime.

    Args:
        path: The model file.
        optimize: Whether onnxruntime may rewrite the graph.
    """

    def __init__(self, path: Path, *, optimize: bool = True) -> None:
        self._path = path
        self._optimize = optimize
        self._sessions: dict[tuple[str, ...], onnxruntime.InferenceSession] = {}

    def run(self, inputs: Tensors, *, inner: Sequence[str] = ()) -> RunResult:
        """Runs the model; see :meth:`intaglio.targets.base.Session.run`."""
        session = self._session(tuple(inner))
        self._check(session, inputs)
        names = [output.name for output in session.get_outputs()]
        feeds = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        found = dict(zip(names, session.run(names, feeds), strict=True))
        wanted = [name for name in inner if name in found]
        outputs = [o.name for o in self._session(()).get_outputs()] if inner else names
        return RunResult(
            {name: found[name] for name in outputs}, {name: found[name] for name in wanted}
        )

    def _session(self, inner: tuple[str, ...]) -> onnxruntime.InferenceSession:
        if inner not in self._sessions:
            data = self._path.read_bytes()
            if inner:
                data = with_outputs(data, inner)
            self._sessions[inner] = make_session(data, optimize=self._optimize)
        return self._sessions[inner]

    def _check(self, session: onnxruntime.InferenceSession, inputs: Tensors) -> None:
        specs = {spec.name: spec for spec in session.get_inputs()}
        missing = sorted(set(specs) - set(inputs))
        unknown = sorted(set(inputs) - set(specs))
        if missing or unknown:
            raise InputError(
                f"missing inputs {missing}, unknown inputs {unknown}",
                remedy=f"the inputs are {sorted(specs)}",
            )
        for name, spec in specs.items():
            _check_array(name, spec.shape, spec.type, np.asarray(inputs[name]))


def _check_array(name: str, shape: Sequence[Any], kind: str, array: NDArray[Any]) -> None:
    dtype = {"tensor(float)": "float32"}.get(kind, kind[len("tensor(") : -1])
    fits = len(shape) == array.ndim and all(
        not isinstance(want, int) or want == have
        for want, have in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.name != dtype:
        raise InputError(
            f"input '{name}' is {array.dtype.name}{list(array.shape)}",
            remedy=f"it must be {dtype}{list(shape)}",
        )


def with_outputs(model: bytes, names: Sequence[str]) -> bytes:
    """The serialized model with inner tensors as additional outputs.

    Args:
        model: Serialized ModelProto.
        names: Tensors of the main graph; those that do not exist are left out.

    Returns:
        The serialized copy.
    """
    proto = onnx.load_from_string(model)
    known = {output.name for output in proto.graph.output}
    made = {name for node in proto.graph.node for name in node.output}
    infos = {info.name: info for info in proto.graph.value_info}
    for name in names:
        if name in made and name not in known:
            proto.graph.output.append(infos.get(name) or onnx.ValueInfoProto(name=name))
            known.add(name)
    return bytes(proto.SerializeToString())
