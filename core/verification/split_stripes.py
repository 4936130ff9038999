"""Bits that the codes of each stripe take, on real samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms.split.entropy import count_contexts
from intaglio.transforms.split.specification import TOTAL, CodecSpecification, Feature


class StripeBits:
    """Counts codes by context.

    Args:
        codec: The codec.
    """

    def __init__(self, codec: CodecSpecification) -> None:
        self._codec = codec
        self._counts: list[list[NDArray[np.float64]]] = [[] for _ in codec.features]

    def add(self, codes: NDArray[np.uint8]) -> None:
        """Takes codes ``[N, codes]`` into account."""
        first = 0
        for index, feature in enumerate(self._codec.features):
            own = codes[:, first : first + feature.codes]
            first += feature.codes
            planes = own.reshape(len(own), feature.code_channels, *feature.code_plane)
            found = count_contexts(planes, feature)
            before = self._counts[index]
            self._counts[index] = (
                [one + other for one, other in zip(before, found, strict=True)] if before else found
            )

    def to_list(self) -> list[dict[str, Any]]:
        """Bits a code of each stripe.

        Returns:
            ``feature``, ``stripe``, ``codes`` (how many were counted), ``entropy`` (of the codes
            by themselves) and ``coded`` (what the coder's frequencies take; None where nothing is
            entropy coded). Empty before anything was counted.
        """
        rows = []
        for feature, counts in zip(self._codec.features, self._counts, strict=True):
            for index, table in enumerate(counts):
                rows.append(
                    {
                        "feature": feature.name,
                        "stripe": index,
                        "codes": int(table.sum()),
                        "entropy": _entropy(table.sum(axis=0)),
                        "coded": _coded(table, feature, index),
                    }
                )
        return rows


def _entropy(counts: NDArray[np.float64]) -> float:
    seen = counts[counts > 0]
    total = seen.sum()
    return float(-(seen * np.log2(seen / total)).sum() / total) if total else 0.0


def _coded(table: NDArray[np.float64], feature: Feature, index: int) -> float | None:
    frequencies = np.array(feature.stripes[index].frequencies, np.float64)
    total = table.sum()
    if not frequencies.size or not total:
        return None
    return float(-(table * np.log2(frequencies / TOTAL)).sum() / total)
