"""What the entropy coder knows beforehand: contexts, reference channels and frequencies."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.split.entropy import count_contexts, quantize_frequencies
from intaglio.transforms.split.similarity import choose_references
from intaglio.transforms.split.specification import Feature, Stripe

#: Neighbors' codes from here on are one context: more of them gain two percent.
_CAP = 3

#: Stripes of more levels get no contexts: tables grow, and there is too little to count.
_CONTEXT_LEVELS = 16

#: What the code without its context counts for, in codes.
_PRIOR = 2.0

#: Fewest codes of a sample for so many states: each costs some bytes of every message.
_LANES = ((1024, 4), (256, 2))


def choose_lanes(codes: int) -> int:
    """States of the entropy coder for a feature of ``codes`` codes a sample."""
    return next((lanes for fewest, lanes in _LANES if codes >= fewest), 1)


def model_codes(
    feature: Feature, codes: NDArray[np.uint8], *, contexts: bool, lanes: int
) -> Feature:
    """The feature with references and frequencies for its codes.

    Args:
        feature: The feature without them.
        codes: Codes of calibration samples: [N, code channels, rows, columns].
        contexts: Whether frequencies may depend on neighbors.
        lanes: States of the entropy coder; 0 chooses.
    """
    lanes = lanes or choose_lanes(feature.codes)
    most = max(stripe.levels for stripe in feature.stripes)
    references = [-1] * feature.code_channels
    caps = (0, 0, 0)
    if contexts and 1 < most <= _CONTEXT_LEVELS:
        references = choose_references(codes, lanes)
        cap = min(_CAP, most - 1)
        rows, columns = feature.code_plane
        used = (columns > 1, rows > 1, max(references) >= 0)
        caps = (cap * used[0], cap * used[1], cap * used[2])
    feature = dataclasses.replace(feature, lanes=lanes, references=tuple(references), caps=caps)
    counts = count_contexts(codes, feature)
    stripes = tuple(
        dataclasses.replace(stripe, frequencies=_frequencies(count))
        for stripe, count in zip(feature.stripes, counts, strict=True)
    )
    return dataclasses.replace(feature, stripes=stripes)


def _frequencies(counts: NDArray[np.float64]) -> tuple[tuple[int, ...], ...]:
    """Frequencies of each context; a rare one leans on the counts of all."""
    whole = counts.sum(axis=0) + 0.5
    prior = _PRIOR * whole / whole.sum()
    return tuple(tuple(int(f) for f in quantize_frequencies(row + prior)) for row in counts)


def packed_bits(stripes: tuple[Stripe, ...], codes_of_channel: int) -> int:
    """Bits of a sample's codes packed without entropy coding, each stripe padded to a byte."""
    return sum(
        -(-stripe.channels * codes_of_channel * stripe.bits // 8) * 8
        for stripe in stripes
        if stripe.levels > 1
    )
