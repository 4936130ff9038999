"""Inner tensors of an artifact against those of the golden reference, bit for bit.

Where a runtime gives its inner tensors under names that stand for source values, a difference is
found at the first layer that makes it, not at the outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class InnerResult:
    """What comparing inner tensors found.

    Attributes:
        artifact: Name of the artifact.
        reference: Name of the reference.
        tensors: How many tensors were compared.
        values: How many values.
        different: How many of them differ.
        first: The first tensor that differs, in the order of execution; empty where none does.
    """

    artifact: str
    reference: str
    tensors: int
    values: int
    different: int
    first: str

    def to_dict(self) -> dict[str, Any]:
        """Returns the result as JSON-friendly data."""
        return dict(vars(self))


class TapComparison:
    """Streaming comparison of inner tensors.

    Args:
        artifact: Name of the artifact.
        reference: Name of the reference.
        names: Name of each tensor in the artifact, in the order of execution, to that in the
            reference.
    """

    def __init__(self, artifact: str, reference: str, names: Mapping[str, str]) -> None:
        self.artifact = artifact
        self.reference = reference
        self.names = dict(names)
        self._values = dict.fromkeys(self.names, 0)
        self._different = dict.fromkeys(self.names, 0)

    def add(self, found: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> None:
        """Takes one batch into account; tensors that either side lacks are left out."""
        for name, twin in self.names.items():
            if name in found and twin in expected:
                self._values[name] += found[name].size
                self._different[name] += _differences(found[name], expected[twin])

    def result(self) -> InnerResult:
        """What was found."""
        first = next((name for name, count in self._different.items() if count), "")
        return InnerResult(
            self.artifact,
            self.reference,
            tensors=sum(1 for count in self._values.values() if count),
            values=sum(self._values.values()),
            different=sum(self._different.values()),
            first=first,
        )

    def failure(self) -> str:
        """What is wrong, in one sentence; empty where nothing is."""
        result = self.result()
        if not result.tensors:
            return f"{result.artifact} gave none of its inner tensors"
        if not result.different:
            return ""
        return (
            f"{result.artifact} differs from {result.reference} inside: first in '{result.first}', "
            f"in {result.different} of {result.values} values of all inner tensors"
        )


def _differences(found: NDArray[Any], expected: NDArray[Any]) -> int:
    """How many values differ, in the order of dimensions in which the fewest do.

    A target may keep images channels last where the reference has channels first. Where shapes do
    not tell which, a wrong layer differs in both.
    """
    forms = [expected] if expected.shape == found.shape else []
    if expected.ndim == 4:
        last = expected.transpose(0, 2, 3, 1)
        forms += [last] if last.shape == found.shape else []
    if not forms and expected.size == found.size:
        forms = [expected.reshape(found.shape)]
    counts = [int(np.count_nonzero(found != form)) for form in forms]
    return min(counts, default=found.size)
