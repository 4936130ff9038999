"""The operators of the files that go into Vela, and of those that come out."""

from __future__ import annotations

import dataclasses

from intaglio.errors import InputError, ToolError
from intaglio.targets.ethos_u.reports import OTHER_VERSION
from intaglio.targets.tflite.flatfile import read_flatfile
from intaglio.targets.tflite.structure import check_border
from intaglio.targets.tosa.flatfile import operator_name, read_tosa

#: What only holds a constant in a TOSA file; TFLite has no operators for that.
CONSTANTS = ("CONST", "CONST_SHAPE")


@dataclasses.dataclass(frozen=True)
class FileOperator:
    """An operator of a ``.tflite`` or ``.tosa`` file.

    Attributes:
        name: Name of the operator, or the custom code.
        outputs: Names of the tensors it makes.
        custom: Whether it is a custom operator.
        inputs: Names of the tensors it takes.
    """

    name: str
    outputs: tuple[str, ...]
    custom: bool = False
    inputs: tuple[str, ...] = ()


def read_operators(data: bytes) -> tuple[FileOperator, ...]:
    """The operators of a ``.tflite`` file, in order.

    Args:
        data: The file's bytes, as an emitter or Vela wrote them.

    Raises:
        ToolError: They are no TFLite file.
    """
    try:
        file = read_flatfile(data, "it")
        check_border(file)
    except InputError as error:
        raise ToolError(
            f"Vela's file cannot be read: {error.message}",
            command=("vela",),
            returncode=0,
            remedy=OTHER_VERSION,
        ) from error
    names = [tensor.name for tensor in file.graph.tensors]
    return tuple(
        FileOperator(
            operator.kind.name,
            tuple(names[index] for index in operator.outputs),
            operator.kind.custom,
            tuple(names[index] for index in operator.inputs if index >= 0),
        )
        for operator in file.graph.operators
    )


def read_tosa_operators(data: bytes) -> tuple[FileOperator, ...]:
    """The operators of a ``.tosa`` file, in order, those that hold constants among them.

    Raises:
        InputError: It is no TOSA file.
    """
    return tuple(
        FileOperator(operator_name(each.code), each.outputs, inputs=each.inputs)
        for each in read_tosa(data, "it").operators
    )
