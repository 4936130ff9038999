"""The values whose channels must change their order together, and the constants that do it.

Beginning with one value, the space grows over every operator that works on each channel alone:
what such an operator reads and makes is of one order. It ends at convolutions and matrix products,
whose weights take up the new order, along their outputs in front of the space and along their
inputs behind it. Nothing is changed before all of the space is known to take part.

A value in the space has ``C * block`` entries along axis 1: a channel is a run of ``block`` of them
(more than one where an image has been flattened).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.annotations import VALUE_KEY, get_quantization, set_quantization
from intaglio.passes.canonicalize.editing import constant, operand, set_constant
from intaglio.transforms.scales import TensorQuantization


class FixedOrderError(Exception):
    """Something in the space cannot take another order; the text says what."""


@dataclasses.dataclass(frozen=True)
class Member:
    """How a value holds the channels: number of axes, and entries of axis 1 a channel."""

    rank: int
    block: int


class ChannelSpace:
    """Values that are to be permuted, and the edits of constants that permute them.

    Args:
        order: The old channel at each new place.
        fixed: Values that must stay as they are: what goes over the wire.
    """

    def __init__(self, order: Sequence[int], fixed: Collection[ir.Value] = ()) -> None:
        self.order = np.asarray(order, np.int64)
        self.members: dict[ir.Value, Member] = {}
        self.waiting: list[ir.Value] = []
        self._fixed = set(fixed)
        self._edits: dict[tuple[ir.Node, int], NDArray[Any]] = {}
        self._meanings: dict[tuple[ir.Node, int], TensorQuantization] = {}
        self._claimed: set[tuple[ir.Node, int, int]] = set()

    @property
    def channels(self) -> int:
        """How many channels there are."""
        return len(self.order)

    def places(self, block: int) -> NDArray[np.int64]:
        """The old entry at each new place of an axis with ``block`` entries a channel."""
        return (self.order[:, None] * block + np.arange(block)).reshape(-1)

    def add(self, value: ir.Value, member: Member) -> None:
        """Takes ``value`` into the space.

        Raises:
            FixedOrderError: Its order is fixed, or it does not hold the channels so.
        """
        known = self.members.get(value)
        if known is not None:
            if known != member:
                raise FixedOrderError(f"'{value.name}' holds the channels in two ways")
            return
        if value.is_graph_input() or value.is_graph_output():
            raise FixedOrderError(f"'{value.name}' is an input or output of the model")
        if value in self._fixed:
            raise FixedOrderError(f"'{value.name}' goes over the wire")
        if value.producer() is None:
            raise FixedOrderError(f"'{value.name}' is no result of an operator")
        if value.shape is not None:
            size = value.shape[1] if len(value.shape) > 1 else None
            if len(value.shape) != member.rank or size != self.channels * member.block:
                raise FixedOrderError(f"'{value.name}' has other channels")
        self.members[value] = member
        self.waiting.append(value)

    def edit(self, node: ir.Node, index: int, axis: int, block: int) -> None:
        """Notes that the constant at input ``index`` of ``node`` is permuted along ``axis``.

        Raises:
            FixedOrderError: It is no constant, or has not as many entries.
        """
        array = self.pending(node, index)
        places = self.places(block)
        if array is None or array.ndim <= axis or array.shape[axis] != len(places):
            raise FixedOrderError(f"{node.op_type} '{node.name}' has no weights a channel")
        self._edits[node, index] = np.take(array, places, axis=axis)
        found = self._meaning(node, index)
        if found is not None and found.axis == axis and len(found.scale) == len(places):
            self._meanings[node, index] = dataclasses.replace(
                found,
                scale=tuple(found.scale[i] for i in places),
                zero_point=tuple(found.zero_point[i] for i in places),
            )

    def edit_once(self, node: ir.Node, index: int, axis: int, block: int) -> None:
        """Like :meth:`edit`, where several members of a node ask for the same."""
        key = (node, index, axis)
        if key not in self._claimed:
            self._claimed.add(key)
            self.edit(node, index, axis, block)

    def replace(self, node: ir.Node, index: int, array: NDArray[Any]) -> None:
        """Notes that the constant at input ``index`` of ``node`` becomes ``array``."""
        self._edits[node, index] = array

    def pending(self, node: ir.Node, index: int) -> NDArray[Any] | None:
        """The constant at input ``index`` of ``node`` as it will be, None where it is none."""
        found = self._edits.get((node, index))
        return constant(operand(node, index)) if found is None else found

    def _meaning(self, node: ir.Node, index: int) -> TensorQuantization | None:
        value = operand(node, index)
        found = self._meanings.get((node, index))
        return get_quantization(value) if found is None and value is not None else found

    def apply(self) -> int:
        """Permutes everything.

        The values of the space no longer stand for tensors of the source, whose channels are in
        their old order: these notes go.

        Returns:
            How many constants have changed.
        """
        for (node, index), array in self._edits.items():
            old = operand(node, index)
            notes = {} if old is None else dict(old.metadata_props)
            set_constant(node, index, array, f"{node.name}_permuted")
            new = node.inputs[index]
            if new is not None and new is not old:
                new.metadata_props.update(notes)
            meaning = self._meanings.get((node, index))
            if new is not None and meaning is not None:
                set_quantization(new, meaning)
        for value in self.members:
            value.metadata_props.pop(VALUE_KEY, None)
        return len(self._edits)
