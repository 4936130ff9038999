"""What a pass is.

A pass is an `onnx_ir.passes.InPlacePass` with a stable dotted name, a frozen configuration and
evidence: its :class:`Outcome` says what it changed and why, what it left alone and why, and the
facts the report shows. Passes never read files, run models or print.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import onnx_ir as ir
from pydantic import BaseModel, ConfigDict


class PassConfig(BaseModel):
    """Typed, frozen options of a pass; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclasses.dataclass(frozen=True)
class Semantics:
    """What a pass promises about the values that the model computes.

    Attributes:
        kind: ``exact`` (same real function), ``calibrated`` (the same function for inputs like the
            calibration samples), ``bounded`` (within ``lsb``) or ``approximate``.
        lsb: The bound of a ``bounded`` pass in least significant bits of the output.
    """

    kind: str
    lsb: int | None = None

    def __str__(self) -> str:
        return f"bounded({self.lsb} lsb)" if self.kind == "bounded" else self.kind


EXACT = Semantics("exact")
CALIBRATED = Semantics("calibrated")
APPROXIMATE = Semantics("approximate")


@dataclasses.dataclass(frozen=True)
class Change:
    """One edit: what kind, at which source node, from what to what, and why."""

    kind: str
    node: str
    before: str
    after: str
    why: str = ""


@dataclasses.dataclass(frozen=True)
class Skip:
    """A node that looked like a candidate but was left alone, and the reason."""

    node: str
    reason: str


@dataclasses.dataclass
class Outcome(ir.passes.PassResult):
    """Result of a pass with its evidence.

    Attributes:
        changes: Every edit.
        skips: Every candidate left alone.
        facts: Numbers for the report (JSON friendly). Sentences under ``warnings`` are told to the
            user, too.
    """

    changes: Sequence[Change] = ()
    skips: Sequence[Skip] = ()
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


class Pass(ir.passes.InPlacePass):
    """Base of all passes.

    Subclasses set ``name`` and ``semantics``, may set ``Config``, and implement ``call``.
    A second run on its own output must return ``modified=False``.
    """

    name: ClassVar[str]
    semantics: ClassVar[Semantics]
    Config: ClassVar[type[PassConfig]] = PassConfig

    def __init__(self, config: PassConfig | None = None) -> None:
        self.config: Any = self.Config() if config is None else config

    def call(self, model: ir.Model) -> Outcome:
        """Transforms the model in place and returns it with the evidence."""
        raise TypeError(f"{type(self).__name__} does not implement call")


def outcome(
    model: ir.Model,
    changes: Iterable[Change],
    skips: Iterable[Skip] = (),
    facts: dict[str, Any] | None = None,
) -> Outcome:
    """Builds an Outcome whose ``modified`` is whether anything changed."""
    listed = list(changes)
    return Outcome(model, bool(listed), listed, list(skips), facts or {})
