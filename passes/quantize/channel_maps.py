"""Links between two layers, in which each channel may be shifted and scaled.

A link is Conv, ConvTranspose or Gemm, then a Relu or a Clip from 0, then another such layer, with
no other reader in between. For a channel with values ``y`` in ``[low, high]`` behind the clamp,

    z = scale * (y - offset),    0 <= offset <= low,    scale * (high - offset) <= upper bound

passes through the same clamp unchanged, so the first layer can give ``z`` and the second layer take
it: ``w2 / scale`` and ``b2 + sum(w2 * offset)``. An offset needs a second layer that pads nothing,
since padding puts a plain zero in place of ``y``.

Values outside ``[low, high]`` are clamped where they were not before: the model keeps its function
as far as the range of each channel is known.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.errors import RecipeError
from intaglio.passes.marks import done_detail, mark_done
from intaglio.passes.operators import WEIGHTED, clamp_bounds, is_clamp, sole_consumer
from intaglio.passes.quantize.layer_pairs import (
    input_channels,
    output_channels,
    parameter,
    parameters_are_own,
    set_parameter,
    split_weight,
)
from intaglio.passes.train.marks import get_trained

#: The pass that chooses the maps from calibration samples.
MAPS_PASS = "calibrate.fit_channels"

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Link:
    """Two consecutive layers and the clamp between them.

    Attributes:
        first: The layer that makes the channels.
        clamp: The Relu or Clip from 0 behind it.
        second: The layer that reads them.
        upper: Upper bound of the clamp, infinite for a Relu.
        takes_offsets: Whether the channels may be shifted.
    """

    first: ir.Node
    clamp: ir.Node
    second: ir.Node
    upper: float
    takes_offsets: bool

    @property
    def value(self) -> ir.Value:
        """The activation between the layers."""
        return self.clamp.outputs[0]

    @property
    def channels(self) -> int:
        """Channels between the layers."""
        return output_channels(self.first)

    @contextlib.contextmanager
    def restored(self) -> Iterator[None]:
        """For a trial: afterwards the layers have the weights and biases they had."""
        values = [v for n in (self.first, self.second) for v in n.inputs[1:3] if v is not None]
        before = [value.const_value for value in values]
        try:
            yield
        finally:
            for value, constant in zip(values, before, strict=True):
                value.const_value = constant


def find_links(graph: ir.Graph) -> list[Link]:
    """All links in graph order."""
    return [link for node in graph if (link := _link_from(node)) is not None]


def apply_map(link: Link, scale: Array, offset: Array) -> None:
    """Shifts and scales the channels of a link.

    Args:
        link: The layers; their weights and biases change.
        scale: Positive, one a channel.
        offset: At least 0, one a channel; all 0 where the link takes none.
    """
    first = parameter(link.first, 1).astype(np.float64)
    view = split_weight(link.first, first)
    view *= scale.reshape(*view.shape[:2], 1, 1)
    set_parameter(link.first.inputs[1], first)
    if len(link.first.inputs) > 2:
        bias = parameter(link.first, 2).astype(np.float64)
        set_parameter(link.first.inputs[2], scale * (bias - offset))
    second = parameter(link.second, 1).astype(np.float64)
    view = split_weight(link.second, second)
    per_input = (view.shape[0], 1, view.shape[2], 1)
    if offset.any():
        shift = (view * offset.reshape(per_input)).sum(axis=(2, 3)).reshape(-1)
        bias = parameter(link.second, 2).astype(np.float64)
        set_parameter(link.second.inputs[2], bias + shift)
    view /= scale.reshape(per_input)
    set_parameter(link.second.inputs[1], second)


def note_maps(model: ir.Model, maps: Mapping[str, tuple[Array, Array]]) -> None:
    """Marks ``model`` with the maps that its links were given.

    Args:
        model: The model.
        maps: Scale and offset by name of the clamp's output.
    """
    listed = {name: [scale.tolist(), offset.tolist()] for name, (scale, offset) in maps.items()}
    mark_done(model, MAPS_PASS, json.dumps(listed, sort_keys=True))


def replay_maps(model: ir.Model) -> None:
    """Maps the links of a model as its mark says (a plan brought the mark along).

    Raises:
        RecipeError: The mark does not fit the model.
    """
    detail = done_detail(model, MAPS_PASS)
    if detail is None:
        return
    remedy = "a plan belongs to one model and one recipe"
    links = {str(link.value.name): link for link in find_links(model.graph)}
    try:
        maps = {
            str(name): (np.array(scale, np.float64), np.array(offset, np.float64))
            for name, (scale, offset) in json.loads(detail).items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise RecipeError(f"the plan's channel maps are damaged: {error}", remedy=remedy) from error
    for name, (scale, offset) in maps.items():
        link = links.get(name)
        if link is None or not _fits(link, scale, offset):
            raise RecipeError(
                f"the plan's channel maps of '{name}' do not fit the model", remedy=remedy
            )
        apply_map(link, scale, offset)


def _fits(link: Link, scale: Array, offset: Array) -> bool:
    shape = (link.channels,)
    return (
        scale.shape == offset.shape == shape
        and bool(np.isfinite(scale).all() and np.isfinite(offset).all())
        and bool((scale > 0).all() and (offset >= 0).all())
        and (link.takes_offsets or not offset.any())
    )


def _link_from(node: ir.Node) -> Link | None:
    if node.op_type not in WEIGHTED or not parameters_are_own(node):
        return None
    clamp = sole_consumer(node.outputs[0])
    if clamp is None or not is_clamp(clamp) or clamp.inputs[0] is not node.outputs[0]:
        return None
    low, high = clamp_bounds(clamp)
    second = sole_consumer(clamp.outputs[0])
    if low != 0.0 or high <= 0.0 or second is None:
        return None
    if second.op_type not in WEIGHTED or second.inputs[0] is not clamp.outputs[0]:
        return None
    if get_trained(node) is not None or get_trained(second) is not None:
        return None
    if not parameters_are_own(second) or input_channels(second) != output_channels(node):
        return None
    return Link(node, clamp, second, high, _takes_offsets(node, second))


def _takes_offsets(first: ir.Node, second: ir.Node) -> bool:
    """Whether both have a bias, and the second reads every element at each of its outputs."""
    if any(len(node.inputs) < 3 or node.inputs[2] is None for node in (first, second)):
        return False
    if second.op_type == "Gemm":
        return True
    attributes: Any = second.attributes
    return (
        second.op_type == "Conv"
        and attributes.get_string("auto_pad", "NOTSET") in ("NOTSET", "VALID")
        and not any(attributes.get_ints("pads", ()))
    )
