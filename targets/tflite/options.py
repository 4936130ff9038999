"""Options of builtin operators: which kind belongs to which operator, and their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intaglio.errors import InputError
from intaglio.targets.tflite.flatfile import OperatorRecord, options_object
from intaglio.targets.tflite.schema import OPERATOR_NAMES, schema

# Where the name of the options is not that of the operator.
_OTHER: Mapping[str, str] = {
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "L2_POOL_2D": "Pool2DOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "MEAN": "ReducerOptions",
    "SUM": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "REDUCE_PROD": "ReducerOptions",
    "REDUCE_ANY": "ReducerOptions",
    "REDUCE_ALL": "ReducerOptions",
}


def _expected() -> dict[str, str]:
    kinds = {k.removesuffix("Options").lower(): k for k in vars(schema.BuiltinOptions)}
    found = {
        name: kinds[key]
        for name in OPERATOR_NAMES.values()
        if (key := name.replace("_", "").lower()) in kinds
    }
    return {**found, **_OTHER}


#: Operator name to the name of its options; operators without options are left out.
OPTIONS: Mapping[str, str] = _expected()


def read_options(record: OperatorRecord, path: str) -> Any:
    """The options of an operator.

    Args:
        record: The operator.
        path: File name, for messages.

    Returns:
        An object of the schema; with its defaults where the file has none, as the runtimes do.
        None for operators without options.

    Raises:
        InputError: They are those of another operator, or damaged.
    """
    name = record.kind.name
    expected = None if record.kind.custom else OPTIONS.get(name)
    if expected is None:
        return None
    found = options_object(record)
    if found is None:
        return getattr(schema, f"{expected}T")()
    if type(found).__name__ != f"{expected}T":
        raise InputError(
            f"{path}: an operator {name} has {type(found).__name__.removesuffix('T')}, not "
            f"{expected}",
            remedy="the file is damaged; export it again",
        )
    return found
