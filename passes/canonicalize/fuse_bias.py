"""Per-channel constants after a linear operator move into its weight and bias.

``Conv + Add([C, 1, 1])`` (as CNTK writes a bias), ``Sub``, ``Mul`` and ``Div`` by per-channel
constants are absorbed: ``(w x + b) * s + t = (w s) x + (b s + t)``. A scalar may also stand
behind operators that only move values (DepthToSpace, Reshape, Transpose, ...), where it means
the same for every element. Afterwards every Conv, ConvTranspose and Gemm has a bias initializer,
zeros if need be, so that later passes know one form.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.base import EXACT, Change, Outcome, Pass, Semantics, Skip, outcome
from intaglio.passes.canonicalize.editing import (
    bypass,
    constant,
    drop_unused_constants,
    fresh_name,
    is_standard,
    operand,
    rank,
    set_constant,
)
from intaglio.passes.canonicalize.linear import (
    absorb_affine,
    bias,
    is_linear,
    output_channels,
    per_channel,
)
from intaglio.passes.operators import sole_consumer
from intaglio.passes.provenance import source_name

_MOVERS = (
    "DepthToSpace",
    "Flatten",
    "Reshape",
    "SpaceToDepth",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)


class FuseBias(Pass):
    """Absorbs per-channel constants into the linear operator before them."""

    name: ClassVar[str] = "canonicalize.fuse_bias"
    semantics: ClassVar[Semantics] = EXACT

    def call(self, model: ir.Model) -> Outcome:
        """Fuses, then gives every linear operator a bias."""
        changes: list[Change] = []
        skips: list[Skip] = []
        for node in list(model.graph):
            if node.graph is not None and is_linear(node):
                while fuse_follower(node, changes, skips):
                    pass
        for node in model.graph:
            if is_linear(node):
                _complete_bias(node, changes)
        drop_unused_constants(model.graph)
        return outcome(model, changes, skips)


def fuse_follower(node: ir.Node, changes: list[Change], skips: list[Skip]) -> bool:
    """Absorbs the next constant Add, Sub, Mul or Div after ``node``; says whether it did."""
    last, moved = node, []
    follower = sole_consumer(node.outputs[0])
    while is_standard(follower, *_MOVERS) and follower is not None:
        if follower.inputs[0] is not last.outputs[0]:
            return False
        moved.append(follower)
        last, follower = follower, sole_consumer(follower.outputs[0])
    if follower is None or not is_standard(follower, "Add", "Sub", "Mul", "Div"):
        return False
    data = last.outputs[0]
    index = 0 if follower.inputs[0] is data else 1
    array = constant(operand(follower, 1 - index))
    if array is None or array.dtype.kind != "f":
        return False
    name = source_name(follower)
    numbers = _numbers(node, data, array, bool(moved))
    if isinstance(numbers, str):
        skips.append(Skip(name, f"{follower.op_type} is not fused into its producer: {numbers}"))
        return False
    affine = _affine(follower.op_type, index, numbers)
    failed = "it divides by its input" if affine is None else absorb_affine(node, *affine)
    if failed is not None:
        skips.append(Skip(name, f"{follower.op_type} is not fused into its producer: {failed}"))
        return False
    changes.append(
        Change(
            "fuse_bias",
            name,
            f"{node.op_type} + {follower.op_type}",
            node.op_type,
            "a per-channel constant is absorbed by weight and bias",
        )
    )
    _rename_shifted(node, moved)
    bypass(follower, data)
    return True


def _numbers(
    node: ir.Node, data: ir.Value, array: NDArray[Any], moved: bool
) -> NDArray[np.float64] | str:
    channels = output_channels(node)
    axes = rank(data)
    if channels is None or axes is None:
        return "its shape is not known"
    if moved:
        if array.size != 1 or array.ndim > axes:
            return "it is not one number, and stands behind an operator that moves values"
        return np.full(channels, float(array.reshape(())))
    found = per_channel(array, data, channels)
    return "the constant is not one number a channel" if found is None else found


def _affine(
    op_type: str, index: int, numbers: NDArray[np.float64]
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None] | None:
    """Scale and shift that the follower means; None where it is not affine."""
    if op_type == "Add":
        return None, numbers
    if op_type == "Mul":
        return numbers, None
    if op_type == "Sub":
        return (None, -numbers) if index == 0 else (-np.ones_like(numbers), numbers)
    if index == 1:
        return None
    with np.errstate(divide="ignore"):
        return 1.0 / numbers, None


def _rename_shifted(node: ir.Node, moved: list[ir.Node]) -> None:
    """Values between the linear node and the last mover no longer are what their names say."""
    if not moved or node.graph is None:
        return
    for shifted in [node, *moved[:-1]]:
        value = shifted.outputs[0]
        value.name = fresh_name(node.graph, f"{value.name}_fused")


def _complete_bias(node: ir.Node, changes: list[Change]) -> None:
    channels = output_channels(node)
    value = operand(node, 2)
    if channels is None or (value is not None and constant(value) is None):
        return
    weight = node.inputs[1]
    if weight is None or weight.dtype is None:
        return
    if value is None:
        set_constant(node, 2, np.zeros(channels, weight.dtype.numpy()), f"{node.name}_bias")
        changes.append(Change("add_bias", source_name(node), "no bias", "zeros"))
        return
    numbers = bias(node)
    if numbers is not None and np.asarray(constant(value)).shape != (channels,):
        set_constant(node, 2, numbers.astype(weight.dtype.numpy()), f"{node.name}_bias")
        changes.append(Change("shape_bias", source_name(node), str(value.shape), f"[{channels}]"))


__all__ = ["FuseBias", "fuse_follower"]
