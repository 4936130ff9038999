"""The weights of a file: external data, sizes that must agree, and numbers that must be finite."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from intaglio.errors import InputError

_BITS: dict[int, int] = {
    onnx.TensorProto.INT4: 4,
    onnx.TensorProto.UINT4: 4,
    onnx.TensorProto.FLOAT4E2M1: 4,
}


def load_external_data(model: onnx.ModelProto, path: Path) -> None:
    """Loads weights that are stored beside the model file into the message.

    Args:
        model: The model; its external tensors become ordinary ones.
        path: The model file; locations are relative to its folder and may not leave it.

    Raises:
        InputError: A location outside of the folder, a missing file, or one that is too short.
    """
    folder = path.parent.resolve()
    for tensor in _tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        file = _inside(folder, location, tensor.name)
        size = expected_bytes(tensor)
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
        except ValueError as error:
            raise InputError(
                f"external data of '{tensor.name}' has no valid offset or length",
                remedy="the model file is damaged; export it again",
            ) from error
        if offset < 0 or length != size:
            raise InputError(
                f"external data of '{tensor.name}' is {length} bytes at {offset}, not {size}",
                remedy="model file and data file do not belong together",
            )
        if file.stat().st_size < offset + length:
            raise InputError(
                f"{location} ends before the data of '{tensor.name}'",
                remedy="the data file is truncated; copy or export it again",
            )
        with file.open("rb") as stream:
            stream.seek(offset)
            tensor.raw_data = stream.read(length)
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT


def expected_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes that the dimensions and the element type of ``tensor`` call for.

    Raises:
        InputError: A negative dimension or an unknown element type.
    """
    if any(dim < 0 for dim in tensor.dims):
        raise InputError(
            f"initializer '{tensor.name}' has a negative dimension", remedy="the file is damaged"
        )
    count = int(math.prod(tensor.dims))
    if tensor.data_type in _BITS:
        return (count * _BITS[tensor.data_type] + 7) // 8
    try:
        return count * int(
            np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"initializer '{tensor.name}' has the unknown element type {tensor.data_type}",
            remedy="the file is damaged, or newer than the installed onnx package",
        ) from error


def check_weights(model: onnx.ModelProto) -> None:
    """Checks that every weight has the data its shape calls for, and only finite numbers.

    Infinite scalars are taken where they are bounds (Clip, Min, Max).

    Raises:
        InputError: Names the initializer (or the Constant node) that is wrong.
    """
    bounds = {
        name
        for node in model.graph.node
        if node.op_type in ("Clip", "Min", "Max", "Pad")
        for name in node.input
    }
    for tensor in _tensors(model):
        array = _array(tensor)
        if array.dtype.kind not in "fcV" or array.size == 0:
            continue
        values = array.astype(np.float64) if array.dtype.kind == "V" else array
        finite = np.isfinite(values)
        if finite.all():
            continue
        if array.size == 1 and tensor.name in bounds and not np.isnan(values).any():
            continue
        bad = int(array.size - np.count_nonzero(finite))
        kind = "NaN" if np.isnan(values).any() else "infinite"
        raise InputError(
            f"initializer '{tensor.name}' holds {kind} values ({bad} of {array.size})",
            remedy="training diverged or the file is damaged: export a sound checkpoint",
        )


def _array(tensor: onnx.TensorProto) -> np.ndarray:
    if tensor.HasField("raw_data") and len(tensor.raw_data) != expected_bytes(tensor):
        raise InputError(
            f"initializer '{tensor.name}' has {len(tensor.raw_data)} bytes, "
            f"its shape calls for {expected_bytes(tensor)}",
            remedy="the file is damaged; export it again",
        )
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise InputError(
            f"initializer '{tensor.name}' does not have the data that its shape calls for",
            remedy="the file is damaged; export it again",
        ) from error


def _inside(folder: Path, location: str, tensor: str) -> Path:
    file = (folder / location).resolve()
    if not location or Path(location).is_absolute() or folder not in file.parents:
        raise InputError(
            f"external data of '{tensor}' is outside of the model's folder: '{location}'",
            remedy="keep the data file beside the model file",
        )
    if not file.is_file():
        raise InputError(
            f"external data file '{location}' of '{tensor}' is missing",
            remedy="copy it beside the model file",
        )
    return file


def _tensors(model: onnx.ModelProto) -> Iterable[onnx.TensorProto]:
    yield from model.graph.initializer
    nodes = [*model.graph.node, *(node for f in model.functions for node in f.node)]
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                if not attribute.t.name and node.output:
                    attribute.t.name = node.output[0]
                yield attribute.t
            yield from attribute.tensors
