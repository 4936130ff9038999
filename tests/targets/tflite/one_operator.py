"""TFLite files of one operator, read and run: onnxruntime on what was read, LiteRT on the file."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.lower.shift_unsigned import ShiftUnsigned
from intaglio.passes.lower.to_integer import ToInteger
from intaglio.targets.tflite.child import Child
from intaglio.targets.tflite.read import read_bytes
from intaglio.targets.tflite.runtimes import get_runtime
from intaglio.targets.tflite.schema import schema
from intaglio.targets.tflite.writer import FileBuilder
from tests.helpers import open_session

RUNTIME = "litert-reference"


@dataclasses.dataclass(frozen=True)
class T:
    """A tensor of a test file: an input, or a constant where it has ``data``.

    Attributes:
        shape: Its dimensions.
        dtype: numpy name of its elements.
        data: A constant's elements.
        scale: Scale, or scales along ``axis``; None where it is not quantized.
        zero_point: Zero point.
        axis: Axis of several scales.
        signature: Dimensions with -1 for open ones.
    """

    shape: Sequence[int] = ()
    dtype: str = "float32"
    data: Any = None
    scale: Any = None
    zero_point: int = 0
    axis: int = 0
    signature: Sequence[int] | None = None


def constant(numbers: Any, dtype: str = "int32") -> T:
    """A constant such as axes or sizes."""
    array = np.asarray(numbers, dtype)
    return T(array.shape, dtype, array)


@dataclasses.dataclass(frozen=True)
class Step:
    """An operator of a test file; tensors are named by their place in the list of all."""

    name: str
    inputs: Sequence[int]
    outputs: Sequence[int]
    options: Any = None
    version: int = 1


def options(kind: str, **fields: Any) -> Any:
    """An object such as ``Conv2DOptionsT`` with some fields set."""
    found = getattr(schema, f"{kind}OptionsT")()
    for name, value in fields.items():
        if not hasattr(found, name):
            raise AttributeError(name)
        setattr(found, name, np.array(value, np.int32) if isinstance(value, list) else value)
    return found


def file_of(tensors: Sequence[T], steps: Sequence[Step], outputs: Sequence[int]) -> bytes:
    """A TFLite file; its inputs are the tensors that no operator makes and that hold no data."""
    builder = FileBuilder("test")
    made = {index for step in steps for index in step.outputs}
    for index, tensor in enumerate(tensors):
        builder.tensor(
            f"t{index}",
            tensor.shape,
            tensor.dtype,
            data=None if tensor.data is None else np.asarray(tensor.data, tensor.dtype),
            scale=tensor.scale,
            zero_point=(
                None if tensor.scale is None else np.full(np.size(tensor.scale), tensor.zero_point)
            ),
            axis=tensor.axis,
            signature=tensor.signature,
        )
    for step in steps:
        custom = step.options if isinstance(step.options, bytes) else None
        chosen = None if custom is not None else step.options
        builder.operator(step.name, step.inputs, step.outputs, chosen, step.version, custom)
    builder.inputs([i for i, tensor in enumerate(tensors) if i not in made and tensor.data is None])
    builder.outputs(outputs)
    return builder.to_bytes()


def one(
    name: str,
    inputs: Sequence[T],
    outputs: Sequence[T],
    chosen: Any = None,
    version: int = 1,
) -> bytes:
    """A file of one operator."""
    count = len(inputs)
    places = range(count, count + len(outputs))
    step = Step(name, range(count), places, chosen, version)
    return file_of([*inputs, *outputs], [step], list(places))


def read(data: bytes, shapes: dict[str, Sequence[int]] | None = None) -> ir.Model:
    """The model that is read from a file in memory."""
    return read_bytes(data, "test.tflite", shapes or {})


def feed(
    model: ir.Model, seed: int = 0, low: float = -3.0, high: float = 3.0
) -> list[NDArray[Any]]:
    """Random inputs in the order of the model's inputs."""
    rng = np.random.default_rng(seed)
    found = []
    for value in model.graph.inputs:
        kind, shape = value.dtype.numpy(), [int(d) for d in value.shape]
        if np.issubdtype(kind, np.floating):
            found.append(rng.uniform(low, high, shape).astype(kind))
        elif np.dtype(kind).kind == "b":
            found.append(rng.integers(0, 2, shape).astype(bool))
        elif np.dtype(kind).itemsize < 4:
            limits = np.iinfo(kind)
            found.append(rng.integers(limits.min, limits.max + 1, shape).astype(kind))
        else:
            found.append(rng.integers(0, 2, shape).astype(kind))
    return found


