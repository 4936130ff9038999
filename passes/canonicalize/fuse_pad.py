"""A Pad in front of a window becomes the window's own padding, where that is the same.

* Conv pads with zeros: a constant Pad of 0 on spatial axes is added to its ``pads``.
* MaxPool pads with minus infinity: a Pad of minus infinity always fits; one of 0 only where the
  data cannot be negative, and every window keeps an element of the data (pads smaller than the
  kernel, no dilation).
* AveragePool stays behind its Pad: the padded zeros count in the mean, and integer kernels count
  valid elements only.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from intaglio.passes.base import EXACT, Change, Outcome, Pass, Semantics, Skip, outcome
from intaglio.passes.canonicalize.editing import (
    constant,
    integer,
    ints,
    is_standard,
    operand,
    rank,
    remove_dead,
    text,
)
from intaglio.passes.provenance import inherit_sources, source_name

_NONNEGATIVE = ("Relu", "Sigmoid", "HardSigmoid", "Softmax", "Abs", "Softplus", "Exp")
_PASSED_ON = ("MaxPool", "AveragePool", "GlobalAveragePool", "Reshape", "Flatten", "Transpose")


class FusePad(Pass):
    """Merges Pad into Conv and MaxPool."""

    name: ClassVar[str] = "canonicalize.fuse_pad"
    semantics: ClassVar[Semantics] = EXACT

    def call(self, model: ir.Model) -> Outcome:
        """Fuses each Pad into every reader that can take it."""
        changes: list[Change] = []
        skips: list[Skip] = []
        for pad in list(model.graph):
            if pad.graph is None or not is_standard(pad, "Pad"):
                continue
            for node in list(dict.fromkeys(use.node for use in pad.outputs[0].uses())):
                if not is_standard(node, "Conv", "MaxPool", "AveragePool"):
                    continue
                reason = _fuse(pad, node)
                if reason is None:
                    name = source_name(pad)
                    inherit_sources([node], [pad])
                    changes.append(Change("fuse_pad", name, f"Pad + {node.op_type}", node.op_type))
                else:
                    skips.append(
                        Skip(source_name(pad), f"Pad stays in front of {node.op_type}: {reason}")
                    )
            remove_dead(model.graph, [pad])
        return outcome(model, changes, skips)


def _fuse(pad: ir.Node, node: ir.Node) -> str | None:
    """Merges ``pad`` into ``node``; gives the reason when it cannot."""
    added = _spatial_pads(pad)
    if isinstance(added, str):
        return added
    if node.inputs[0] is not pad.outputs[0] or pad.outputs[0] in list(node.inputs[1:]):
        return "it pads something else than the data"
    if text(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return "its own padding is not explicit"
    if node.op_type == "AveragePool":
        return "its zeros count in the mean, which integer kernels do not do"
    value = _value(pad)
    if value is None:
        return "its value is computed"
    old = ints(node, "pads", [0] * len(added)) or []
    total = [a + b for a, b in zip(old, added, strict=True)]
    if node.op_type == "Conv" and value != 0.0:
        return f"it pads with {value:g}, Conv pads with 0"
    if node.op_type == "MaxPool":
        failed = _max_pool_reason(pad, node, value, total)
        if failed is not None:
            return failed
    node.attributes["pads"] = ir.AttrInt64s("pads", total)
    node.attributes.pop("auto_pad", None)
    node.replace_input_with(0, pad.inputs[0])
    return None


def _spatial_pads(pad: ir.Node) -> list[int] | str:
    """Begin then end pads of the spatial axes, or why they cannot be a window's."""
    if text(pad, "mode", "constant") != "constant":
        return f"its mode is {text(pad, 'mode', 'constant')}"
    pads, axes = constant(operand(pad, 1)), rank(pad.inputs[0])
    if pads is None or axes is None:
        return "its size is computed"
    full = np.zeros(2 * axes, np.int64)
    chosen = operand(pad, 3)
    listed = np.arange(axes) if chosen is None else constant(chosen)
    if listed is None:
        return "its axes are computed"
    places = (np.asarray(listed).reshape(-1) + axes) % axes
    full[places], full[places + axes] = pads[: len(places)], pads[len(places) :]
    if (full < 0).any():
        return "it crops"
    if full[:2].any() or full[axes : axes + 2].any():
        return "it pads batch or channels"
    return [int(v) for v in [*full[2:axes], *full[axes + 2 :]]]


def _value(pad: ir.Node) -> float | None:
    value = operand(pad, 2)
    if value is None:
        return 0.0
    array = constant(value)
    return None if array is None or array.size != 1 else float(array.reshape(()))


def _max_pool_reason(pad: ir.Node, node: ir.Node, value: float, total: list[int]) -> str | None:
    if integer(node, "ceil_mode", 0):
        return "the pool rounds its size up"
    kernel = ints(node, "kernel_shape") or []
    if any(p >= k for p, k in zip(total, [*kernel, *kernel], strict=True)):
        return "the padding is not smaller than the window"
    if len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
        return "the positions of the maxima are used"
    if value == float("-inf") or value <= float(np.finfo(np.float32).min):
        return None
    if value != 0.0:
        return f"it pads with {value:g}, MaxPool pads with minus infinity"
    if any(ints(node, "pads") or []):
        return "the pool already pads with minus infinity"
    if any(d != 1 for d in ints(node, "dilations") or []):
        return "the pool is dilated"
    if not _is_nonnegative(pad.inputs[0]):
        return "the data may be negative, so its zeros count"
    return None


def _is_nonnegative(value: ir.Value | None) -> bool:
    for _ in range(100):
        producer = None if value is None else value.producer()
        if producer is None:
            return False
        if is_standard(producer, *_NONNEGATIVE):
            return True
        if is_standard(producer, "Clip"):
            low = constant(operand(producer, 1))
            return low is not None and bool((low >= 0).all())
        if not is_standard(producer, *_PASSED_ON):
            return False
        value = producer.inputs[0]
    return False
