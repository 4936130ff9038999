"""Objects of the schema with their fields given by name."""

from __future__ import annotations

from typing import Any

from intaglio.errors import InternalError
from intaglio.targets.tflite.schema import schema


def options(kind: str, **fields: Any) -> Any:
    """An options object of the schema.

    Args:
        kind: Table of the schema, such as ``Conv2DOptions``.
        **fields: Its fields; the others have the schema's defaults.

    Raises:
        InternalError: The table has no such field.
    """
    found = getattr(schema, f"{kind}T")()
    for name, value in fields.items():
        if not hasattr(found, name):
            raise InternalError(f"{kind} has no field {name}")
        setattr(found, name, value)
    return found
