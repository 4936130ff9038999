"""A centred table network as C: its kernels on each processor, and its driver."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from intaglio.errors import UnsupportedError
from intaglio.targets.c.images import avx2, cortex_m, neon, portable, vbmi
from intaglio.targets.c.images.driver import driver
from intaglio.targets.c.images.interface import Kernels
from intaglio.targets.c.images.plan import Plan, plan
from intaglio.targets.c.variants import lineage
from intaglio.transforms.table_networks.centred import CentredNetwork

#: Who writes the kernels of a variant; others take those of the variant they are based on.
MODULES: Mapping[str, Callable[[CentredNetwork, str], Kernels]] = {
    "portable": portable.kernels,
    "avx2": avx2.kernels,
    "vnni": vbmi.kernels,
    "neon": neon.kernels,
    "dsp": cortex_m.kernels,
}
#: Rows and columns of the window of a stem: kernels keep its pixels on the stack.
LARGEST_KERNEL = 16


class CentredStructure:
    """See :class:`intaglio.targets.c.images.interface.Structure`.

    Args:
        network: The network.

    Raises:
        UnsupportedError: The stem's window is larger than the kernels take.
    """

    def __init__(self, network: CentredNetwork) -> None:
        if network.kernel > LARGEST_KERNEL:
            raise UnsupportedError(
                f"the stem's window has {network.kernel} rows",
                remedy=f"fit a network with at most {LARGEST_KERNEL}",
            )
        self._network = network
        self._plan: Plan = plan(network)

    @property
    def stride(self) -> int:
        """Pixels a cell has on each side."""
        return self._network.stride

    @property
    def upscale(self) -> int:
        """Pixels of the result a cell has on each side."""
        return self._network.upscale

    @property
    def reach(self) -> int:
        """Rows of cells above and below that a cell depends on."""
        return self._network.reach

    @property
    def lookups(self) -> int:
        """Table entries read for a cell."""
        return self._network.lookups

    @property
    def multiplications(self) -> int:
        """Products for a cell."""
        return self._network.multiplications

    @property
    def table_bytes(self) -> int:
        """Bytes of tables, weights and taps."""
        return self._network.storage_bytes

    def kernels(self, variant: str) -> Kernels:
        """The functions of a variant, or of the nearest that it is based on."""
        nearest = next(name for name in lineage(variant) if name in MODULES)
        return _kernels(self._network, nearest)

    def driver(self, name: str) -> str:
        """C text behind the kernels."""
        return driver(self._network, self._plan, name)

    def scratch_bytes(self, width: int, variant: str) -> int:
        """What ``<name>_scratch_bytes`` returns."""
        kernels = self.kernels(variant)
        columns = -(-max(width, 1) // self.stride)
        return self._plan.scratch_bytes(columns, kernels.block, kernels.index_bytes)


@functools.lru_cache(maxsize=16)
def _kernels(network: CentredNetwork, variant: str) -> Kernels:
    return MODULES[variant](network, variant)
