"""Marks on a model: which steps are done, and whether it is quantized already."""

from __future__ import annotations

import onnx_ir as ir

from intaglio.passes.dialect.specification import DOMAIN

DONE_PREFIX = "intaglio.done."

#: Metadata of a model in the integer form: its form, and its arithmetic profile.
FORM_KEY = "intaglio.form"
PROFILE_KEY = "intaglio.profile"

#: What was repaired on reading: sentences, one a line.
WARNINGS_KEY = "intaglio.warnings"

#: Float types of the file that have become float32, separated by commas.
NARROWED_KEY = "intaglio.source_dtype"

#: Reason of the skip of every step that has nothing to do on a quantized model.
ALREADY_QUANTIZED = "the model is quantized already; its own scales are kept"


def reading_warnings(model: ir.Model) -> list[str]:
    """What was repaired or guessed when the file of ``model`` was read."""
    return model.metadata_props.get(WARNINGS_KEY, "").splitlines()


def is_done(model: ir.Model, name: str) -> bool:
    """Whether the pass called ``name`` has marked ``model`` as done."""
    return DONE_PREFIX + name in model.metadata_props


def mark_done(model: ir.Model, name: str, detail: str = "1") -> None:
    """Marks ``model``, so that a second run of the pass called ``name`` leaves it alone.

    Args:
        model: The model.
        name: Dotted name of the pass.
        detail: What the pass wants to know about it later.
    """
    model.metadata_props[DONE_PREFIX + name] = detail


def done_detail(model: ir.Model, name: str) -> str | None:
    """What the pass called ``name`` noted when it marked ``model``, or None."""
    return model.metadata_props.get(DONE_PREFIX + name)


def is_quantized(model: ir.Model) -> bool:
    """Whether ``model`` holds QuantizeLinear or DequantizeLinear: its scales are given then."""
    kinds = ("QuantizeLinear", "DequantizeLinear")
    return any(node.op_type in kinds for node in model.graph.all_nodes())


def is_integer(model: ir.Model) -> bool:
    """Whether ``model`` is in the integer form."""
    return model.metadata_props.get(FORM_KEY) == "integer"


def mark_integer(model: ir.Model, profile: str) -> None:
    """Marks ``model`` as being in the integer form, in the arithmetic of ``profile``."""
    model.metadata_props[FORM_KEY] = "integer"
    model.metadata_props[PROFILE_KEY] = profile


def is_tabulated(model: ir.Model) -> bool:
    """Whether tables stand among float operators: not quantized, and yet no longer all float."""
    if is_integer(model) or is_quantized(model):
        return False
    nodes = model.graph.all_nodes()
    return any(node.domain == DOMAIN and node.op_type == "AdditiveLut" for node in nodes)
