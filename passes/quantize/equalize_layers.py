"""Cross-layer equalization: evens out the ranges of channels between consecutive layers.

One quantized tensor has one scale, so a channel much smaller than the largest keeps few of the 256
levels. Scaling it up in one layer and down in the next is free (see
:mod:`intaglio.transforms.equalization`). A pair is Conv, ConvTranspose or Gemm, then only operators
that a positive factor passes through, then another such layer, with no other reader in between.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import Field

from intaglio.passes.base import EXACT, Change, Outcome, Pass, PassConfig, Skip, outcome
from intaglio.passes.marks import ALREADY_QUANTIZED, is_done, is_quantized, mark_done
from intaglio.passes.operators import WEIGHTED, constant_array, is_constant, sole_consumer
from intaglio.passes.provenance import source_name
from intaglio.transforms.equalization import balancing_factors

#: Operators that a positive factor on a channel passes through.
_HOMOGENEOUS = frozenset(
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


class EqualizeConfig(PassConfig):
    """Options of :class:`EqualizeLayers`.

    Attributes:
        iterations: Most rounds over all pairs; it ends earlier when nothing moves any more.
    """

    iterations: int = Field(default=20, ge=1)


@dataclasses.dataclass(frozen=True)
class _Pair:
    first: ir.Node
    second: ir.Node
    between: tuple[ir.Node, ...]


class EqualizeLayers(Pass):
    """Evens out the channel ranges of consecutive layers by powers of two."""

    name = "quantize.equalize_layers"
    semantics = EXACT
    Config = EqualizeConfig

    def call(self, model: ir.Model) -> Outcome:
        """Changes weights and biases of ``model`` in place."""
        if is_quantized(model):
            return outcome(model, [], [Skip("", ALREADY_QUANTIZED)])
        if is_done(model, self.name):
            return outcome(model, [], [Skip("", "the layers are equalized already")])
        pairs: list[_Pair] = []
        skips: list[Skip] = []
        for node in model.graph:
            found = _pair_from(node)
            if isinstance(found, _Pair):
                pairs.append(found)
            elif found is not None:
                skips.append(Skip(source_name(node), found))
        total = self._equalize(pairs)
        changes = [
            Change(
                "equalize",
                source_name(pair.first),
                "factors 1",
                f"factors {factors.min():g} to {factors.max():g}",
                f"to balance it with {source_name(pair.second)}",
            )
            for pair, factors in zip(pairs, total, strict=True)
            if (factors != 1.0).any()
        ]
        if changes:
            mark_done(model, self.name)
        return outcome(model, changes, skips, {"pairs": len(pairs), "equalized": len(changes)})

    def _equalize(self, pairs: list[_Pair]) -> list[NDArray[np.float64]]:
        """Equalizes pair after pair until nothing moves; the product of the factors of each."""
        total = [np.ones(_outputs(pair.first)) for pair in pairs]
        for _ in range(self.config.iterations):
            moved = False
            for pair, product in zip(pairs, total, strict=True):
                factors = _equalize_pair(pair)
                if (factors != 1.0).any():
                    product *= factors
                    moved = True
            if not moved:
                break
        return total


def _pair_from(node: ir.Node) -> _Pair | str | None:
    """The pair that begins with ``node``; a reason why there is none; None for other nodes."""
    if node.op_type not in WEIGHTED or not _parameters_are_own(node):
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
        if after.op_type not in _HOMOGENEOUS or after.inputs[0] is not value:
            return None
        between.append(after)
        value = after.outputs[0]
    if not _parameters_are_own(after):
        return f"the weights of '{source_name(after)}' are computed or shared"
    if _inputs(after) != _outputs(node):
        return f"'{source_name(after)}' does not read its channels one to one"
    return _Pair(node, after, tuple(between))


def _parameters_are_own(node: ir.Node) -> bool:
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


def _weight(node: ir.Node) -> NDArray[Any]:
    array = constant_array(node.inputs[1])
    assert array is not None
    return array


def _view(node: ir.Node, weight: NDArray[Any]) -> NDArray[Any]:
    """The weights as (groups, outputs of a group, inputs of a group, kernel elements)."""
    groups = node.attributes.get_int("group", 1)
    if node.op_type == "ConvTranspose":
        split = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
        return split.swapaxes(1, 2)
    return weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)


def _outputs(node: ir.Node) -> int:
    view = _view(node, _weight(node))
    return view.shape[0] * view.shape[1]


def _inputs(node: ir.Node) -> int:
    view = _view(node, _weight(node))
    return view.shape[0] * view.shape[2]


def _equalize_pair(pair: _Pair) -> NDArray[np.float64]:
    """Applies one set of factors to a pair and returns them."""
    first, second = _weight(pair.first).copy(), _weight(pair.second).copy()
    first_view, second_view = _view(pair.first, first), _view(pair.second, second)
    factors = balancing_factors(
        np.abs(first_view).max(axis=(2, 3)).reshape(-1).astype(np.float64),
        np.abs(second_view).max(axis=(1, 3)).reshape(-1).astype(np.float64),
    )
    if (factors == 1.0).all():
        return factors
    exact = factors.astype(np.float32)
    first_view /= exact.reshape(*first_view.shape[:2], 1, 1)
    second_view *= exact.reshape(second_view.shape[0], 1, second_view.shape[2], 1)
    _set(pair.first.inputs[1], first)
    _set(pair.second.inputs[1], second)
    bias = pair.first.inputs[2] if len(pair.first.inputs) > 2 else None
    if bias is not None:
        array = constant_array(bias)
        assert array is not None
        _set(bias, array / exact)
    return factors


def _set(value: ir.Value | None, array: NDArray[Any]) -> None:
    assert value is not None
    value.const_value = ir.tensor(np.ascontiguousarray(array, np.float32), name=value.name)
