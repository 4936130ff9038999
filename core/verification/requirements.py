"""What ``verify --require`` asks for: ``exact``, ``lsb=N`` or ``sqnr=DB``.

``exact`` and ``lsb=N`` speak about artifacts: how far two of them may differ, or one and the source
where it states the source's own arithmetic. ``sqnr=DB`` speaks
about every comparison, that with the float source included. A requirement that has no pair to
speak about is an error, not a success.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from intaglio.errors import RecipeError
from intaglio.verification.report import SOURCE, UNSPLIT, PairResult

_REMEDY = "use --require exact, --require lsb=N (N = 0, 1, ...) or --require sqnr=DB"


@dataclass(frozen=True)
class Requirement:
    """One thing that every pair must satisfy.

    Attributes:
        kind: ``exact``, ``lsb`` or ``sqnr``.
        limit: Largest error in LSB, or smallest SQNR in dB; 0 for ``exact``.
    """

    kind: str
    limit: float = 0.0

    def __str__(self) -> str:
        return self.kind if self.kind == "exact" else f"{self.kind}={self.limit:g}"

    def applies_to(self, pair: PairResult) -> bool:
        """Whether the requirement speaks about ``pair``."""
        # A codec is lossy: what it does to the model is no difference between artifacts.
        others = pair.reference not in (SOURCE, UNSPLIT)
        return self.kind == "sqnr" or others or pair.must_be_exact

    def violation(self, pair: PairResult) -> str | None:
        """A sentence that says how ``pair`` falls short, or None."""
        who = f"{pair.artifact} against {pair.reference}"
        if self.kind == "sqnr":
            # A NaN (nothing comparable) must not pass either.
            if pair.sqnr_db >= self.limit:
                return None
            return f"{who}: SQNR is {pair.sqnr_db:.1f} dB, --require {self} asks for more"
        if pair.max_error_lsb <= self.limit:
            return None
        return (
            f"{who}: differs by up to {pair.max_error_lsb:g} LSB in "
            f"{100 * pair.mismatch_fraction:.3g} % of the values, --require {self} allows "
            + ("none" if self.kind == "exact" else f"{self.limit:g}")
        )


def parse_requirement(text: str) -> Requirement:
    """Reads one requirement.

    Raises:
        RecipeError: It is not ``exact``, ``lsb=N`` or ``sqnr=DB``.
    """
    kind, separator, number = text.strip().partition("=")
    if kind == "exact" and not separator:
        return Requirement("exact")
    try:
        limit = float(number)
    except ValueError:
        limit = math.nan
    valid = math.isfinite(limit) and (kind == "sqnr" or (kind == "lsb" and _is_count(limit)))
    if not valid:
        raise RecipeError(f"'{text}' is not a requirement", remedy=_REMEDY)
    return Requirement(kind, limit)


def parse_requirements(texts: str | Iterable[str]) -> tuple[Requirement, ...]:
    """Reads several requirements; each text may hold more than one, separated by commas."""
    listed = [texts] if isinstance(texts, str) else list(texts)
    return tuple(parse_requirement(part) for text in listed for part in text.split(","))


def check_requirements(
    requirements: Sequence[Requirement], pairs: Sequence[PairResult]
) -> list[str]:
    """Sentences for everything that is violated.

    Raises:
        RecipeError: A requirement speaks about no pair at all.
    """
    found: list[str] = []
    for requirement in requirements:
        spoken_of = [pair for pair in pairs if requirement.applies_to(pair)]
        if not spoken_of:
            raise RecipeError(
                f"--require {requirement} has nothing to compare in this bundle",
                remedy="convert with --target onnx-integer and the targets to compare with it",
            )
        for pair in spoken_of:
            # A pair that could not be run is a failure of its own already.
            sentence = requirement.violation(pair) if pair.error is None else None
            if sentence is not None:
                found.append(sentence)
    return found


def _is_count(value: float) -> bool:
    return value >= 0 and value == int(value)
