"""Which operators of a TOSA file an NPU lacks.

For TOSA there is no CPU beside the NPU: where it lacks one operator, Vela writes nothing. What a
family lacks altogether is refused before Vela is asked (:func:`lacking`). What it lacks in some
form only, Vela finds; it names the operator by its own word (``Not`` for BITWISE_NOT) and says
nothing of the tensor. That is found by compiling shorter and shorter parts of the file
(:func:`refusal_of`): with the tensors up to some point as the only outputs, Vela drops all the
rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from intaglio.errors import Refusal, ToolError
from intaglio.targets.ethos_u.files import FileOperator, read_tosa_operators
from intaglio.targets.ethos_u.layers import layers_of
from intaglio.targets.ethos_u.options import SMALLER, EthosUConfig
from intaglio.targets.ethos_u.vela import compiles
from intaglio.targets.tosa.flatfile import read_tosa, with_outputs

# Operators that Ethos-U55 and U65 lack in every form, and Ethos-U85 has (Vela 5.2,
# --supported-ops-report).
_LACKED = frozenset(
    {
        "BITWISE_AND",
        "BITWISE_NOT",
        "BITWISE_OR",
        "BITWISE_XOR",
        "EQUAL",
        "GATHER",
        "GREATER",
        "GREATER_EQUAL",
        "INTDIV",
        "LOGICAL_AND",
        "LOGICAL_NOT",
        "LOGICAL_OR",
        "LOGICAL_RIGHT_SHIFT",
        "LOGICAL_XOR",
        "REDUCE_ALL",
        "REDUCE_ANY",
        "SCATTER",
        "SELECT",
    }
)

# Vela's words that are not those of TOSA.
_WORDS = {
    "asr": "arithmeticrightshift",
    "shl": "logicalleftshift",
    "shr": "logicalrightshift",
    "lut": "table",
    "avgpool": "avgpool2d",
    "maxpool": "maxpool2d",
}

# What an NPU reads and writes; accumulators are no outputs of a network.
_STORED = ("int8", "int16")

_LACKS = re.compile(r"operation \((\w+)\) could not run on NPU")

_REMEDY = (
    "compile via tflite, where the CPU takes it (--set ethos-u.via=tflite), or choose an NPU that "
    "has it: Ethos-U85 has the most"
)


def lacking(data: bytes, config: EthosUConfig, nodes: Mapping[str, str]) -> list[Refusal]:
    """What the NPU's family lacks in every form.

    Args:
        data: The TOSA file.
        config: The NPU.
        nodes: Source nodes, as :func:`.layers.source_nodes` gives them.

    Returns:
        One refusal for each node and operator.
    """
    if not config.accelerator.startswith(SMALLER):
        return []
    operators = read_tosa_operators(data)
    found: dict[tuple[str, str], Refusal] = {}
    for operator, layer in zip(operators, layers_of(operators, nodes), strict=True):
        if operator.name in _LACKED:
            refusal = _refusal(operator, layer, config)
            found.setdefault((refusal.node, operator.name), refusal)
    return list(found.values())


def refusal_of(
    error: ToolError, data: bytes, config: EthosUConfig, nodes: Mapping[str, str]
) -> Refusal | None:
    """What stands behind an error of Vela.

    Args:
        error: The error; its log is read.
        data: The TOSA file.
        config: The NPU.
        nodes: Source nodes, as :func:`.layers.source_nodes` gives them.

    Returns:
        The node that the NPU lacks an operator for; None where the error is another one.
    """
    match = _LACKS.search(_log(error))
    if match is None:
        return None
    operators = read_tosa_operators(data)
    layers = layers_of(operators, nodes)
    index = _first_lacking(data, operators, config, match[1])
    if index is None:
        return Refusal("", match[1], f"{config.accelerator} lacks it", _REMEDY)
    return _refusal(operators[index], layers[index], config)


def _refusal(operator: FileOperator, layer: str, config: EthosUConfig) -> Refusal:
    made = operator.outputs[0] if operator.outputs else ""
    reason = f"{config.accelerator} cannot run the {operator.name} that makes '{made}'"
    return Refusal(layer or made, operator.name, reason, _REMEDY)


def _first_lacking(
    data: bytes, operators: tuple[FileOperator, ...], config: EthosUConfig, word: str
) -> int | None:
    """Index of the operator without which Vela would take the file; ``word`` is Vela's for it."""
    file = read_tosa(data, "it")
    stored = {name for name, tensor in file.tensors.items() if tensor.dtype in _STORED}
    stored |= set(file.outputs)
    ends = [
        i for i, each in enumerate(operators) if each.inputs and stored.issuperset(each.outputs)
    ]
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high) // 2
        names = [name for i in ends[: middle + 1] for name in operators[i].outputs]
        if compiles(with_outputs(data, names), config):
            low = middle + 1
        else:
            high = middle
    if low == len(ends):
        return None
    # It stands behind the last tensor that can be had: the one that Vela's word fits, else the end.
    start = ends[low - 1] + 1 if low else 0
    span = [i for i in range(start, ends[low] + 1) if operators[i].inputs]
    fitting = [i for i in span if _fits(word, operators[i].name)]
    return (fitting or span)[-1]


def _fits(word: str, name: str) -> bool:
    """Whether Vela's word for an operator is that of TOSA, but for how it is written."""
    plain = name.replace("_", "").lower()
    spoken = _WORDS.get(word.lower(), word.lower())
    return plain in (spoken, f"bitwise{spoken}")


def _log(error: ToolError) -> str:
    if error.log is None:
        return error.message
    try:
        return error.log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return error.message
