"""The largest or smallest of two or more tensors of one quantization, element by element."""

from __future__ import annotations

from collections.abc import Sequence

from intaglio.targets.c.kernels.base import Implementation
from intaglio.targets.c.kernels.portable.broadcasting import (
    Reader,
    broadcast_loops,
    overwritable,
)
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.network import Extreme


def take_extremes(layer: Extreme, variant: str, budget: int) -> Implementation:
    """Code of an element-wise maximum or minimum.

    Args:
        layer: The layer.
        variant: Not needed.
        budget: Not needed.
    """
    del variant, budget
    kind = c_type(layer.output.dtype)
    count = len(layer.inputs)
    beats = ">" if layer.largest else "<"

    def reader(place: int) -> Reader:
        def read(index: str) -> Sequence[str]:
            return [f"const {kind} v{place} = x{place}[{index}];"]

        return read

    def body(index: str) -> str:
        lines = [f"{kind} best = v0;"]
        lines += [f"best = v{place} {beats} best ? v{place} : best;" for place in range(1, count)]
        return "\n".join([*lines, f"y[{index}] = best;"])

    call = broadcast_loops(layer, [reader(place) for place in range(count)], body)
    return Implementation(call, in_place=overwritable(layer))
