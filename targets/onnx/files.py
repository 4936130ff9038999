"""What both ONNX targets share: writing, opening and measuring a model file."""

from __future__ import annotations

import hashlib
import statistics
import time
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from intaglio.errors import InternalError
from intaglio.targets.base import Artifact, Measurement, Prepared, TensorSpec
from intaglio.targets.onnx.session import OnnxSession

RUNS = 20


def write_models(prepared: Prepared, out: Path, target: str, arithmetic: str) -> list[Artifact]:
    """Writes each role's model as ``<target>/<role>.onnx`` with deterministic bytes.

    Args:
        prepared: Models by role.
        out: The bundle folder.
        target: Name of the target, also of the folder.
        arithmetic: What the manifest states.

    Returns:
        One artifact a role.
    """
    folder = out / target
    folder.mkdir(parents=True, exist_ok=True)
    artifacts = []
    for role in sorted(prepared.models):
        proto = ir.to_proto(prepared.models[role])
        try:
            onnx.checker.check_model(proto, full_check=False)
        except onnx.checker.ValidationError as error:
            raise InternalError(
                f"the {target} model does not pass onnx's checker: {error}"
            ) from error
        data = proto.SerializeToString(deterministic=True)
        path = folder / f"{role}.onnx"
        path.write_bytes(data)
        artifacts.append(
            Artifact(
                role=role,
                target=target,
                path=f"{target}/{role}.onnx",
                arithmetic=arithmetic,
                sha256=hashlib.sha256(data).hexdigest(),
                bytes=len(data),
                inputs=tuple(prepared.inputs[role]),
                outputs=tuple(prepared.outputs[role]),
            )
        )
    return artifacts


def measure_model(artifact: Artifact, folder: Path) -> list[Measurement]:
    """File size, size of the weights, and latency in onnxruntime on zeros."""
    path = folder / artifact.path
    proto = onnx.load(str(path))
    weights = sum(onnx.numpy_helper.to_array(i).nbytes for i in proto.graph.initializer)
    session = OnnxSession(path)
    feeds = {spec.name: np.zeros(_static(spec), spec.dtype) for spec in artifact.inputs}
    session.run(feeds)
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        session.run(feeds)
        times.append(1000 * (time.perf_counter() - start))
    how = f"onnxruntime, median of {RUNS} runs, batch 1, symbolic dimensions at 1 or 32"
    return [
        Measurement("file_bytes", float(artifact.bytes), "bytes", "size of the file"),
        Measurement("weight_bytes", float(weights), "bytes", "sum over the initializers"),
        Measurement("latency_ms", statistics.median(times), "ms", how),
    ]


def _static(spec: TensorSpec) -> list[int]:
    return [d if isinstance(d, int) else (1 if i == 0 else 32) for i, d in enumerate(spec.shape)]
