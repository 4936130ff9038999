"""Which samples a step sees: a function of the seed and the step alone, so that a run resumes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.forward_gradient.randomness import counter_hash, hash_seed

#: Kept apart from the streams of the perturbations.
_ORDER_STREAM = 0x6F726472


class Order:
    """Samples in random order, epoch after epoch, each epoch a permutation of all.

    Args:
        count: How many samples there are.
        batch: How many of them a step sees; at most ``count``.
        seed: Any integer.
    """

    def __init__(self, count: int, batch: int, seed: int) -> None:
        self._count = count
        self._batch = batch
        self._seed = seed
        self._epochs: dict[int, NDArray[np.int64]] = {}

    def batch(self, step: int) -> NDArray[np.int64]:
        """Indices of the samples of a step; a batch may reach into the next epoch."""
        places = np.arange(step * self._batch, (step + 1) * self._batch, dtype=np.int64)
        epochs, inside = places // self._count, places % self._count
        found = np.empty(self._batch, np.int64)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            found[chosen] = self._permutation(int(epoch))[inside[chosen]]
        return found

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self._epochs:
            # A batch touches two epochs at most, unless it is the whole set.
            self._epochs = {key: value for key, value in self._epochs.items() if key == epoch - 1}
            seed = hash_seed(hash_seed(self._seed ^ _ORDER_STREAM) + epoch)
            hashes = counter_hash(np.arange(self._count), seed)
            self._epochs[epoch] = np.argsort(hashes, kind="stable").astype(np.int64)
        return self._epochs[epoch]
