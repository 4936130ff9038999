"""What a pass that needs calibration data is.

Such a pass lives here, not in ``passes``, since it runs the model. It talks to the other steps
of a recipe through notes on the graph's values, like every pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import onnx_ir as ir

from intaglio.errors import RecipeError
from intaglio.fitting.data import CalibrationData
from intaglio.passes.base import Config, Pass

#: Called with the number of samples done and the number there are.
Progress = Callable[[int, int], None]

DONE_PREFIX = "intaglio.done."


class DataPass(Pass):
    """A pass that reads calibration data.

    Args:
        config: Options of the pass, or None for its defaults.
        data: The calibration samples.

    Attributes:
        progress: Hook that the pipeline may set; called while samples are being run.
    """

    needs_data: ClassVar[bool] = True

    def __init__(self, config: Config | None = None, data: CalibrationData | None = None) -> None:
        super().__init__(config)
        self.data = data
        self.progress: Progress | None = None

    def require_data(self) -> CalibrationData:
        """The calibration samples.

        Raises:
            RecipeError: The pass was made without any.
        """
        if self.data is None:
            raise RecipeError(
                f"{self.name} needs calibration data",
                remedy="give --calibration FILE_OR_FOLDER with real inputs of the model",
            )
        return self.data

    def report(self, done: int, total: int) -> None:
        """Tells the progress hook, if there is one."""
        if self.progress is not None:
            self.progress(done, total)


def is_done(model: ir.Model, name: str) -> bool:
    """Whether the pass called ``name`` has marked ``model`` as done."""
    return DONE_PREFIX + name in model.metadata_props


def mark_done(model: ir.Model, name: str) -> None:
    """Marks ``model``, so that a second run of the pass called ``name`` leaves it alone."""
    model.metadata_props[DONE_PREFIX + name] = "1"


def is_quantized(model: ir.Model) -> bool:
    """Whether ``model`` holds QuantizeLinear or DequantizeLinear: its scales are given then."""
    kinds = ("QuantizeLinear", "DequantizeLinear")
    return any(node.op_type in kinds for node in model.graph.all_nodes())


ALREADY_QUANTIZED = "the model is quantized already; its own scales are kept"
