"""Adam, without the machinery that ``torch.optim`` loads: starting a run takes half as long.

    m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2
    p = p - rate * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)

Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

_FIRST, _SECOND, _EPSILON = 0.9, 0.99, 1e-8


@dataclasses.dataclass
class _Group:
    parameters: list[Tensor]
    rate: float
    first: list[Tensor]
    second: list[Tensor]


class Adam:
    """The optimizer, with decays of 0.9 and 0.99.

    Args:
        groups: ``params``, a list of parameters, and ``lr``, their learning rate.
    """

    def __init__(self, groups: Sequence[Mapping[str, Any]]) -> None:
        self._groups = []
        for group in groups:
            found = list(group["params"])
            if found:
                moments = [[torch.zeros_like(p) for p in found] for _ in range(2)]
                self._groups.append(_Group(found, float(group["lr"]), *moments))
        self._steps = 0

    def clear(self) -> None:
        """Forgets the gradients."""
        for group in self._groups:
            for parameter in group.parameters:
                parameter.grad = None

    @torch.no_grad()
    def step(self, share: float = 1.0) -> None:
        """Moves the parameters.

        Args:
            share: What the step takes of the learning rates.
        """
        self._steps += 1
        # epsilon stands behind the correction of the second moment.
        second = math.sqrt(1 - _SECOND**self._steps)
        scale = second / (1 - _FIRST**self._steps)
        for group in self._groups:
            gradients = [_gradient(p) for p in group.parameters]
            torch._foreach_lerp_(group.first, gradients, 1 - _FIRST)
            torch._foreach_mul_(group.second, _SECOND)
            torch._foreach_addcmul_(group.second, gradients, gradients, 1 - _SECOND)
            below = torch._foreach_sqrt(group.second)
            torch._foreach_add_(below, _EPSILON * second)
            torch._foreach_addcdiv_(
                group.parameters, group.first, below, -group.rate * share * scale
            )

    def state(self) -> dict[str, Any]:
        """All that the next step depends on besides the gradients."""
        return {
            "steps": self._steps,
            "first": [group.first for group in self._groups],
            "second": [group.second for group in self._groups],
        }

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a saved state."""
        self._steps = int(state["steps"])
        for index, group in enumerate(self._groups):
            for name in ("first", "second"):
                for mine, saved in zip(getattr(group, name), state[name][index], strict=True):
                    mine.copy_(saved)


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
