"""A network as C files: the header, the code and the weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from intaglio.targets.c.arrays import ArrayStore, definition
from intaglio.targets.c.guards import Guards
from intaglio.targets.c.header import header
from intaglio.targets.c.lifetimes import Layout, Memory, lay_out
from intaglio.targets.c.network import Network
from intaglio.targets.c.program import program
from intaglio.targets.c.variants import VARIANTS

#: Alignment of constant arrays, and other words that C99 does not have.
ATTRIBUTES = """\
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
#define ALIGNED __attribute__((aligned(64)))
#elif defined(__GNUC__)
#define ALIGNED __attribute__((aligned(16)))
#elif defined(_MSC_VER)
#define ALIGNED __declspec(align(64))
#else
#define ALIGNED
#endif"""


@dataclasses.dataclass(frozen=True)
class Sources:
    """What became of a network.

    Attributes:
        files: Text of each file by name.
        layouts: Code and memory on each kind of processor, by name.
        constant_bytes: Bytes of the constant arrays that each kind of processor links.
    """

    files: Mapping[str, str]
    layouts: Mapping[str, Layout]
    constant_bytes: Mapping[str, int]


def write_sources(
    network: Network, variants: Collection[str] | None = None, memory: Memory = "balanced"
) -> Sources:
    """Writes a network.

    Args:
        network: The network.
        variants: Names of the processors to have kernels for; None for all. ``portable`` always is.
        memory: What may be spent on scratch memory, see :func:`.lifetimes.lay_out`.

    Returns:
        The files ``<name>.c``, ``<name>.h`` and ``<name>_weights.c``, and what they need.
    """
    wanted = {v.name for v in VARIANTS} if variants is None else {*variants, "portable"}
    guards = Guards(network.name.upper(), wanted)
    layouts = {v.name: lay_out(network, v.name, memory) for v in guards.variants}
    store = ArrayStore(network.name)
    code = program(network, layouts, guards, store, ATTRIBUTES)
    return Sources(
        files={
            f"{network.name}.h": header(network, layouts, guards),
            f"{network.name}.c": code,
            f"{network.name}_weights.c": _weights(network, guards, store),
        },
        layouts=layouts,
        constant_bytes={name: store.bytes(name) for name in layouts},
    )


def _weights(network: Network, guards: Guards, store: ArrayStore) -> str:
    parts = [
        f"/* Constants of {network.name}: weights, biases, multipliers, shifts and tables. */",
        f'#include "{network.name}.h"',
        ATTRIBUTES,
        *(guards.wrap(stored.variants, definition(stored)) for stored in store),
    ]
    return "\n\n".join(parts) + "\n"
