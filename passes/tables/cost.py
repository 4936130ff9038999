"""What a layer costs as tables, and what it costs as products: bytes and predicted time.

A *look-up* is one table entry added to one sum, a *product* one multiplication added to one sum.
Both counts are those of the layer's definition: positions x outputs x taps (x tables of a split).

The rates are rough, and meant to tell factors, not percents:

* with a multiplier: one core of an x86 server. int8 products with VNNI run at 203 G/s; rows of
  8-bit entries are added at 48 G/s with AVX2, so rows of 16-bit entries at half of that. Tables
  that do not fit the second cache (1 MiB) come from further away: a quarter of that rate.
* without one: a 48 MHz core whose products are a shift-and-add loop of about 40 cycles; a look-up
  is index, address, load and add: about 6 cycles. Flash has no cache.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Rates:
    """How fast a kind of processor is.

    Attributes:
        products_per_second: int8 multiply-accumulates.
        lookups_per_second: Entries of 16 bits added to sums, the table in the cache.
        cache_bytes: Tables up to this size are read at that rate.
        beyond_cache: What is left of the rate for larger ones.
    """

    products_per_second: float
    lookups_per_second: float
    cache_bytes: int
    beyond_cache: float


WITH_MULTIPLIER = Rates(203e9, 24e9, 1 << 20, 0.25)
WITHOUT_MULTIPLIER = Rates(48e6 / 40, 48e6 / 6, 1 << 62, 1.0)


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """One layer, both ways.

    Attributes:
        layer: Name of its source node.
        operator: What it is in the source model's terms: ``Conv``, ``Gemm``.
        positions: Places at which the window stands; 1 for a fully connected layer.
        weights: Number of weights.
        products: Multiplications of one inference, padding included.
        lookups: Table entries read by one inference.
        weight_bytes: Bytes of the int8 weights.
        table_bytes: Bytes of the tables.
        seconds: Predicted time of the products.
        table_seconds: Predicted time of the look-ups.
        substituted: Whether the layer is tables now.
        reason: Why, or why not.
    """

    layer: str
    operator: str
    positions: int
    weights: int
    products: int
    lookups: int
    weight_bytes: int
    table_bytes: int
    seconds: float
    table_seconds: float
    substituted: bool = False
    reason: str = ""

    @property
    def speedup(self) -> float:
        """How many times faster the tables are predicted to be."""
        return self.seconds / self.table_seconds if self.table_seconds else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures as JSON-friendly data."""
        return dataclasses.asdict(self)


def predict(
    layer: str, operator: str, positions: int, weights: int, rows: Sequence[int], rates: Rates
) -> LayerCost:
    """The cost of one layer.

    Args:
        layer: Its name.
        operator: Its kind.
        positions: Places of its window.
        weights: Number of its weights, each with a table of its own.
        rows: Rows of each table of a weight: ``(256,)``, ``(64, 4)``, ``(16, 16)``. Entries have
            two bytes.
        rates: Of the processor.
    """
    products = positions * weights
    lookups = products * len(rows)
    table_bytes = 2 * weights * sum(rows)
    rate = rates.lookups_per_second
    if table_bytes > rates.cache_bytes:
        rate *= rates.beyond_cache
    return LayerCost(
        layer=layer,
        operator=operator,
        positions=positions,
        weights=weights,
        products=products,
        lookups=lookups,
        weight_bytes=weights,
        table_bytes=table_bytes,
        seconds=products / rates.products_per_second,
        table_seconds=lookups / rate,
    )


def choose(costs: Sequence[LayerCost], largest_bytes: int) -> list[LayerCost]:
    """Decides which layers pay: faster as tables, and together within a number of bytes.

    Where not all fit, those go first that save most time for each byte of table.

    Args:
        costs: The candidates.
        largest_bytes: What the tables of all layers together may take.

    Returns:
        The same layers in the same order, each with the decision and its reason.
    """

    def worth(index: int) -> float:
        cost = costs[index]
        return (cost.seconds - cost.table_seconds) / max(cost.table_bytes, 1)

    decided = list(costs)
    left = largest_bytes
    for index in sorted(range(len(costs)), key=lambda i: (-worth(i), i)):
        cost = costs[index]
        if cost.table_seconds >= cost.seconds:
            reason = f"tables do not pay: {figures(cost)}"
        elif cost.table_bytes > left:
            reason = f"no room: {left:,} of {largest_bytes:,} bytes are left; {figures(cost)}"
        else:
            left -= cost.table_bytes
            reason = f"tables pay: {figures(cost)}"
        taken = reason.startswith("tables pay")
        decided[index] = dataclasses.replace(cost, substituted=taken, reason=reason)
    return decided


def figures(cost: LayerCost) -> str:
    """The two ways of a layer in one phrase."""
    return (
        f"{cost.lookups:,} look-ups in {cost.table_bytes:,} bytes "
        f"({format_seconds(cost.table_seconds)} predicted) for {cost.products:,} products of "
        f"{cost.weight_bytes:,} bytes ({format_seconds(cost.seconds)})"
    )


def format_seconds(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
