"""Notes on weights that are to have a grid with room: int16, one scale a tensor.

``scale = headroom * max|w| / levels``. Weights that training moves must be able to grow, so the
largest of today lies at ``levels / headroom``. With 127 levels it is the grid of 8 bits, in int16
all the same.
"""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.annotations import GRID_KEY
from intaglio.transforms.scales import SMALLEST_SCALE, TensorQuantization


@dataclasses.dataclass(frozen=True)
class WeightGrid:
    """The grid of one weight tensor.

    Attributes:
        levels: Largest magnitude of its integers: 32767, or 127.
        headroom: The largest integer over that of the largest weight, at least 1.
    """

    levels: int = 32767
    headroom: float = 2.0

    def quantization(self, weight: NDArray[np.float32]) -> TensorQuantization:
        """The quantization of a weight.

        A tensor of zeros (a new layer, say) gets the range of one that is drawn at random:
        ``1 / sqrt(elements)``.
        """
        largest = float(np.abs(weight).max(initial=0.0)) or 1.0 / math.sqrt(max(weight.size, 1))
        scale = max(self.headroom * largest / self.levels, SMALLEST_SCALE)
        return TensorQuantization("int16", (scale,), (0,))


def set_weight_grid(value: ir.Value, grid: WeightGrid | None) -> None:
    """Notes the grid that ``value`` is to be quantized on; None takes the note back."""
    if grid is None:
        value.metadata_props.pop(GRID_KEY, None)
        return
    value.metadata_props[GRID_KEY] = json.dumps(dataclasses.asdict(grid), sort_keys=True)


def get_weight_grid(value: ir.Value | None) -> WeightGrid | None:
    """The grid noted on ``value``, or None."""
    text = None if value is None else value.metadata_props.get(GRID_KEY)
    return None if text is None else WeightGrid(**json.loads(text))
