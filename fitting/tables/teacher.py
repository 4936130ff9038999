"""A given ONNX model as a teacher: what it makes of the crops is a part of what is learned."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import InputError
from intaglio.fitting.image_pairs import PairTask

#: Values that 255 stands for in a float model's input and output.
_RANGES = (1.0, 255.0)
_TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(float16)": np.float16}
_BATCH = 8


@dataclasses.dataclass(frozen=True)
class _Border:
    """What a teacher takes."""

    name: str
    dtype: Any
    channels: int
    batch: int | None


class Teacher:
    """A model of one image input, ``[N, 1 or 3, H, W]``, and one image output.

    Floating-point values may be 0..1 or 0..255, in the input and in the output: the pair that
    restores a picture best is taken. A model of three channels sees a plane three times, and the
    mean of its three results counts.

    Args:
        path: The ONNX file.
        task: What it restores.
        clean: uint8 [H, W], a plane to find the ranges with, of sides that fit the task.
        degraded: uint8 [h, w], what the teacher sees of it.
        threads: For onnxruntime.

    Attributes:
        psnr: Of its result on that plane, in dB.

    Raises:
        InputError: It is no such model.
    """

    def __init__(
        self,
        path: Path,
        task: PairTask,
        clean: NDArray[np.uint8],
        degraded: NDArray[np.uint8],
        threads: int = 1,
    ) -> None:
        self.path, self.task = path, task
        self._session = _open(path, threads)
        self._border = _border(path, self._session)
        self._input_range = self._output_range = 255.0
        self.psnr = -np.inf
        ranges = _RANGES if self._border.dtype is not np.uint8 else (255.0,)
        for input_range in ranges:
            self._input_range = input_range
            raw = self._raw(degraded[None])[0]
            if raw.shape != clean.shape:
                raise InputError(
                    f"teacher {path.name} makes {_size(raw)} pixels of {_size(degraded)}, and the "
                    f"task {_size(clean)}",
                    remedy="give a teacher for this task",
                )
            for output_range in _RANGES:
                values = raw * (255.0 / output_range)
                error = float(np.mean((np.clip(values, 0, 255) - clean) ** 2))
                found = 10 * np.log10(255**2 / max(error, 1e-6))
                if found > self.psnr:
                    self.psnr, best = found, (input_range, output_range)
        self._input_range, self._output_range = best

    def cells(self, inputs: NDArray[np.uint8], margin: int) -> NDArray[np.float32]:
        """What it makes of crops, as a network's cells.

        Args:
            inputs: uint8 [B, n, n].
            margin: Cells around the ones that count.

        Returns:
            float32 [B, side^2, cells, cells], the inner cells, 0 to 255, not rounded.
        """
        side = self.task.side
        values = np.clip(self._raw(inputs) * (255.0 / self._output_range), 0, 255)
        edge = margin * side
        inner = values[:, edge : values.shape[1] - edge, edge : values.shape[2] - edge]
        count, rows, columns = inner.shape
        grid = inner.reshape(count, rows // side, side, columns // side, side)
        found = grid.transpose(0, 2, 4, 1, 3).reshape(
            count, side * side, rows // side, columns // side
        )
        return np.ascontiguousarray(found, np.float32)

    def _raw(self, planes: NDArray[np.uint8]) -> NDArray[np.float32]:
        border = self._border
        x = planes[:, None]
        if border.dtype is not np.uint8:
            x = (x * np.float32(self._input_range / 255.0)).astype(border.dtype)
        if border.channels == 3:
            x = np.repeat(x, 3, axis=1)
        size = border.batch or _BATCH
        parts = []
        for start in range(0, len(x), size):
            part = x[start : start + size]
            count = len(part)
            if border.batch and count < size:
                part = np.concatenate([part, np.repeat(part[-1:], size - count, axis=0)])
            parts.append(self._call(part)[:count])
        found: NDArray[np.float32] = np.concatenate(parts).astype(np.float32).mean(axis=1)
        return found

    def _call(self, x: NDArray[Any]) -> NDArray[Any]:
        try:
            out = np.asarray(self._session.run(None, {self._border.name: x})[0])
        except Exception as error:  # onnxruntime has errors of its own for every reason
            raise InputError(
                f"teacher {self.path.name} does not run on {x.shape[2]}x{x.shape[3]} pixels: "
                f"{_first_line(error)}",
                remedy="give a model whose height and width are free",
            ) from error
        if out.ndim != 4 or out.shape[1] not in (1, 3):
            raise InputError(
                f"teacher {self.path.name} has a result of shape {out.shape}",
                remedy="give a model that makes pictures, [N, 1 or 3, H, W]",
            )
        return out


def _open(path: Path, threads: int) -> Any:
    import onnxruntime

    if not path.is_file():
        raise InputError(f"there is no teacher {path}", remedy="give the path of an ONNX file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime has errors of its own for every reason
        raise InputError(
            f"teacher {path} is no model that runs: {_first_line(error)}",
            remedy="give an ONNX file",
        ) from error


def _border(path: Path, session: Any) -> _Border:
    inputs = session.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 else []
    if len(shape) != 4 or shape[1] not in (1, 3) or inputs[0].type not in _TYPES:
        said = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
        raise InputError(
            f"teacher {path.name} takes {said}",
            remedy="give a model with one input [N, 1 or 3, H, W] of float or uint8",
        )
    batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None
    return _Border(inputs[0].name, _TYPES[inputs[0].type], int(shape[1]), batch)


def _size(plane: NDArray[Any]) -> str:
    return f"{plane.shape[0]}x{plane.shape[1]}"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else repr(error)
