"""Marks of a training graph: what it was built for, and which phase a node belongs to.

The model's mark is a JSON object (loss, optimizer, parameters, state). Nodes of the model itself
carry no mark; the others say ``loss``, ``backward`` or ``update``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

#: Metadata of the model: what the training graph is.
MODEL_KEY = "intaglio.training"

#: Metadata of a node that the differentiation added: its phase.
PHASE_KEY = "intaglio.training.phase"

LOSS = "loss"
BACKWARD = "backward"
UPDATE = "update"


def is_training_graph(model: ir.Model) -> bool:
    """Whether ``model`` is a training graph already."""
    return MODEL_KEY in model.metadata_props


def mark_training_graph(model: ir.Model, description: Mapping[str, Any]) -> None:
    """Notes on ``model`` that it is a training graph, and what of."""
    model.metadata_props[MODEL_KEY] = json.dumps(description, sort_keys=True)


def description(model: ir.Model) -> dict[str, Any]:
    """What :func:`mark_training_graph` noted; empty for any other model."""
    found: dict[str, Any] = json.loads(model.metadata_props.get(MODEL_KEY, "{}"))
    return found


def phase(node: ir.Node) -> str | None:
    """The phase of an added node; None for a node of the model itself."""
    return node.metadata_props.get(PHASE_KEY)
