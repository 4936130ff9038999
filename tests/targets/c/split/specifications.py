"""Codecs and codes of all sorts, from a seed."""

import numpy as np
from hypothesis import strategies as st

from intaglio.transforms.split.specification import CodecSpecification, Feature, Stripe

LEVELS = (1, 2, 3, 4, 5, 6, 8, 9, 10, 16, 17, 18, 40, 256)


def frequencies(rng, contexts, levels):
    """Rows that sum to 4096; some all but certain, some even."""
    shares = rng.dirichlet(np.full(levels, rng.choice([0.05, 0.5, 20.0])), contexts)
    found = 1 + np.floor(shares * (4096 - levels)).astype(int)
    found[np.arange(contexts), found.argmax(1)] += 4096 - found.sum(1)
    return tuple(tuple(map(int, row)) for row in found)


def feature(
    rng, shape, *, levels, stripes=1, caps=(0, 0, 0), lanes=1, coding="rans", dynamic=False,
    tile=0, share_channels=1, share_patch=1,
):  # fmt: skip
    channels = shape[0] // share_channels
    stripes = min(stripes, channels)
    cuts = sorted(rng.choice(np.arange(1, channels), stripes - 1, replace=False))
    contexts = (caps[0] + 1) * (caps[1] + 1) * (caps[2] + 1)
    made = []
    for size in np.diff([0, *cuts, channels]):
        count = int(rng.choice(levels))
        encode = () if dynamic else tuple(i * count // 256 for i in range(256))
        rows = frequencies(rng, contexts, count) if coding == "rans" else ()
        made.append(Stripe(int(size), count, encode, rows))
    decode = [
        tuple(range(-128, stripe.levels - 128))
        for stripe in made
        for _ in range(stripe.channels * share_channels)
    ]
    references = [
        int(rng.integers(-1, channel // lanes * lanes)) if channel >= lanes else -1
        for channel in range(channels)
    ]
    return Feature(
        name="cut", source="cut", shape=tuple(shape), scale=0.5, zero_point=0,
        order=tuple(range(shape[0])), stripes=tuple(made), decode=() if dynamic else tuple(decode),
        ranges="dynamic" if dynamic else "static", tile=tile if dynamic else 0,
        share_channels=share_channels, share_patch=share_patch, caps=caps,
        references=tuple(references), lanes=lanes,
    )  # fmt: skip


def random_feature(rng, coding):
    rank = rng.integers(1, 4)
    if rank == 1:
        shape = [int(rng.integers(1, 70))]
    elif rank == 2:
        shape = [int(rng.integers(1, 5)), int(rng.choice([1, 7, 255, 256, 257, 530]))]
    else:
        shape = [int(rng.integers(1, 20)), *map(int, rng.integers(1, 20, 2))]
    share = int(rng.choice([1, 1, 2]))
    shape[0] *= share
    return feature(
        rng, shape, levels=rng.choice(LEVELS, 2), stripes=int(rng.integers(1, 5)),
        caps=tuple(map(int, rng.choice([0, 0, 1, 3, 7], 3))),
        lanes=int(rng.choice([1, 2, 3, 4, 5, 6, 8, 12, 16, 17, 64])),
        coding=coding, dynamic=bool(rng.integers(2)), tile=int(rng.choice([0, 3])),
        share_channels=share, share_patch=int(rng.choice([1, 1, 2])) if rank > 1 else 1,
    )  # fmt: skip


def random_codes(rng, specification, samples):
    """Any codes, and ranges in order."""
    columns = [
        rng.integers(
            0, stripe.levels, (samples, stripe.channels * found.codes // found.code_channels)
        )
        for found in specification.features
        for stripe in found.stripes
    ]
    ranges = rng.integers(-128, 128, (samples, specification.side_bytes // 2, 2), np.int8)
    codes = np.concatenate(columns, 1).astype(np.uint8)
    return codes, np.sort(ranges, -1).reshape(samples, -1)


@st.composite
def cases(draw):
    """A codec with codes and ranges of some samples."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    coding = draw(st.sampled_from(["raw", "packed", "rans", "rans"]))
    features = tuple(random_feature(rng, coding) for _ in range(draw(st.integers(1, 2))))
    specification = CodecSpecification(features, coding, "0123").check()
    return specification, *random_codes(rng, specification, draw(st.integers(1, 3)))
