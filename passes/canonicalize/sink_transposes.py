"""Transposes go where they cost least: most meet their inverse and vanish.

A model that was channels last, read into channels-first operators, has a Transpose in front of
and behind each of them. Element-wise operators, Concat, Pad, means and the like run in either
order, so the transposes between two convolutions cancel; one that stands in front of a flattening
Reshape and a constant matrix goes into the rows of the matrix. A Transpose that moves only
dimensions of size 1 is a Reshape. The shapes of inputs and outputs stay.

How the order of each tensor is chosen: :mod:`intaglio.passes.layout`.
"""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from intaglio.passes.base import EXACT, Outcome, Pass, Semantics, outcome
from intaglio.passes.layout.optimizing import optimize_layout


class SinkTransposes(Pass):
    """Moves Transposes to where they cancel or cost least, and folds them into weights."""

    name: ClassVar[str] = "canonicalize.sink_transposes"
    semantics: ClassVar[Semantics] = EXACT

    def call(self, model: ir.Model) -> Outcome:
        """Chooses the order of every tensor between operators that fix theirs."""
        changes, facts = optimize_layout(model.graph)
        return outcome(model, changes, facts=facts)
