"""The implementation of a layer on a processor: its own kernel, or that of what it is based on."""

from __future__ import annotations

from collections.abc import Mapping

from intaglio.errors import InternalError
from intaglio.targets.c.kernels import dsp, mve, neon, portable, x86
from intaglio.targets.c.kernels.base import Implementation, Kernels
from intaglio.targets.c.network import Layer
from intaglio.targets.c.variants import lineage

_KERNELS: Mapping[str, Kernels] = {
    "vnni": x86.KERNELS,
    "avx2": x86.KERNELS,
    "mve": mve.KERNELS,
    "dsp": dsp.KERNELS,
    "dotprod": neon.KERNELS,
    "neon": neon.KERNELS,
    "portable": portable.KERNELS,
}


def implement(layer: Layer, variant: str, budget: int) -> Implementation:
    """Code of ``layer`` for ``variant``.

    Args:
        layer: The layer.
        variant: Name of a processor, see :mod:`intaglio.targets.c.variants`.
        budget: Bytes of scratch memory that cost nothing.
    """
    for name in lineage(variant):
        kernel = _KERNELS[name].get(type(layer))
        found = None if kernel is None else kernel(layer, name, budget)
        if found is not None:
            return found
    raise InternalError(f"no kernel computes {type(layer).__name__} '{layer.name}'")
