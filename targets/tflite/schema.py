"""The flatbuffer schema of TFLite files: generated classes and the names of their enums.

The classes come with the runtime (``ai-edge-litert``); this is the only module that imports them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from intaglio.targets.tflite.flatbuffer import IDENTIFIER

__all__ = ["IDENTIFIER", "OPERATOR_CODES", "OPERATOR_NAMES", "TENSOR_DTYPES", "schema"]


def _names(enum: type[Any]) -> Mapping[int, str]:
    found = {v: k for k, v in vars(enum).items() if isinstance(v, int) and not k.startswith("_")}
    return MappingProxyType(found)


#: Builtin operator code to its name, such as ``CONV_2D``.
OPERATOR_NAMES: Mapping[int, str] = _names(schema.BuiltinOperator)

#: The other way round.
OPERATOR_CODES: Mapping[str, int] = MappingProxyType({v: k for k, v in OPERATOR_NAMES.items()})

#: Tensor type to the numpy name of its elements; types that numpy has no name for are left out.
TENSOR_DTYPES: Mapping[int, str] = MappingProxyType(
    {
        number: name.lower()
        for number, name in _names(schema.TensorType).items()
        if name.lower()
        in {
            "float64",
            "float32",
            "float16",
            "int8",
            "int16",
            "int32",
            "int64",
            "uint8",
            "uint16",
            "uint32",
            "uint64",
            "bool",
        }
    }
)
