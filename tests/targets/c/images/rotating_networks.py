"""Random networks with rotations, of every shape that their definition allows."""

import numpy as np

from intaglio.transforms.table_networks.reference import Branch, ReferenceNetwork, Stage


def _table(rng, *shape, least=-128):
    return rng.integers(least, 128, shape).astype(np.int8)


def _scale(rng, channels, rows, low, kind):
    """None; or what a factor makes, for some channels beyond the ends; or any table at all."""
    if kind == "none":
        return None
    if kind == "any":
        return rng.integers(low, low + rows, (channels, rows)).astype(np.int8)
    scaled = np.rint(rng.uniform(-0.4, 2.6, (channels, 1)) * np.arange(low, low + rows))
    return np.clip(scaled, low, low + rows - 1).astype(np.int8)


def branch(
    rng, shift=2, low=-32, rows=64, channels=16, upscale=4, stages=1, depthwise=(),
    scales="factors", least=-128,
):  # fmt: skip
    """One branch; ``depthwise``: which stages have such a layer."""

    def scale():
        return _scale(rng, channels, rows, low, scales)

    made = []
    for number in range(stages):
        deep = number in depthwise
        made.append(
            Stage(
                _table(rng, channels, rows, channels, least=least),
                scale(),
                _table(rng, channels, 9, rows, least=least) if deep else None,
                scale() if deep else None,
            )
        )
    stem = _table(rng, 9, rows, channels, least=least)
    up = _table(rng, channels, rows, upscale**2, least=least)
    return Branch(shift, low, stem, tuple(made), up, scale())


def rotating_network(
    seed=0, *, upscale=4, channels=16, lower=True, lower_depthwise=None, **options
):
    """Two branches of six and two bits, or one; see :func:`branch`."""
    rng = np.random.default_rng(seed)
    shared = {"upscale": upscale, "channels": channels}
    branches = [branch(rng, **shared, **options)]
    if lower:
        kept = options.get("depthwise", ()) if lower_depthwise is None else lower_depthwise
        below = {**options, "depthwise": kept, "shift": 0, "low": 0, "rows": 4}
        branches.append(branch(rng, **shared, **below))
    return ReferenceNetwork(tuple(branches), upscale)
