"""What a pass that needs calibration data is.

Such a pass lives here, not in ``passes``, since it runs the model. It talks to the other steps
of a recipe through notes on the graph's values, like every pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from intaglio.errors import RecipeError
from intaglio.fitting.data import CalibrationData
from intaglio.passes.base import Pass, PassConfig

#: Called with the number of samples done and the number there are.
Progress = Callable[[int, int], None]


class DataPass(Pass):
    """A pass that reads calibration data.

    Args:
        config: Options of the pass, or None for its defaults.
        data: The calibration samples.

    Attributes:
        progress: Hook that the pipeline may set; called while samples are being run.
    """

    needs_data: ClassVar[bool] = True

    def __init__(
        self, config: PassConfig | None = None, data: CalibrationData | None = None
    ) -> None:
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
