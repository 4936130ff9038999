"""Attributes of nodes as Python values."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir


def integers(node: ir.Node, name: str, default: Sequence[int]) -> list[int]:
    """A list attribute of integers, or ``default``."""
    found = node.attributes.get(name)
    return list(default) if found is None else [int(v) for v in found.as_ints()]


def pair(node: ir.Node, name: str) -> tuple[int, int]:
    """An attribute for H and W, 1 and 1 where it is left out."""
    first, second = integers(node, name, [1, 1])
    return first, second
