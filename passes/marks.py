"""Marks on a model: which steps are done, and whether it is quantized already."""

from __future__ import annotations

import onnx_ir as ir

DONE_PREFIX = "intaglio.done."

#: Reason of the skip of every step that has nothing to do on a quantized model.
ALREADY_QUANTIZED = "the model is quantized already; its own scales are kept"


def is_done(model: ir.Model, name: str) -> bool:
    """Whether the pass called ``name`` has marked ``model`` as done."""
    return DONE_PREFIX + name in model.metadata_props


def mark_done(model: ir.Model, name: str) -> None:
    """Marks ``model``, so that a second run of the pass called ``name`` leaves it alone."""
    model.metadata_props[DONE_PREFIX + name] = "1"


def is_quantized(model: ir.Model) -> bool:
    """Whether ``model`` holds QuantizeLinear or DequantizeLinear: its scales are given then."""
    kinds = ("QuantizeLinear", "DequantizeLinear")
    return any(node.op_type in kinds for node in model.graph.all_nodes())
