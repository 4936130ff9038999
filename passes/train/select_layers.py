"""Chooses the layers whose weights training moves, and notes the grid they are to have.

Training needs a loss that is the same twice for the same weights, so a model with anything random
in it is refused, and so is a BatchNormalization that could not be folded: both probes of a step
must see the same function.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

import onnx_ir as ir
from pydantic import Field, field_validator

from intaglio.errors import RecipeError, Refusal, UnsupportedError
from intaglio.passes.base import EXACT, Change, Outcome, Pass, PassConfig, Skip, outcome
from intaglio.passes.marks import is_quantized
from intaglio.passes.operators import constant_array, is_constant
from intaglio.passes.provenance import source_name
from intaglio.passes.quantize.weight_grid import WeightGrid, get_weight_grid, set_weight_grid
from intaglio.passes.selectors import select_nodes
from intaglio.passes.train.marks import (
    Trained,
    clear_trained,
    get_trained,
    set_trained,
    trained_nodes,
)

#: Operators that give other numbers every time.
STOCHASTIC = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)

#: Operators with weights; those with a form in which they train come first.
_TRAINABLE = ("Conv", "Gemm", "MatMul")
_WEIGHTED = (*_TRAINABLE, "ConvTranspose", "PRelu")

_LAST = re.compile(r"last:([1-9][0-9]*)")


class SelectConfig(PassConfig):
    """Options of :class:`SelectLayers`.

    Attributes:
        layers: ``head`` (the last layer with weights), ``last:N``, ``all``, or patterns of layer
            names (``/features*``, ``op:Conv``), each of which must match.
        biases: Whether their biases train, too.
        headroom: How far the weights may grow: the largest integer over that of the largest weight.
        weight_bits: 16, or 8: a grid of 127 levels on either side, for comparison.
    """

    layers: str | tuple[str, ...] = "head"
    biases: bool = False
    headroom: float = Field(default=2.0, ge=1.0, le=64.0)
    weight_bits: Literal[8, 16] = 16

    @field_validator("layers")
    @classmethod
    def _not_empty(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not value:
            raise ValueError("name at least one layer")
        return value


class SelectLayers(Pass):
    """Marks the layers that train."""

    name = "train.select_layers"
    semantics = EXACT
    Config = SelectConfig

    def call(self, model: ir.Model) -> Outcome:
        """Marks nodes of ``model``.

        Raises:
            RecipeError: A pattern matches nothing.
            UnsupportedError: The model cannot train, or a layer that was named cannot.
        """
        if is_quantized(model):
            if trained_nodes(model.graph):
                return outcome(model, [], [Skip("", "the layers are chosen already")])
            raise UnsupportedError(
                "the model is quantized already, and its weights have 8 bits or scales a channel",
                remedy="train from the float model",
            )
        _refuse_what_varies(model)
        reasons = {
            node: _unsuitable(node)
            for node in model.graph
            if node.op_type in _WEIGHTED and node.domain in ("", "ai.onnx") and _has_weight(node)
        }
        if all(reason is not None for reason in reasons.values()):
            raise UnsupportedError(
                "the model has no layer that can train",
                [Refusal(source_name(n), n.op_type, str(why)) for n, why in reasons.items()],
                remedy="Conv, Gemm and MatMul with constant weights can",
            )
        chosen, skips = self._choose(reasons)
        changes = list(self._mark(model, chosen, skips))
        weights = sum(_size(node.inputs[1]) for node in chosen)
        facts = {"layers": len(chosen), "candidates": len(reasons), "weights": weights}
        return outcome(model, changes, skips, facts)

    def _choose(self, reasons: dict[ir.Node, str | None]) -> tuple[list[ir.Node], list[Skip]]:
        """The layers, in graph order; those that cannot train are skipped where none was named."""
        layers = self.config.layers
        last = _LAST.fullmatch(layers) if isinstance(layers, str) else None
        if layers == "all":
            skips = [Skip(source_name(n), why) for n, why in reasons.items() if why is not None]
            return [node for node, reason in reasons.items() if reason is None], skips
        if layers == "head" or last is not None:
            products = [node for node in reasons if node.op_type != "PRelu"]
            count = 1 if last is None else int(last.group(1))
            if count > len(products):
                raise RecipeError(
                    f"train.select_layers.layers is {layers}, and the model has {len(products)} "
                    "layers",
                    remedy="use all",
                )
            chosen = products[-count:]
        else:
            patterns = (layers,) if isinstance(layers, str) else tuple(layers)
            names = select_nodes(reasons, patterns, "train.select_layers.layers")
            chosen = [node for node in reasons if str(node.name) in names]
        refusals = [
            Refusal(source_name(node), node.op_type, why, "leave it out of train.select_layers")
            for node in chosen
            if (why := reasons[node]) is not None
        ]
        if refusals:
            raise UnsupportedError("a layer that is to train cannot", refusals)
        return chosen, []

    def _mark(self, model: ir.Model, chosen: list[ir.Node], skips: list[Skip]) -> Iterable[Change]:
        config = self.config
        grid = WeightGrid(127 if config.weight_bits == 8 else 32767, config.headroom)
        for node in model.graph:
            weight = node.inputs[1] if len(node.inputs) > 1 else None
            if node not in chosen:
                if get_trained(node) is not None and weight is not None:
                    clear_trained(node)
                    set_weight_grid(weight, None)
                    yield Change("freeze", source_name(node), "trains", "fixed")
                continue
            bias, reason = _own_bias(node) if config.biases else (None, None)
            if reason is not None:
                skips.append(Skip(source_name(node), reason))
            assert weight is not None
            found = Trained(str(weight.name), bias, grid.levels)
            if get_trained(node) != found or get_weight_grid(weight) != grid:
                set_trained(node, found)
                set_weight_grid(weight, grid)
                kind = f"{_size(weight):,} weights on a grid of {grid.levels} levels"
                yield Change("train", source_name(node), "fixed", kind)


def _refuse_what_varies(model: ir.Model) -> None:
    refusals = []
    for node in model.graph.all_nodes():
        name = source_name(node)
        if node.op_type in STOCHASTIC:
            reason = "it is random, and a step must give the same loss twice"
            refusals.append(Refusal(name, node.op_type, reason, "export the model without it"))
        elif node.op_type == "Dropout" and _in_training(node):
            reason = "it is in training mode, and a step must give the same loss twice"
            refusals.append(Refusal(name, node.op_type, reason, "export in evaluation mode"))
        elif node.op_type == "BatchNormalization":
            reason = "it is not folded, and both probes of a step must see the same function"
            remedy = (
                "export in evaluation mode, and keep canonicalize.fold_batch_norm in the recipe"
            )
            refusals.append(Refusal(name, node.op_type, reason, remedy))
    if refusals:
        raise UnsupportedError("the model cannot train", refusals)


def _in_training(node: ir.Node) -> bool:
    """Whether a Dropout drops: its third input says so, or is computed."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None:
        return False
    array = constant_array(value) if is_constant(value) else None
    return array is None or bool(array.any())


