"""Random table networks of both structures, for tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.table_networks.centred import CentredNetwork, Mixing, Window
from intaglio.transforms.table_networks.reference import Branch, ReferenceNetwork, Stage


def int8(random: np.random.Generator, *shape: int, limit: int = 127) -> NDArray[np.int8]:
    """Uniform integers of at most ``limit``."""
    return random.integers(-limit, limit + 1, shape).astype(np.int8)


def window(random: np.random.Generator, channels: int, *, single: bool = False) -> Window:
    """A 3 x 3 window of each channel; ``single``: one tap of 64 each, a pure shift."""
    if not single:
        return Window(int8(random, channels, 3, 3, limit=28), int(random.integers(6, 12)))
    taps = np.zeros((channels, 9), np.int8)
    taps[np.arange(channels), random.integers(0, 9, channels)] = 64
    return Window(taps.reshape(channels, 3, 3), 10)


def centred(
    seed: int,
    *,
    channels: int = 16,
    mixings: int = 2,
    stride: int = 1,
    upscale: int = 4,
    kernel: int = 3,
    shared: bool = False,
    single: bool = False,
) -> CentredNetwork:
    """A network whose features use their whole range, saturation included."""
    random = np.random.default_rng(seed)
    outputs = channels + upscale**2
    one = int8(random, channels, 16, channels)
    return CentredNetwork(
        stem_weights=int8(random, outputs, kernel, kernel),
        stem_bias=random.integers(-9999, 9999, outputs).astype(np.int32),
        stem_shift=8,
        mixings=tuple(
            Mixing(
                window(random, channels, single=single),
                one if shared else int8(random, channels, 16, channels),
                3,
            )
            for _ in range(mixings)
        ),
        head_window=window(random, channels, single=single),
        head_tables=int8(random, channels, 16, upscale**2),
        head_shift=5,
        out_shift=9,
        stride=stride,
        upscale=upscale,
    )


def _scale(random: np.random.Generator, channels: int, rows: int, low: int) -> NDArray[np.int8]:
    alpha = random.uniform(0.3, 1.2, (channels, 1))
    scaled = np.rint(alpha * np.arange(low, low + rows))
    return np.clip(scaled, low, low + rows - 1).astype(np.int8)


def _branch(
    random: np.random.Generator, *, upper: bool, stages: int, upscale: int, scales: bool
) -> Branch:
    channels, rows, low = 16, 64 if upper else 4, -32 if upper else 0

    def scale() -> NDArray[np.int8] | None:
        return _scale(random, channels, rows, low) if scales else None

    listed = [
        Stage(
            int8(random, channels, rows, channels),
            scale(),
            int8(random, channels, 9, rows) if number else None,
            scale() if number else None,
        )
        for number in range(stages)
    ]
    stem = int8(random, 9, rows, channels)
    up = int8(random, channels, rows, upscale**2)
    return Branch(2 if upper else 0, low, stem, tuple(listed), up, scale())


def reference(
    seed: int, *, stages: int = 1, upscale: int = 4, scales: bool = True, lower: bool = True
) -> ReferenceNetwork:
    """TinyLUT's structure with random tables; ``lower``: with the branch of the lower bits."""
    random = np.random.default_rng(seed)
    branches = [
        _branch(random, upper=upper, stages=stages, upscale=upscale, scales=scales)
        for upper in ((True, False) if lower else (True,))
    ]
    return ReferenceNetwork(tuple(branches), upscale)
