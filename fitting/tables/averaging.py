"""The exponential moving average of a network's weights: what a run results in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class Average:
    """Averaged weights of a module.

    After step t the decay is ``min(decay, (1 + t) / (10 + t))``, so early averages are short.

    Args:
        module: Its parameters are averaged.
        decay: Share of the old average that stays.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._parameters = list(module.parameters())
        self._decay = decay
        self.values = [p.detach().clone() for p in self._parameters]

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Takes in the weights as they are after so many steps."""
        decay = min(self._decay, (1 + steps) / (10 + steps))
        now = [p.detach() for p in self._parameters]
        torch._foreach_lerp_(self.values, now, 1 - decay)

    @torch.no_grad()
    def restore(self, values: list[Tensor]) -> None:
        """Goes on from saved averages."""
        for mine, saved in zip(self.values, values, strict=True):
            mine.copy_(saved)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within it the module has the averaged weights."""
        kept = [p.detach().clone() for p in self._parameters]
        with torch.no_grad():
            for parameter, value in zip(self._parameters, self.values, strict=True):
                parameter.copy_(value)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(self._parameters, kept, strict=True):
                    parameter.copy_(value)
