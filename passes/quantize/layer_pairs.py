"""Pairs of layers between which the scale of each channel is free.

A pair is Conv, ConvTranspose or Gemm, then only operators that a positive factor on a channel
passes through (ReLU, PReLU, pooling), then another such layer, with no other reader in between.
Dividing an output channel of the first layer by a factor and multiplying that input channel of the
second by it changes nothing. With powers of two nothing changes in floating point either.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.errors import RecipeError
from intaglio.passes.marks import done_detail, mark_done
from intaglio.passes.operators import WEIGHTED, constant_array, is_constant, sole_consumer
from intaglio.passes.provenance import source_name
from intaglio.passes.train.marks import get_trained

#: The pass that chooses the factors from calibration samples.
CHANNELS_PASS = "calibrate.equalize_channels"

#: Operators that a positive factor on a channel passes through.
HOMOGENEOUS = frozenset(
    {
        "AveragePool",
        "Dropout",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "Identity",
        "LeakyRelu",
        "MaxPool",
        "PRelu",
        "Relu",
    }
)


@dataclasses.dataclass(frozen=True)
class LayerPair:
    """Two consecutive layers.

    Attributes:
        first: The layer whose output channels can be scaled down.
        second: The layer whose input channels are scaled up for it.
        between: The operators in between, in order.
    """

    first: ir.Node
    second: ir.Node
    between: tuple[ir.Node, ...]

    @property
    def values(self) -> list[ir.Value]:
        """The activations that a factor scales: from the first layer's output on."""
        return [self.first.outputs[0], *(node.outputs[0] for node in self.between)]

    @property
    def channels(self) -> int:
        """Channels between the layers."""
        return output_channels(self.first)


def find_pairs(graph: ir.Graph) -> tuple[list[LayerPair], list[tuple[ir.Node, str]]]:
    """All pairs in graph order, and layers that nearly begin one, with what is in the way."""
    pairs: list[LayerPair] = []
    left_out: list[tuple[ir.Node, str]] = []
    for node in graph:
        found = _pair_from(node)
        if isinstance(found, LayerPair):
            pairs.append(found)
        elif found is not None:
            left_out.append((node, found))
    return pairs, left_out


def weight_view(node: ir.Node) -> NDArray[np.float64]:
    """The weights as (groups, outputs of a group, inputs of a group, kernel elements), float64."""
    return np.asarray(split_weight(node, parameter(node, 1)), np.float64)


def output_ranges(node: ir.Node) -> NDArray[np.float64]:
    """Largest magnitude of the weights of each output channel of a layer."""
    view = split_weight(node, parameter(node, 1))
    return np.asarray(np.abs(view).max(axis=(2, 3)), np.float64).reshape(-1)


def input_ranges(node: ir.Node) -> NDArray[np.float64]:
    """Largest magnitude of the weights on each input channel of a layer."""
    view = split_weight(node, parameter(node, 1))
    return np.asarray(np.abs(view).max(axis=(1, 3)), np.float64).reshape(-1)


def move_scale(pair: LayerPair, factors: NDArray[np.float64]) -> None:
    """Divides the first layer's outputs by ``factors`` and multiplies the second's inputs.

    Args:
        pair: The layers; their weights and the bias change.
        factors: Positive, one a channel. Powers of two keep the model exact in floating point.
    """
    first, second = parameter(pair.first, 1).copy(), parameter(pair.second, 1).copy()
    first_view, second_view = split_weight(pair.first, first), split_weight(pair.second, second)
    exact = factors.astype(np.float32)
    first_view /= exact.reshape(*first_view.shape[:2], 1, 1)
    second_view *= exact.reshape(second_view.shape[0], 1, second_view.shape[2], 1)
    set_parameter(pair.first.inputs[1], first)
    set_parameter(pair.second.inputs[1], second)
    bias = pair.first.inputs[2] if len(pair.first.inputs) > 2 else None
    if bias is not None:
        array = constant_array(bias)
        assert array is not None
        set_parameter(bias, array / exact)