def _has_weight(node: ir.Node) -> bool:
    """Whether a node has a second operand that could be a weight: no product of two tensors."""
    return len(node.inputs) > 1 and (node.op_type != "MatMul" or is_constant(node.inputs[1]))


def _unsuitable(node: ir.Node) -> str | None:
    """Why a layer cannot train, or None."""
    data, weight = node.inputs[0], node.inputs[1]
    if node.op_type not in _TRAINABLE:
        return f"{node.op_type} has no kernel with weights of 16 bits"
    if weight is None or not is_constant(weight):
        return "its weights are computed"
    if weight.dtype != ir.DataType.FLOAT:
        return "its weights are not float32"
    if data is None or is_constant(data):
        return "its input is a constant"
    if len(list(weight.uses())) != 1 or weight.is_graph_output():
        return "its weights are shared with another node"
    rank = len(weight.shape) if weight.shape is not None else 0
    if node.op_type != "Conv" and rank != 2:
        return "its weights are no matrix"
    if node.op_type == "Conv" and node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        return "its padding is not explicit"
    plain = node.attributes.get_float("alpha", 1.0) == node.attributes.get_float("beta", 1.0) == 1.0
    if node.op_type == "Gemm" and (node.attributes.get_int("transA", 0) != 0 or not plain):
        return "it is no Gemm in normal form"
    return None


def _own_bias(node: ir.Node) -> tuple[str | None, str | None]:
    """Name of a bias that can train, else why it cannot (nothing where there is none)."""
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    weight = node.inputs[1]
    if bias is None or weight is None or weight.shape is None:
        return None, "it has no bias of its own"
    columns = node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 0
    channels = weight.shape[1] if columns else weight.shape[0]
    if not is_constant(bias) or len(list(bias.uses())) != 1:
        return None, "its bias is computed or shared"
    if bias.shape is None or list(bias.shape) != [channels]:
        return None, "its bias is no vector of its outputs"
    return str(bias.name), None


def _size(value: ir.Value | None) -> int:
    array = constant_array(value)
    return 0 if array is None else int(array.size)
