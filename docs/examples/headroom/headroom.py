"""Widens calibrated ranges, for inputs that may be larger than those of the calibration."""

import onnx_ir as ir
from pydantic import Field

from intaglio.passes.annotations import all_values, get_range, set_range
from intaglio.passes.base import APPROXIMATE, Change, Outcome, Pass, PassConfig, Skip, outcome
from intaglio.passes.marks import is_done, mark_done


class HeadroomConfig(PassConfig):
    """Options of :class:`AddHeadroom`.

    Attributes:
        factor: Both ends of every range are multiplied by it.
    """

    factor: float = Field(default=1.1, ge=1.0, le=16.0)


class AddHeadroom(Pass):
    """Multiplies every calibrated range by a factor."""

    name = "example.add_headroom"
    semantics = APPROXIMATE
    Config = HeadroomConfig

    def call(self, model: ir.Model) -> Outcome:
        """Changes the notes on the values of ``model``; the graph itself stays as it is."""
        if is_done(model, self.name):  # a second run must change nothing
            return outcome(model, [], [Skip("", "the headroom is there already")])
        changes = []
        for value in all_values(model):
            found = get_range(value)
            if found is not None:
                low, high = (limit * self.config.factor for limit in found)
                set_range(value, low, high)
                before, after = f"[{found[0]:g}, {found[1]:g}]", f"[{low:g}, {high:g}]"
                changes.append(Change("widen", str(value.name), before, after))
        if changes:
            mark_done(model, self.name)
        return outcome(model, changes, facts={"ranges": len(changes)})
