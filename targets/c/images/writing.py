"""A table network as C files: the header, the code and the tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from intaglio.targets.c.arrays import ArrayStore, definition
from intaglio.targets.c.guards import Guards
from intaglio.targets.c.images.centred import CentredStructure
from intaglio.targets.c.images.header import header
from intaglio.targets.c.images.interface import Structure, replace_names
from intaglio.targets.c.source import ATTRIBUTES
from intaglio.targets.c.variants import VARIANTS
from intaglio.transforms.table_networks.centred import CentredNetwork
from intaglio.transforms.table_networks.reference import ReferenceNetwork

TableNetwork = CentredNetwork | ReferenceNetwork

#: What the report of a table network calls it.
RECORD_KIND = "table network"


@dataclasses.dataclass(frozen=True)
class ImageSources:
    """What became of a network.

    Attributes:
        files: Text of each file by name.
        constant_bytes: Bytes of the constant arrays that each kind of processor links.
        scratch_bytes: Working memory of each kind of processor for very wide images.
        structure: The network's sizes.
    """

    files: Mapping[str, str]
    constant_bytes: Mapping[str, int]
    scratch_bytes: Mapping[str, int]
    structure: Structure

    def record(self) -> dict[str, Any]:
        """JSON-friendly data for the report."""
        return {
            "kind": RECORD_KIND,
            "layers": [],
            "stride": self.structure.stride,
            "upscale": self.structure.upscale,
            "reach": self.structure.reach,
            "lookups": self.structure.lookups,
            "multiplications": self.structure.multiplications,
            "table_bytes": self.structure.table_bytes,
            "processors": {
                name: {"scratch_bytes": scratch, "constant_bytes": self.constant_bytes[name]}
                for name, scratch in self.scratch_bytes.items()
            },
        }


def structure_of(network: TableNetwork) -> Structure:
    """What writes a network."""
    if isinstance(network, CentredNetwork):
        return CentredStructure(network)
    from intaglio.targets.c.images.reference import ReferenceStructure

    return ReferenceStructure(network)


def write_images(
    network: TableNetwork, name: str, variants: Collection[str] | None = None
) -> ImageSources:
    """Writes a network.

    Args:
        network: The network.
        name: Prefix of files and functions, an identifier in lower case.
        variants: Names of the processors to have kernels for; None for all. ``portable`` always is.

    Returns:
        The files ``<name>.c``, ``<name>.h`` and ``<name>_weights.c``, and what they need.
    """
    wanted = {v.name for v in VARIANTS} if variants is None else {*variants, "portable"}
    guards = Guards(name.upper(), wanted)
    structure = structure_of(network)
    store = ArrayStore(name)
    kernels, texts = {}, []
    for variant in guards.variants:
        kernels[variant.name] = made = structure.kernels(variant.name)
        names = dict(store.add("", made.arrays, variant.name))
        texts.append((variant.name, replace_names(made.code, names)))
    code = "\n\n".join(
        [
            f"/* {name}: a table network. See {name}.h. */",
            f'#include "{name}.h"\n\n#include <string.h>',
            guards.includes(),
            ATTRIBUTES,
            "\n".join(guards.wrap(s.variants, f"extern {s.declaration()};") for s in store),
            guards.choose(texts),
            structure.driver(name),
        ]
    )
    weights = "\n\n".join(
        [
            f"/* Tables, weights and taps of {name}. */",
            f'#include "{name}.h"',
            ATTRIBUTES,
            *(guards.wrap(stored.variants, definition(stored)) for stored in store),
        ]
    )
    return ImageSources(
        files={
            f"{name}.h": header(structure, name, guards),
            f"{name}.c": code + "\n",
            f"{name}_weights.c": weights + "\n",
        },
        constant_bytes={variant.name: store.bytes(variant.name) for variant in guards.variants},
        scratch_bytes={
            variant.name: structure.scratch_bytes(1 << 20, variant.name)
            for variant in guards.variants
        },
        structure=structure,
    )