def note_factors(model: ir.Model, factors: Mapping[str, NDArray[np.float64]]) -> None:
    """Marks ``model`` with the powers of two that its pairs were scaled by.

    Args:
        model: The model.
        factors: By name of the first layer's output.
    """
    exponents = {name: np.log2(found).astype(int).tolist() for name, found in factors.items()}
    mark_done(model, CHANNELS_PASS, json.dumps(exponents, sort_keys=True))


def replay_factors(model: ir.Model) -> None:
    """Scales the pairs of a model as its mark says (a plan brought the mark along).

    Raises:
        RecipeError: The mark does not fit the model.
    """
    detail = done_detail(model, CHANNELS_PASS)
    if detail is None:
        return
    remedy = "a plan belongs to one model and one recipe"
    pairs = {str(pair.first.outputs[0].name): pair for pair in find_pairs(model.graph)[0]}
    try:
        noted = {
            str(name): np.array([int(e) for e in listed], np.float64)
            for name, listed in json.loads(detail).items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise RecipeError(f"the plan's channel factors are damaged: {error}", remedy=remedy) from (
            error
        )
    for name, exponents in noted.items():
        pair = pairs.get(name)
        if pair is None or pair.channels != len(exponents) or np.abs(exponents).max() > 64:
            raise RecipeError(
                f"the plan's channel factors of '{name}' do not fit the model", remedy=remedy
            )
        move_scale(pair, np.exp2(exponents))


def _pair_from(node: ir.Node) -> LayerPair | str | None:
    """The pair that begins with ``node``; a reason why there is none; None for other nodes."""
    if node.op_type not in WEIGHTED or not parameters_are_own(node):
        return None
    between: list[ir.Node] = []
    value = node.outputs[0]
    while True:
        after = sole_consumer(value)
        if after is None:
            return None
        if after.op_type in WEIGHTED and after.inputs[0] is value:
            break
        if after.op_type == "Clip":
            return f"Clip '{source_name(after)}' behind it has an upper bound that would move"
        if after.op_type not in HOMOGENEOUS or after.inputs[0] is not value:
            return None
        between.append(after)
        value = after.outputs[0]
    if not parameters_are_own(after):
        return f"the weights of '{source_name(after)}' are computed or shared"
    for layer in (node, after):
        if get_trained(layer) is not None:
            return f"the weights of '{source_name(layer)}' train"
    if input_channels(after) != output_channels(node):
        return f"'{source_name(after)}' does not read its channels one to one"
    return LayerPair(node, after, tuple(between))


def parameters_are_own(node: ir.Node) -> bool:
    """Whether weights and bias are float32 initializers that no other node reads."""
    if node.op_type == "Gemm" and (
        node.attributes.get_int("transA", 0) != 0 or node.attributes.get_int("transB", 0) != 1
    ):
        return False
    weight = node.inputs[1]
    if weight is None or weight.dtype != ir.DataType.FLOAT:
        return False
    parameters = [value for value in node.inputs[1:3] if value is not None]
    return all(is_constant(v) and len(list(v.uses())) == 1 for v in parameters)


def parameter(node: ir.Node, index: int) -> NDArray[Any]:
    """The weight (1) or the bias (2) of a layer whose parameters are its own."""
    array = constant_array(node.inputs[index])
    assert array is not None
    return array


def split_weight(node: ir.Node, weight: NDArray[Any]) -> NDArray[Any]:
    """The weights as (groups, outputs of a group, inputs of a group, kernel elements)."""
    groups = node.attributes.get_int("group", 1)
    if node.op_type == "ConvTranspose":
        split = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
        return np.asarray(split.swapaxes(1, 2))
    return np.asarray(weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1))


def output_channels(node: ir.Node) -> int:
    """Output channels of a layer."""
    view = split_weight(node, parameter(node, 1))
    return int(view.shape[0] * view.shape[1])


def input_channels(node: ir.Node) -> int:
    """Input channels of a layer."""
    view = split_weight(node, parameter(node, 1))
    return int(view.shape[0] * view.shape[2])


def set_parameter(value: ir.Value | None, array: NDArray[Any]) -> None:
    """Replaces a weight or a bias, in float32."""
    assert value is not None
    value.const_value = ir.tensor(np.ascontiguousarray(array, np.float32), name=value.name)
