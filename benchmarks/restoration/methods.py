"""What restores a picture: table networks in ONNX, and what they are compared with."""

from __future__ import annotations

import abc
import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from intaglio.transforms.images.bicubic import resize_bicubic
from intaglio.transforms.images.color import luma, rounded_luma
from intaglio.transforms.images.orientations import mean_of_orientations
from numpy.typing import NDArray

from benchmarks.common import MissingDataError, existing, open_session
from benchmarks.quantization.runners import Runner
from benchmarks.restoration.data import Pixels

FloatPlane = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a method takes.

    Attributes:
        bytes: Of tables, or of weights; None where there are none.
        lookups: Table entries read for a cell of the input, in all rotations; None where there are
            no tables.
        products: Multiplications for a cell; None where it is not known.
    """

    bytes: int | None = None
    lookups: int | None = None
    products: int | None = None


class Method(abc.ABC):
    """Something that restores pictures.

    Attributes:
        name: What tables call it.
        kind: ``ours`` or ``peer``.
        cost: What it takes.
    """

    name: str
    kind = "peer"
    cost = Cost()

    @abc.abstractmethod
    def luma(self, degraded: Pixels) -> FloatPlane:
        """Luma (studio range, not rounded) of the restored picture.

        Args:
            degraded: uint8[H, W, 3], or a grey plane, which counts as luma as it is.
        """

    def luma_alone(self, degraded: Pixels) -> FloatPlane | None:
        """The same from the luma plane alone; None where :meth:`luma` does that."""
        return None


class PlaneNetwork(Method):
    """An ONNX model that takes and gives 8-bit planes, R, G and B apart.

    Args:
        path: The file: input uint8[1, 1, H, W], output uint8[1, 1, H', W'].
        name: What tables shall call it; the name of the file where empty.
        orientations: Of so many orientations of a plane the result is the mean.

    Attributes:
        factor: Output pixels for an input pixel, on a side.
        sigma: Noise that it removes; None where it enlarges or does not say.

    Raises:
        MissingDataError: It is not there, or is no such model.
    """

    kind = "ours"

    def __init__(self, path: Path, name: str = "", orientations: int = 1) -> None:
        turned = f", {orientations} orientations" if orientations > 1 else ""
        self.name = (name or path.stem) + turned
        self._orientations = orientations
        proto = onnx.load(str(existing(path)))
        self._session = open_session(path)
        ports = (*self._session.get_inputs(), *self._session.get_outputs())
        if len(ports) != 2 or any(p.type != "tensor(uint8)" or len(p.shape) != 4 for p in ports):
            raise MissingDataError(f"{path.name} does not take and give one 8-bit plane")
        notes = {entry.key: entry.value for entry in proto.metadata_props}
        self.cost = Cost(
            int(notes.get("intaglio.table_bytes", 0)) or initializer_bytes(proto),
            orientations * int(notes.get("intaglio.lookups", 0)) or None,
            orientations * int(notes["intaglio.multiplications"])
            if "intaglio.multiplications" in notes
            else None,
        )
        self.factor = self.plane(np.zeros((32, 32), np.uint8)).shape[0] // 32
        found = re.fullmatch(r"denoise (\d+)", notes.get("intaglio.task", ""))
        self.sigma = int(found[1]) if found else None

    def plane(self, degraded: Pixels) -> Pixels:
        """Restores a plane."""
        return mean_of_orientations(self._once, degraded, self._orientations)

    def _once(self, degraded: Pixels) -> Pixels:
        feed = {self._session.get_inputs()[0].name: degraded[None, None]}
        result: Pixels = self._session.run(None, feed)[0][0, 0]
        return result

    def luma(self, degraded: Pixels) -> FloatPlane:
        """See :meth:`Method.luma`."""
        if degraded.ndim == 2:
            return self.plane(degraded).astype(np.float64)
        planes = [self.plane(np.ascontiguousarray(degraded[..., i])) for i in range(3)]
        return luma(np.stack(planes, axis=-1))

    def luma_alone(self, degraded: Pixels) -> FloatPlane | None:
        """See :meth:`Method.luma_alone`."""
        if degraded.ndim == 2:
            return None
        return self.plane(rounded_luma(degraded)).astype(np.float64)


class Bicubic(Method):
    """MATLAB's bicubic enlargement of R, G and B, rounded to 8 bits.

    Args:
        factor: Output pixels for an input pixel, on a side.
    """

    name = "bicubic"

    def __init__(self, factor: int) -> None:
        self._factor = factor

    def luma(self, degraded: Pixels) -> FloatPlane:
        """See :meth:`Method.luma`."""
        return luma(resize_bicubic(degraded, self._factor))


class Untouched(Method):
    """The degraded picture as it is."""

    name = "noisy input"

    def luma(self, degraded: Pixels) -> FloatPlane:
        """See :meth:`Method.luma`."""
        return degraded.astype(np.float64)


class LumaNetwork(Method):
    """A network of the zoo that enlarges luma of 0..1 over the full range.

    Its luma is 255/219 times that of the studio range, less 16: one is made from the other without
    loss. Input and output are not rounded to 8 bits; that is for its good.

    Args:
        name: What tables call it.
        runner: Takes and gives float32[1, H, W, 1].
        cost: What it takes.
    """

    def __init__(self, name: str, runner: Runner, cost: Cost) -> None:
        self.name, self._runner, self.cost = name, runner, cost

    def luma(self, degraded: Pixels) -> FloatPlane:
        """See :meth:`Method.luma`."""
        full = (luma(degraded) - 16) / 219
        found = self._runner.run(full.astype(np.float32)[None, ..., None])[0]
        return 16 + 219 * np.clip(found[0, ..., 0].astype(np.float64), 0, 1)


def initializer_bytes(proto: onnx.ModelProto) -> int:
    """Bytes of all constants of a model, in its functions too."""
    tensors = list(proto.graph.initializer)
    nodes = [*proto.graph.node, *(node for function in proto.functions for node in function.node)]
    for node in nodes:
        tensors += [a.t for a in node.attribute if node.op_type == "Constant" and a.HasField("t")]
    return sum(_size_of(tensor) for tensor in tensors)


def convolution_weights(proto: onnx.ModelProto) -> int:
    """Weights of all convolutions: the products for a pixel where all are at the input's size."""
    shapes = {tensor.name: tensor.dims for tensor in proto.graph.initializer}
    return sum(math.prod(shapes[n.input[1]]) for n in proto.graph.node if n.op_type == "Conv")


def _size_of(tensor: Any) -> int:
    bits = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * 8
    return int(math.prod(tensor.dims) * bits // 8)
