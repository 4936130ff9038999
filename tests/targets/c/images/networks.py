"""Random table networks of every shape."""

import numpy as np

from intaglio.transforms.table_networks.centred import CentredNetwork, Mixing, Window


def general_taps(rng, channels):
    """Nine taps each, up to the bound on their sum."""
    taps = rng.integers(-28, 29, (channels, 3, 3))
    taps[0] = 0
    taps[0, 2, 0] = -128
    taps[0, 0, 2] = 127
    taps[-1] = 28
    taps[1] = 0
    return taps.astype(np.int8)


def single_taps(rng, channels, largest=6):
    """One tap each, a power of two with any sign; the second channel has none."""
    taps = np.zeros((channels, 9), np.int64)
    place = rng.integers(0, 9, channels)
    weight = (1 << rng.integers(0, largest + 1, channels)) * rng.choice([-1, 1], channels)
    taps[np.arange(channels), place] = weight
    taps[1] = 0
    return taps.reshape(channels, 3, 3).astype(np.int8)


def centred_network(
    seed=0, channels=16, mixings=2, stride=1, upscale=4, kernel=3, windows="general", shared=False,
    extreme=False,
):  # fmt: skip
    """A network of random numbers that uses the whole ranges."""
    rng = np.random.default_rng(seed)

    def window():
        if windows == "general" or (windows == "mixed" and rng.random() < 0.5):
            return Window(general_taps(rng, channels), int(rng.integers(0, 15)) if extreme else 9)
        return Window(single_taps(rng, channels), int(rng.integers(0, 8)) if extreme else 4)

    def tables(outputs):
        low = 120 if extreme else -128
        return rng.integers(low, 128, (channels, 16, outputs)).astype(np.int8)

    same = tables(channels)
    layers = tuple(
        Mixing(
            window(),
            same if shared else tables(channels),
            int(rng.integers(0, 15)) if extreme else 5,
        )
        for _ in range(mixings)
    )
    outputs = channels + upscale**2
    return CentredNetwork(
        stem_weights=rng.integers(-128, 128, (outputs, kernel, kernel)).astype(np.int8),
        stem_bias=rng.integers(-3000, 3000, outputs).astype(np.int32),
        stem_shift=9,
        mixings=layers,
        head_window=window(),
        head_tables=tables(upscale**2),
        head_shift=14 if extreme else 4,
        out_shift=0 if extreme else 9,
        stride=stride,
        upscale=upscale,
    )
