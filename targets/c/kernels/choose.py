"""The implementation of a layer on a processor: its own kernel, or that of what it is based on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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


def candidates(layer: Layer, variant: str, budget: int) -> Iterator[Implementation]:
    """Code of ``layer`` for ``variant``, then that of each variant it is based on.

    Args:
        layer: The layer.
        variant: Name of a processor, see :mod:`intaglio.targets.c.variants`.
        budget: Bytes of scratch memory that cost nothing.

    Yields:
        At least one implementation.

    Raises:
        InternalError: There is none.
    """
    some = False
    for name in lineage(variant):
        kernel = _KERNELS[name].get(type(layer))
        found = None if kernel is None else kernel(layer, name, budget)
        if found is not None:
            some = True
            yield found
    if not some:
        raise InternalError(f"no kernel computes {type(layer).__name__} '{layer.name}'")


def implement(layer: Layer, variant: str, budget: int) -> Implementation:
    """The first of :func:`candidates`: the fastest."""
    return next(candidates(layer, variant, budget))


def implement_within(layer: Layer, variant: str, budget: int) -> Implementation:
    """The first of :func:`candidates` whose scratch memory is within the budget.

    Where there is none, the one with the least.
    """
    least: Implementation | None = None
    for found in candidates(layer, variant, budget):
        if found.scratch <= max(budget, 0):
            return found
        if least is None or found.scratch < least.scratch:
            least = found
    assert least is not None
    return least
