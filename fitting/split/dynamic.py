"""Features whose ranges are those of each sample: uniform codes, two bytes of range a group."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from intaglio.fitting.split.probe import Probe
from intaglio.fitting.split.quantizing import NOISE_SAMPLES
from intaglio.transforms.split.coding import decode_features, encode_features
from intaglio.transforms.split.specification import CodecSpecification, Feature, Stripe

#: Bits to choose among.
BITS = (2, 3, 4, 8)


def with_bits(feature: Feature, bits: int) -> Feature:
    """The feature with codes of ``bits`` bits in all stripes."""
    stripes = tuple(Stripe(stripe.channels, 1 << bits) for stripe in feature.stripes)
    return dataclasses.replace(feature, stripes=stripes)


def encode(probe: Probe, features: Sequence[Feature]) -> list[NDArray[np.uint8]]:
    """Codes of all calibration samples: [N, code channels, rows, columns] for each feature."""
    specification = CodecSpecification(tuple(features), "raw")
    codes, _ = encode_features(specification, probe.features)
    made, first = [], 0
    for feature in features:
        part = codes[:, first : first + feature.codes]
        made.append(part.reshape(len(codes), feature.code_channels, *feature.code_plane))
        first += feature.codes
    return made


def noise_of(probe: Probe, features: Sequence[Feature]) -> float:
    """Relative noise at the outputs with the features coded."""
    specification = CodecSpecification(tuple(features), "raw")
    few = {name: array[:NOISE_SAMPLES] for name, array in probe.features.items()}
    codes, ranges = encode_features(specification, few)
    return probe.noise(decode_features(specification, codes, ranges))
