"""What the metadata of a model say about the table network in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from intaglio.transforms.table_networks.centred import CentredNetwork
from intaglio.transforms.table_networks.reference import ReferenceNetwork

Network = CentredNetwork | ReferenceNetwork

#: Bytes of tables, weights, taps and biases, shared ones once.
TABLE_BYTES = "intaglio.table_bytes"
#: Table entries read for a cell, in all rotations.
LOOKUPS = "intaglio.lookups"
#: Products for a cell.
MULTIPLICATIONS = "intaglio.multiplications"
#: What it was fitted for, free text.
TASK = "intaglio.task"


def _multiplications(network: Network) -> int:
    return network.multiplications if isinstance(network, CentredNetwork) else 0


#: Key to what says its value.
METADATA: Mapping[str, Callable[[Network], int]] = MappingProxyType(
    {
        TABLE_BYTES: lambda network: network.storage_bytes,
        LOOKUPS: lambda network: network.lookups,
        MULTIPLICATIONS: _multiplications,
    }
)
