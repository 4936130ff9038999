"""A table network of TinyLUT's structure as C: its kernels on each processor, and its driver."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from intaglio.errors import UnsupportedError
from intaglio.targets.c.images.rotations import avx2, dsp, neon, portable, vbmi
from intaglio.targets.c.images.rotations.driver import driver
from intaglio.targets.c.images.rotations.plan import Plan, plan
from intaglio.targets.c.images.rotations.rounding import MOST
from intaglio.targets.c.images.rotations.rows import RowKernels
from intaglio.targets.c.variants import lineage
from intaglio.transforms.table_networks.reference import REACH, ReferenceNetwork

#: Who writes the kernels of a variant; None for a network that needs plain C.
MODULES: Mapping[str, Callable[[ReferenceNetwork], RowKernels | None]] = {
    "portable": portable.kernels,
    "avx2": avx2.kernels,
    "vnni": vbmi.kernels,
    "neon": neon.kernels,
    "dsp": dsp.kernels,
}


class ReferenceStructure:
    """See :class:`intaglio.targets.c.images.interface.Structure`.

    Args:
        network: The network.

    Raises:
        UnsupportedError: It has more channels than sums of 16 bits hold, or features beyond int8.
    """

    def __init__(self, network: ReferenceNetwork) -> None:
        channels = network.branches[0].channels
        if channels > MOST:
            raise UnsupportedError(
                f"the network has {channels} channels", remedy=f"fit one with at most {MOST}"
            )
        if any(branch.low < -128 or branch.high > 127 for branch in network.branches):
            raise UnsupportedError(
                "a branch has features beyond int8", remedy="fit it with a range within int8"
            )
        self._network = network
        self._plan: Plan = plan(network)

    @property
    def stride(self) -> int:
        """Pixels a cell has on each side."""
        return 1

    @property
    def upscale(self) -> int:
        """Pixels of the result a cell has on each side."""
        return self._network.upscale

    @property
    def reach(self) -> int:
        """Rows of cells above and below that a cell depends on."""
        return REACH + self._plan.delay

    @property
    def lookups(self) -> int:
        """Table entries read for a cell."""
        return self._network.lookups

    @property
    def multiplications(self) -> int:
        """Products for a cell: those of means that are no shifts."""
        total = 0
        for branch in self._network.branches:
            depths = sum(stage.depthwise is not None for stage in branch.stages)
            total += branch.channels * (1 + depths)
        return 4 * total

    @property
    def table_bytes(self) -> int:
        """Bytes of tables and scales."""
        return self._network.storage_bytes

    def kernels(self, variant: str) -> RowKernels:
        """The functions of a variant, or of the nearest that it is based on."""
        return _kernels(self._network, variant)

    def driver(self, name: str) -> str:
        """C text behind the kernels."""
        return driver(self._network, self._plan, name)

    def scratch_bytes(self, width: int, variant: str) -> int:
        """What ``<name>_scratch_bytes`` returns."""
        kernels = self.kernels(variant)
        return self._plan.scratch_bytes(width, kernels.block, kernels.outputs)


@functools.lru_cache(maxsize=16)
def _kernels(network: ReferenceNetwork, variant: str) -> RowKernels:
    for name in lineage(variant):
        made = MODULES[name](network) if name in MODULES else None
        if made is not None:
            return made
    return portable.kernels(network)
