"""Names, shapes and types of a TFLite file's tensors: all that running it needs to know.

TFLite Micro tells no names, and each runtime has its own idea of what to do with equal ones; so
they come from the file, made unique as the reader makes them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from intaglio.targets.tflite.flatfile import TensorRecord, read_file, read_flatfile
from intaglio.targets.tflite.schema import TENSOR_DTYPES
from intaglio.targets.tflite.structure import check_border, check_not_compiled
from intaglio.targets.tflite.tensors import unique_names


@dataclasses.dataclass(frozen=True)
class TableEntry:
    """A tensor of the file.

    Attributes:
        name: Its name, made unique.
        shape: Dimensions as the file states them.
        signature: Dimensions with -1 for open ones.
        dtype: numpy name of its elements; ``unknown`` for types that numpy has none for.
    """

    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    dtype: str


@dataclasses.dataclass(frozen=True)
class Table:
    """The tensors of a file's main graph.

    Attributes:
        tensors: Every tensor, by index.
        inputs: Indices of the inputs in order.
        outputs: Indices of the outputs in order.
        stateful: Whether there are variables, which keep their value from run to run.
    """

    tensors: tuple[TableEntry, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    stateful: bool


def read_table(path: Path) -> Table:
    """Reads the tensor table of a TFLite file.

    Args:
        path: The file.

    Returns:
        The table of its main graph.

    Raises:
        InputError: The file is missing or damaged.
    """
    file = read_flatfile(read_file(path), str(path))
    check_not_compiled(file)
    check_border(file)
    records = file.graph.tensors
    names = unique_names(file)
    return Table(
        tuple(tensor_entry(record, name) for record, name in zip(records, names, strict=True)),
        file.graph.inputs,
        file.graph.outputs,
        any(record.variable for record in records),
    )


def tensor_entry(record: TensorRecord, name: str) -> TableEntry:
    """What running needs to know of one tensor."""
    # Old converters wrote -1 for open dimensions into the shape itself; runtimes start with 1.
    shape = tuple(1 if dim < 0 else dim for dim in record.shape)
    signature = record.signature or record.shape
    if len(signature) != len(shape):
        signature = shape
    return TableEntry(name, shape, signature, TENSOR_DTYPES.get(record.kind, "unknown"))
