"""The fitted network as an ONNX model, proved to compute what was trained.

All rounding was in the loop, so nothing may differ: before a file is written, the module, the
integer network in numpy (on the smallest picture; it is slow) and the ONNX model in onnxruntime
(on all of them) have made the same pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.errors import InternalError
from intaglio.fitting.image_pairs import PairTask
from intaglio.fitting.tables.learners import Network
from intaglio.passes.table_networks.write import network_model

#: Planes in, planes out: uint8 [P, H, W].
Restorer = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


@dataclasses.dataclass(frozen=True)
class Exported:
    """A model, and what was compared.

    Attributes:
        data: Bytes of the ONNX file.
        pixels: Of results that were compared, all equal.
    """

    data: bytes
    pixels: int


def task_text(task: PairTask) -> str:
    """The task as models say it: ``superres x4`` or ``denoise 25``."""
    return f"denoise {task.sigma:g}" if task.sigma else f"superres x{task.factor}"


def export(
    network: Network,
    name: str,
    task: PairTask,
    images: Sequence[NDArray[np.uint8]],
    restore: Restorer,
    threads: int,
    progress: Callable[[int, int], None],
) -> Exported:
    """Writes the model of a network, once it is right on every pixel.

    Args:
        network: The integers.
        name: Of the graph.
        task: What it restores, for the model's metadata.
        images: uint8 [P, H, W] each, at least one.
        restore: The trained module.
        threads: For onnxruntime.
        progress: Told how many pictures are compared, of how many.

    Raises:
        InternalError: A pixel differs.
    """
    model = network_model(network, name, task_text(task))
    proto = ir.serde.serialize_model(model)
    data: bytes = proto.SerializeToString(deterministic=True)
    onnx.checker.check_model(onnx.load_model_from_string(data))
    session = _session(data, threads)
    smallest = min(range(len(images)), key=lambda i: images[i].size)
    pixels = 0
    for index, planes in enumerate(images):
        progress(index, len(images))
        wanted = restore(planes)
        found = session.run(None, {"image": planes[:, None]})[0][:, 0]
        _same(found, wanted, "the ONNX model", index)
        if index == smallest:
            applied = np.stack([network.apply(plane) for plane in planes])
            _same(applied, wanted, "the integer network", index)
        pixels += wanted.size
    progress(len(images), len(images))
    return Exported(data, pixels)


def _session(data: bytes, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _same(found: NDArray[Any], wanted: NDArray[Any], what: str, index: int) -> None:
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        raise InternalError(f"{what} makes {found.dtype}{found.shape} of picture {index}")
    different = int((found != wanted).sum())
    if different:
        raise InternalError(
            f"{what} differs from what was trained in {different:,} of {wanted.size:,} pixels of "
            f"picture {index}"
        )