def run_read(model: ir.Model, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Outputs of a model on onnxruntime, in order."""
    session = open_session(model)
    names = [value.name for value in session.get_inputs()]
    return list(session.run(None, dict(zip(names, inputs, strict=True))))


def lower(model: ir.Model, profile: str = "litert") -> ir.Model:
    """The integer form of a quantized model."""
    ShiftUnsigned()(model)
    return ToInteger(ToInteger.Config(profile=profile))(model).model


class Judge:
    """LiteRT's reference kernels in a child process, which runs one file after the other.

    Args:
        folder: Where the files are written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "judged.tflite"
        self._child: Child | None = None

    def run(self, data: bytes, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Outputs of a file, in order.

        Raises:
            InputError: The runtime refuses the file.
            ToolError: It crashed.
        """
        self._path.write_bytes(data)
        if self._child is None or not self._child.alive:
            self._child = Child(
                self._path, get_runtime(RUNTIME), timeout_s=60, outputs=1, stateful=False
            )
        else:
            self._child.call(
                "load", path=str(self._path), runtime=RUNTIME, outputs=1, stateful=False
            )
        _, results = self._child.call("run", [array[None] for array in inputs], inner=[])
        return [result[0] for result in results]

    def close(self) -> None:
        """Ends the child."""
        if self._child is not None:
            self._child.close()


def check(
    judge: Judge,
    data: bytes,
    *,
    seed: int = 0,
    integer: bool = False,
    tolerance: float = 0.0,
    codes_off: int = 0,
    inputs: Sequence[NDArray[Any]] | None = None,
) -> ir.Model:
    """What was read computes what LiteRT computes on the file.

    Args:
        judge: Runs the file.
        data: The file.
        seed: Of the inputs.
        integer: Whether the integer form is checked, too: bit for bit.
        tolerance: Largest difference of float outputs, absolute and relative.
        codes_off: Largest difference of integers that are computed in float, between
            DequantizeLinear and QuantizeLinear; in the integer form none is allowed.
        inputs: The inputs, random where there are none.

    Returns:
        The model that was read.
    """
    model = read(data)
    given = feed(model, seed) if inputs is None else list(inputs)
    expected = judge.run(data, given)
    _compare(expected, run_read(model, given), tolerance, codes_off)
    if integer:
        unsigned = [array.dtype == np.uint8 for array in given]
        lowered = lower(read(data))
        shifted = [
            (array.astype(np.int16) - 128).astype(np.int8) if flag else array
            for array, flag in zip(given, unsigned, strict=True)
        ]
        actual = run_read(lowered, shifted)
        for result, wanted in zip(actual, expected, strict=True):
            if wanted.dtype == np.uint8:
                wanted = (wanted.astype(np.int16) - 128).astype(np.int8)
            _compare([wanted], [result])
    return model


def _compare(
    expected: Sequence[NDArray[Any]],
    actual: Sequence[NDArray[Any]],
    tolerance: float = 0.0,
    lsb: int = 0,
) -> None:
    assert len(expected) == len(actual)
    for wanted, found in zip(expected, actual, strict=True):
        assert found.dtype == wanted.dtype
        assert found.shape == wanted.shape
        allowed = tolerance if wanted.dtype.kind == "f" else lsb
        if allowed:
            relative = allowed if wanted.dtype.kind == "f" else 0
            np.testing.assert_allclose(
                found.astype(np.float64), wanted.astype(np.float64), rtol=relative, atol=allowed
            )
        else:
            np.testing.assert_array_equal(found, wanted)
