"""Structure checks on the records of a file: what makes it no model.

TFLite runs operators in the order of the file, so each may read only what stands before it.
"""

from __future__ import annotations

from collections.abc import Sequence

from intaglio.errors import InputError
from intaglio.targets.tflite.flatfile import FlatFile, OperatorRecord
from intaglio.targets.tflite.scope import Tensor

#: Operators a file may have (large language models have some thousands): bounds the time.
MAX_OPERATORS = 10_000

# The custom operator of what Vela has compiled.
_NPU = "ethos-u"


def check_border(file: FlatFile) -> None:
    """Checks that there is something to compute, from something, and that indices exist.

    Raises:
        InputError: No operators, inputs or outputs, too many of them, or an index out of range.
    """
    graph, path = file.graph, file.buffer.path
    if not graph.operators:
        raise InputError(f"{path} has no operators", remedy="export the trained model again")
    if len(graph.operators) > MAX_OPERATORS:
        raise InputError(
            f"{path} has {len(graph.operators)} operators, more than {MAX_OPERATORS}",
            remedy="convert the model in parts",
        )
    if not graph.outputs:
        raise InputError(f"{path} has no outputs", remedy="export it with its outputs declared")
    if not graph.inputs:
        raise InputError(
            f"{path} has no inputs: it is a constant",
            remedy="export it without folding the input away",
        )
    count = len(graph.tensors)
    for index in (*graph.inputs, *graph.outputs):
        if not 0 <= index < count:
            raise file.buffer.damaged(f"its border names tensor {index} of {count}")
    for number, operator in enumerate(graph.operators):
        for index in operator.inputs:
            if not -1 <= index < count:
                raise _damaged(file, number, f"reads tensor {index} of {count}")
        for index in operator.outputs:
            if not 0 <= index < count:
                raise _damaged(file, number, f"makes tensor {index} of {count}")


def check_not_compiled(file: FlatFile) -> None:
    """Refuses what Vela has compiled.

    Raises:
        InputError: It has the custom operator of an NPU.
    """
    for operator in file.graph.operators:
        if operator.kind.custom and operator.kind.name == _NPU:
            raise InputError(
                f"{file.buffer.path} is compiled for an Ethos-U NPU: its operators are hidden in "
                f"'{_NPU}'",
                remedy="give the file that it was compiled from",
            )


def check_order(file: FlatFile, tensors: Sequence[Tensor]) -> None:
    """Checks that every tensor is made once, and before it is read.

    Raises:
        InputError: One is made twice or by nobody, or the graph has a cycle; names them.
    """
    graph = file.graph
    producers: dict[int, int] = {}
    for number, operator in enumerate(graph.operators):
        for index in operator.outputs:
            if index in producers or index in graph.inputs:
                raise _damaged(file, number, f"makes '{tensors[index].name}', which exists already")
            if tensors[index].data is not None:
                raise _damaged(file, number, f"makes '{tensors[index].name}', which is a constant")
            producers[index] = number
    known = set(graph.inputs) | {t.index for t in tensors if t.data is not None or 0 in t.shape}
    # Of a state nothing is known here: whoever reads it is refused, not called damaged.
    known |= {i for i, record in enumerate(graph.tensors) if record.variable or record.external}
    known |= {i for i, record in enumerate(graph.tensors) if len(record.data)}
    for number, operator in enumerate(graph.operators):
        for index in operator.inputs:
            if index < 0 or index in known:
                continue
            name = tensors[index].name
            if index in producers:
                raise _damaged(
                    file, number, f"reads '{name}' before it is made: the graph has a cycle"
                )
            raise _damaged(file, number, f"reads '{name}', which nothing makes")
        known.update(operator.outputs)
    for index in graph.outputs:
        if index not in known:
            raise file.buffer.damaged(f"nothing makes its output '{tensors[index].name}'")


def live_operators(file: FlatFile) -> list[int]:
    """Indices of the operators that some output depends on, in order.

    Raises:
        InputError: No output depends on an input.
    """
    graph = file.graph
    needed, live = set(graph.outputs), []
    for number in range(len(graph.operators) - 1, -1, -1):
        operator = graph.operators[number]
        if not needed.isdisjoint(operator.outputs):
            needed.update(operator.inputs)
            live.append(number)
    if needed.isdisjoint(graph.inputs):
        raise InputError(
            f"no output of {file.buffer.path} depends on its inputs: it is a constant",
            remedy="export it without folding the input away",
        )
    return live[::-1]


def _damaged(file: FlatFile, number: int, what: str) -> InputError:
    kind = _name(file.graph.operators[number])
    return file.buffer.damaged(f"operator {number} ({kind}) {what}")


def _name(operator: OperatorRecord) -> str:
    return operator.kind.name
