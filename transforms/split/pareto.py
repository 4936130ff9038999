"""Which of many choices no other one beats."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Whether each point is on the Pareto front of two costs.

    Args:
        points: Two costs each, less is better.

    Returns:
        For each point, whether no other one is at least as good in both costs and better in one.
    """
    order = sorted(range(len(points)), key=lambda i: points[i])
    front = [False] * len(points)
    best: tuple[float, float] | None = None
    for index in order:
        point = points[index]
        if best is None or point[1] < best[1] or point == best:
            front[index], best = True, point
    return front
