"""Runs the layout optimization on a graph and counts what it did."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from intaglio.passes.base import Change
from intaglio.passes.layout.choosing import choose
from intaglio.passes.layout.layouts import moves_data
from intaglio.passes.layout.problem import Problem, elements, transpose_perm, views_cost
from intaglio.passes.layout.rewriting import is_free, rewrite
from intaglio.passes.layout.rules import dims_of

#: Passes over the graph; the second one finds what the first has brought together.
_PASSES = 4


def optimize_layout(
    graph: ir.Graph, *, free_border: bool = False
) -> tuple[list[Change], dict[str, Any]]:
    """Removes, moves and merges Transposes so that as few elements as possible are moved.

    Args:
        graph: Changed in place.
        free_border: Whether inputs and outputs with four axes may become channels last.

    Returns:
        The changes, and facts: Transposes before and after, and elements that they move.
    """
    changes: list[Change] = []
    before = remaining(graph)
    for _ in range(_PASSES):
        if not any(transpose_perm(node) is not None for node in graph):
            break
        problem = Problem(graph, free_border=free_border)
        choose(problem)
        if problem.cost() >= views_cost(graph) and not any(is_free(node) for node in graph):
            break
        changes += rewrite(problem)
    after = remaining(graph)
    inserted = sum(change.kind == "insert_transpose" for change in changes)
    facts = {
        "transposes_before": len(before),
        "transposes_inserted": inserted,
        "transposes_cancelled": len(before) + inserted - len(after),
        "transposes_remaining": len(after),
        "elements_moved_before": sum(before),
        "elements_moved": sum(after),
    }
    return changes, facts


def remaining(graph: ir.Graph) -> list[int]:
    """Elements moved by each Transpose that is an operator of its own."""
    moved = []
    for node in graph:
        perm, sizes = transpose_perm(node), dims_of(node.inputs[0] if node.inputs else None)
        if perm is not None and sizes is not None:
            moved.append(elements(sizes) if moves_data(perm, sizes) else 0)
    return moved
