"""Marks of a model that is cut in two: its codec, and the values that go over the wire."""

from __future__ import annotations

import json
from collections.abc import Sequence

import onnx_ir as ir

from intaglio.errors import InputError
from intaglio.transforms.split.specification import CodecSpecification

#: Metadata of a model: the specification of its codec, as JSON.
SPLIT_KEY = "intaglio.split"
#: Metadata of a model: names of the values that the device sends, a JSON list.
WIRE_KEY = "intaglio.wire"


def write_codec(model: ir.Model, specification: CodecSpecification) -> None:
    """Marks ``model`` with the codec of its cut."""
    model.metadata_props[SPLIT_KEY] = specification.to_json()


def read_codec(model: ir.Model) -> CodecSpecification | None:
    """The codec that ``model`` is marked with, or None.

    Raises:
        InputError: The mark is damaged.
    """
    text = model.metadata_props.get(SPLIT_KEY)
    if text is None:
        return None
    try:
        return CodecSpecification.from_json(text)
    except ValueError as error:
        raise InputError(
            f"the codec in the model's metadata ({SPLIT_KEY}) is damaged: {error}",
            remedy="convert the source model again",
        ) from error


def set_wire(model: ir.Model, names: Sequence[str]) -> None:
    """Notes which values the device sends: the codes, and the ranges where they are dynamic."""
    model.metadata_props[WIRE_KEY] = json.dumps(list(names))


def get_wire(model: ir.Model) -> tuple[str, ...] | None:
    """Names of the values that the device sends, None where no codec is in the graph yet."""
    text = model.metadata_props.get(WIRE_KEY)
    return None if text is None else tuple(json.loads(text))
