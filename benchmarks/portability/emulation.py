"""Runs integer models natively and under ``qemu-x86_64 -cpu max``, and compares every bit.

``-cpu max`` of qemu 7.2 is an x86 with AVX2 and without VNNI. There, products of uint8 and int8 are
added in saturating int16 pairs: mixed-sign controls show it.
"""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

QEMU = "qemu-x86_64"
PACKAGE = "qemu-user"
WORKER = Path(__file__).with_name("worker.py")

Arrays = Mapping[str, NDArray[Any]]


@dataclasses.dataclass(frozen=True)
class Job:
    """A model file and its inputs by name."""

    model: Path
    inputs: Arrays


@dataclasses.dataclass(frozen=True)
class Output:
    """What a machine gave.

    Attributes:
        outputs: For each job, array by output name.
        seconds: For each job, time of the run.
        features: Vector extensions of the machine.
    """

    outputs: list[dict[str, NDArray[Any]]]
    seconds: list[float]
    features: list[str]


def available() -> bool:
    """Whether the emulator is installed."""
    return shutil.which(QEMU) is not None


def run_jobs(jobs: Sequence[Job], *, emulated: bool, timeout: float = 3600.0) -> Output:
    """Runs all jobs in one child process.

    Args:
        jobs: What to run.
        emulated: Whether the child runs under the emulator.
        timeout: Seconds.

    Raises:
        RuntimeError: The child failed; its output is in the message.
    """
    prefix = [QEMU, "-cpu", "max"] if emulated else []
    with tempfile.TemporaryDirectory() as folder:
        job, out = Path(folder) / "job.npz", Path(folder) / "out.npz"
        arrays = {
            f"{i}/{name}": array
            for i, each in enumerate(jobs)
            for name, array in each.inputs.items()
        }
        models = np.array([str(each.model.resolve()) for each in jobs])
        np.savez(job, models=models, **arrays)  # type: ignore[arg-type]
        command = [*prefix, sys.executable, str(WORKER), str(job), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        with np.load(out) as archive:
            found = {name: archive[name] for name in archive.files}
    outputs = [
        {name.partition("/")[2]: x for name, x in found.items() if name.startswith(f"{i}/")}
        for i in range(len(jobs))
    ]
    seconds = [float(found[f"{i}:seconds"]) for i in range(len(jobs))]
    return Output(outputs, seconds, found["features"].tolist())


def differing(first: Arrays, second: Arrays) -> tuple[int, int]:
    """Counts outputs that differ in any bit.

    Returns:
        Values that differ, and values compared.

    Raises:
        ValueError: The names, shapes or types differ.
    """
    if set(first) != set(second):
        raise ValueError(f"outputs {sorted(first)} and {sorted(second)} differ")
    different = total = 0
    for name, a in first.items():
        b = second[name]
        if a.shape != b.shape or a.dtype != b.dtype:
            raise ValueError(f"'{name}' is {a.dtype}{a.shape} here and {b.dtype}{b.shape} there")
        different += int(np.count_nonzero(a != b))
        total += a.size
    return different, total


def integer_inputs(
    shape: Sequence[int], dtype: str, seed: int = 0, real: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Inputs of all kinds: given ones, random ones, all smallest, all largest.

    Args:
        shape: Of one sample, without the batch axis.
        dtype: An integer type.
        seed: Of the random ones.
        real: Samples to begin with, already integers.

    Returns:
        Samples on the first axis.
    """
    limits = np.iinfo(dtype)
    generator = np.random.default_rng(seed)
    parts = [] if real is None else [real.astype(dtype)]
    parts.append(generator.integers(limits.min, limits.max + 1, (4, *shape)).astype(dtype))
    parts += [np.full((1, *shape), limits.min, dtype), np.full((1, *shape), limits.max, dtype)]
    return np.concatenate(parts)


#: Operator, type of the input, type of the constant. onnxruntime multiplies the weights of a
#: ConvInteger by its input, not the input by the weights: so int8 by uint8 is what saturates there.
CONTROLS = (
    ("MatMulInteger", "uint8", "int8"),
    ("ConvInteger", "int8", "uint8"),
    ("MatMulInteger", "int8", "int8"),
    ("ConvInteger", "int8", "int8"),
    ("ConvInteger", "uint8", "uint8"),
)


def control(folder: Path, operator: str, x_type: str, w_type: str) -> tuple[Job, NDArray[np.int64]]:
    """One operator on large values, and what it should give.

    Args:
        folder: Where to write the model.
        operator: ``ConvInteger`` (1×1) or ``MatMulInteger``.
        x_type: Type of the input.
        w_type: Type of the constant; of another sign than ``x_type`` for one that saturates.

    Returns:
        The job and its exact output ``y``.
    """
    generator = np.random.default_rng(7)
    x_max, w_max = np.iinfo(x_type).max, np.iinfo(w_type).max
    convolution = operator == "ConvInteger"
    x_shape, w_shape = ((1, 64, 8, 8), (32, 64, 1, 1)) if convolution else ((16, 64), (64, 32))
    x = generator.integers(x_max - 40, x_max + 1, x_shape).astype(x_type)
    w = generator.integers(w_max - 40, w_max + 1, w_shape).astype(w_type)
    wide_x, wide_w = x.astype(np.int64), w.astype(np.int64)
    if convolution:
        exact = np.einsum("nchw,oc->nohw", wide_x, wide_w[:, :, 0, 0])
    else:
        exact = wide_x @ wide_w
    kinds = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8}
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"])],
        "control",
        [helper.make_tensor_value_info("x", kinds[x_type], x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.INT32, exact.shape)],
        [numpy_helper.from_array(w, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path = folder / f"control_{operator}_{x_type}_{w_type}.onnx"
    onnx.save(model, str(path))
    return Job(path, {"x": x}), exact
