"""Large planes in onnxruntime: in bands of rows, so that memory does not grow with the height.

onnxruntime keeps whole tensors of features, some hundred bytes a pixel. A band is run with as many
rows above and below as its result depends on; what they would give themselves is thrown away, so
the bits are those of the whole plane.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from intaglio.passes.table_networks.facts import Network
from intaglio.transforms.table_networks.centred import CentredNetwork
from intaglio.transforms.table_networks.reference import REACH

#: Pixels of a band, about.
PIXELS = 1 << 18

Plane = NDArray[np.uint8]


def run_in_bands(
    run: Callable[[Plane], Plane], plane: Plane, network: Network, pixels: int = PIXELS
) -> Plane:
    """Runs a network on a plane, band by band where it is large.

    Args:
        run: The network on one plane.
        plane: uint8 [height, width].
        network: What ``run`` computes; says how far it reaches.
        pixels: Pixels of a band, about.

    Returns:
        What ``run`` would give for the whole plane.
    """
    height, width = plane.shape
    cell, upscale, reach = _geometry(network)
    rows = max(1, pixels // width // cell) * cell
    if rows >= height:
        return run(plane)
    halo = reach * cell
    parts = []
    for start in range(0, height, rows):
        end = min(start + rows, height)
        first = max(start - halo, 0)
        part = run(np.ascontiguousarray(plane[first : end + halo]))
        skipped = (start - first) * upscale // cell
        count = end * upscale // cell - start * upscale // cell
        parts.append(part[skipped : skipped + count])
    return np.concatenate(parts)


def _geometry(network: Network) -> tuple[int, int, int]:
    """Pixels and pixels of the result that a cell has on each side, and cells reached."""
    if isinstance(network, CentredNetwork):
        return network.stride, network.upscale, network.reach
    # Every window reaches REACH pixels, in one of the turned images to each side.
    windows = max(
        1 + sum(stage.depthwise is not None for stage in branch.stages)
        for branch in network.branches
    )
    return 1, network.upscale, REACH * windows
