"""Convolutions and fully connected layers as tables, exactly: ``T_w[x] = w * (x - z)``.

A table of 256 entries of 16 bits stands for each weight (``full``: 512 bytes). Split in two parts
of its bits, ``x = 4h + l`` or ``x = 16h + l``, the product is a sum of two look-ups,
``w * (4h - z) + w * l``, from 64 + 4 entries (``6/2``: 136 bytes) or 16 + 16 (``4/4``: 64 bytes).
The sums are the very integers of the product, so nothing behind it changes.

There are targets without a multiplier. On others this is slower and many times larger; so a layer
is left alone where it does not pay, and the reason gives the figures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import Field

from intaglio.passes.base import EXACT, Change, Outcome, Pass, PassConfig, Semantics, Skip, outcome
from intaglio.passes.canonicalize.editing import drop_unused_constants
from intaglio.passes.dialect.functions import add_functions
from intaglio.passes.marks import is_integer
from intaglio.passes.provenance import source_name
from intaglio.passes.selectors import select_nodes
from intaglio.passes.tables.cost import (
    WITH_MULTIPLIER,
    WITHOUT_MULTIPLIER,
    LayerCost,
    choose,
    figures,
    predict,
)
from intaglio.passes.tables.placing import OPERATOR, Branch, place_layer, table_layers
from intaglio.passes.tables.products import PRODUCTS, NoTableError, Product, read_product

#: Upper bits that a split takes from an index of 8.
_LOWER_BITS = {"6/2": 2, "4/4": 4}

_FORCE = "tables.substitute_convolutions.force=true substitutes it anyway"


class SubstituteConvolutionsConfig(PassConfig):
    """Options of :class:`SubstituteConvolutions`.

    Attributes:
        split: ``full`` (256 rows), ``6/2`` (64 + 4) or ``4/4`` (16 + 16).
        layers: Which layers, as selectors: patterns of source names, or ``op:ConvInteger``.
        force: Substitute whatever it costs.
        multiplier: Whether the device multiplies in hardware; decides what pays.
        largest_bytes: What the tables of all layers together may take.
    """

    split: Literal["full", "6/2", "4/4"] = "full"
    layers: tuple[str, ...] = ("*",)
    force: bool = False
    multiplier: bool = True
    largest_bytes: int = Field(default=1 << 18, ge=0)


class SubstituteConvolutions(Pass):
    """Replaces integer convolutions and products with constant matrices by sums of look-ups."""

    name: ClassVar[str] = "tables.substitute_convolutions"
    semantics: ClassVar[Semantics] = EXACT
    Config = SubstituteConvolutionsConfig

    def call(self, model: ir.Model) -> Outcome:
        """Replaces what pays, in place, and says what each layer costs.

        Raises:
            RecipeError: A selector matches no layer.
        """
        if not is_integer(model):
            return outcome(model, [], [Skip("", "only the integer form has exact tables")])
        graph = model.graph
        found = [node for node in graph if node.op_type in PRODUCTS]
        chosen = self._chosen(graph)
        products: list[Product] = []
        skips: list[Skip] = []
        for node in found:
            try:
                if chosen is not None and node.name not in chosen:
                    raise NoTableError("not among the layers asked for")
                products.append(_checked(read_product(node), self.config.split))
            except NoTableError as error:
                skips.append(Skip(source_name(node), str(error)))
        costs = self._costs(graph, products)
        changes: list[Change] = []
        for product, cost in zip(products, costs, strict=True):
            if not cost.substituted:
                skips.append(Skip(cost.layer, f"{cost.reason}; {_FORCE}"))
                continue
            place_layer(graph, product, branches(product, self.config.split))
            after = f"AdditiveLut {self.config.split}"
            changes.append(
                Change("substitute", cost.layer, product.node.op_type, after, cost.reason)
            )
        if changes:
            drop_unused_constants(graph)
            add_functions(model)
        return outcome(model, changes, skips, self._facts(costs))

    def _chosen(self, graph: ir.Graph) -> set[str] | None:
        """Names of the layers asked for, those that are tables already among them; None for all."""
        if self.config.layers == ("*",):
            return None
        candidates = [node for node in graph if node.op_type in (*PRODUCTS, OPERATOR)]
        return select_nodes(candidates, self.config.layers, f"{self.name}.layers")

    def _costs(self, graph: ir.Graph, products: Sequence[Product]) -> list[LayerCost]:
        rates = WITH_MULTIPLIER if self.config.multiplier else WITHOUT_MULTIPLIER
        rows = tuple(row_counts(self.config.split))
        costs = [
            predict(
                source_name(product.node),
                PRODUCTS[product.node.op_type],
                product.positions,
                product.weights.size,
                rows,
                rates,
            )
            for product in products
        ]
        if self.config.force:
            return [
                dataclasses.replace(c, substituted=True, reason=f"forced: {figures(c)}")
                for c in costs
            ]
        present = sum(layer.table_bytes for layer in table_layers(graph))
        return choose(costs, max(0, self.config.largest_bytes - present))

    def _facts(self, costs: Sequence[LayerCost]) -> dict[str, object]:
        taken = [cost for cost in costs if cost.substituted]
        return {
            "split": self.config.split,
            "multiplier": self.config.multiplier,
            "substituted": len(taken),
            "table_bytes": sum(cost.table_bytes for cost in taken),
            "weight_bytes": sum(cost.weight_bytes for cost in taken),
            "lookups": sum(cost.lookups for cost in taken),
            "products": sum(cost.products for cost in taken),
            "layers": [cost.to_dict() for cost in costs],
        }


def row_counts(split: str) -> list[int]:
    """Rows of the tables of a split."""
    if split not in _LOWER_BITS:
        return [256]
    lower = 1 << _LOWER_BITS[split]
    return [256 // lower, lower]


def branches(product: Product, split: str) -> list[Branch]:
    """The tables of a product, one set for each part of the index.

    Args:
        product: The product.
        split: As the option.

    Returns:
        Branches whose entries add up to ``w * (x - z)`` for every x.
    """
    taps, channels, outputs = product.weights.shape
    weights = product.weights.reshape(taps * channels, 1, outputs)

    def table(steps: NDArray[np.int64]) -> NDArray[np.int16]:
        entries = weights * steps[None, :, None]
        limits = np.iinfo(np.int16)
        if entries.size and not limits.min <= entries.min() <= entries.max() <= limits.max:
            raise NoTableError("its products need more than 16 bits")
        return entries.astype(np.int16)

    zero = product.zero_point
    if split not in _LOWER_BITS:
        return [Branch(table(np.arange(-128, 128) - zero), 0, -1, -128)]
    bits = _LOWER_BITS[split]
    size, low = 1 << bits, -(128 >> bits)
    upper = table(np.arange(low, -low) * size - zero)
    return [Branch(upper, bits, -1, low), Branch(table(np.arange(size)), 0, size - 1, 0)]


def _checked(product: Product, split: str) -> Product:
    """The product itself, whose entries fit.

    Raises:
        NoTableError: They do not fit 16 bits.
    """
    ends = dataclasses.replace(product, weights=_extremes(product.weights))
    branches(ends, split)
    return product


def _extremes(weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """Smallest and largest weight, in the same shape of three axes."""
    return np.array([weights.min(initial=0), weights.max(initial=0)], np.int64).reshape(1, 1, 2)
