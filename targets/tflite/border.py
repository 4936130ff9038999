"""The inputs and outputs of a TFLite file as it stands, without reading its operators."""

from __future__ import annotations

from pathlib import Path

from intaglio.targets.base import TensorSpec
from intaglio.targets.tflite.flatfile import TensorRecord, read_file, read_flatfile
from intaglio.targets.tflite.structure import check_border
from intaglio.targets.tflite.table import tensor_entry
from intaglio.targets.tflite.tensors import unique_names


def read_border(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Specs of the inputs and of the outputs of a TFLite file, in its own types and layout.

    Args:
        path: The file.

    Returns:
        Inputs and outputs; an open dimension is ``"?"``.

    Raises:
        InputError: The file is missing or damaged.
    """
    file = read_flatfile(read_file(path), str(path))
    check_border(file)
    graph, names = file.graph, unique_names(file)

    def specs(indices: tuple[int, ...]) -> tuple[TensorSpec, ...]:
        return tuple(_spec(graph.tensors[index], names[index]) for index in indices)

    return specs(graph.inputs), specs(graph.outputs)


def _spec(record: TensorRecord, name: str) -> TensorSpec:
    entry = tensor_entry(record, name)
    shape = tuple("?" if dim < 0 else dim for dim in entry.signature)
    scale, zero_point = None, None
    stated = record.quantization
    if stated is not None and stated.scale.size == 1:
        scale = float(stated.scale[0])
        zero_point = int(stated.zero_point[0]) if stated.zero_point.size else 0
    layout = "NHWC" if len(shape) == 4 else ""
    return TensorSpec(name, shape, entry.dtype, layout, scale, zero_point)
