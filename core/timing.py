"""Timing models side by side on this machine.

A sample is the mean of a batch of inferences that takes about a millisecond, so that clocks and
calls do not count. Models take turns: each gives a few samples, then the next, and so on in rounds,
so that a machine that grows slower or busier does so for all of them.
"""

from __future__ import annotations

import abc
import dataclasses
import time
from collections.abc import Callable, Mapping

import numpy as np

#: Seconds that a sample should take at least.
_SAMPLE_S = 1e-3
_ROUNDS = 10


@dataclasses.dataclass(frozen=True)
class Sample:
    """Seconds of one inference, averaged over a batch.

    Attributes:
        wall: By the clock on the wall.
        processor: Time that processors spent on it, all threads together.
    """

    wall: float
    processor: float


class Contestant(abc.ABC):
    """A model that is opened in one runtime and can be run many times.

    Attributes:
        threads: Threads that it may use.
        how: How its time is taken, in words.
    """

    threads = 1
    how: str

    @abc.abstractmethod
    def batch(self, count: int) -> Sample:
        """Runs ``count`` inferences; the mean of them."""

    def close(self) -> None:  # noqa: B027 - most have nothing to give back
        """Gives back what it holds."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """Samples of one contestant.

    Attributes:
        samples: The samples, in order.
        batch: Inferences of each sample.
    """

    samples: tuple[Sample, ...]
    batch: int

    def seconds(self, clock: str, percentile: float) -> float:
        """A percentile of the samples.

        Args:
            clock: ``wall`` or ``processor``.
            percentile: 50 for the median.
        """
        return float(np.percentile([getattr(s, clock) for s in self.samples], percentile))


def time_in_turns(
    contestants: Mapping[str, Contestant],
    samples: int,
    seconds: float,
    done: Callable[[int, int], None] = lambda _done, _total: None,
) -> dict[str, Timing | Exception]:
    """Times contestants in turns.

    Args:
        contestants: By name.
        samples: Samples of each, at most.
        seconds: Begin no further sample of one that has taken so long.
        done: Told how many rounds of how many are over.

    Returns:
        By name the samples, or what a contestant raised; the others go on.
    """
    taken: dict[str, list[Sample]] = {name: [] for name in contestants}
    batches: dict[str, int] = {}
    spent = dict.fromkeys(contestants, 0.0)
    failed: dict[str, Exception] = {}
    rounds = min(_ROUNDS, samples)
    for turn in range(-1, rounds):
        due = samples * (turn + 1) // rounds - samples * max(turn, 0) // rounds
        for name, contestant in contestants.items():
            if name in failed:
                continue
            try:
                if turn < 0:
                    batches[name] = _fitting_batch(contestant)
                    continue
                start = time.perf_counter()
                for _ in range(due):
                    used = spent[name] + time.perf_counter() - start
                    if taken[name] and used > seconds * (turn + 1) / rounds:
                        break
                    taken[name].append(contestant.batch(batches[name]))
                spent[name] += time.perf_counter() - start
            except Exception as error:
                # A runtime may raise anything; that is a finding about this contestant.
                failed[name] = error
        done(turn + 1, rounds)
    return {
        name: failed[name] if name in failed else Timing(tuple(taken[name]), batches[name])
        for name in contestants
    }


def _fitting_batch(contestant: Contestant) -> int:
    """Warms up, and finds how many inferences a sample takes."""
    contestant.batch(1)
    count = 1
    while True:
        once = min(contestant.batch(count).processor for _ in range(3))
        wanted = max(1, round(_SAMPLE_S / max(once, 1e-7)))
        # A call has its own cost, which small batches measure: grow until it does not matter.
        if wanted <= 2 * count:
            return min(wanted, 2 * count)
        count = min(wanted, 16 * count)
