"""What a network stores and computes, in figures for people."""

from __future__ import annotations

from typing import Any

from intaglio.fitting.tables.learners import Network
from intaglio.fitting.tables.reachable import reachable_layers
from intaglio.transforms.additive_tables import LayerSize, storage
from intaglio.transforms.table_networks.centred import CentredNetwork
from intaglio.transforms.table_networks.reference import ReferenceNetwork


def figures(network: Network) -> dict[str, Any]:
    """Bytes, look-ups and products of a network, JSON-friendly.

    Args:
        network: The integers.

    Returns:
        ``bytes`` (all that is stored), ``table_bytes`` (tables alone, shared ones once),
        ``lookups`` and ``multiplications`` of a cell, ``cell`` (pixels of the result that it has),
        ``parts``: rows of name, bytes, look-ups, products, and ``storage``: what TinyLUT's two
        ideas save, None for the centred structure.
    """
    parts = _centred(network) if isinstance(network, CentredNetwork) else _reference(network)
    cell = network.upscale**2
    return {
        "structure": "centred" if isinstance(network, CentredNetwork) else "reference",
        "bytes": network.storage_bytes,
        "table_bytes": sum(part["table_bytes"] for part in parts),
        "lookups": network.lookups,
        "multiplications": sum(part["multiplications"] for part in parts),
        "cell": cell,
        "parts": parts,
        "storage": None if isinstance(network, CentredNetwork) else _storage(network),
    }


def _part(name: str, stored: int, tables: int, lookups: int, products: int) -> dict[str, Any]:
    return {
        "name": name,
        "bytes": stored,
        "table_bytes": tables,
        "lookups": lookups,
        "multiplications": products,
    }


def _centred(network: CentredNetwork) -> list[dict[str, Any]]:
    channels, stem = network.channels, network.stem_weights
    parts = [_part("stem", stem.nbytes + network.stem_bias.nbytes, 0, 0, stem.size)]
    seen: dict[int, int] = {}
    for number, mixing in enumerate(network.mixings, 1):
        first = seen.setdefault(id(mixing.tables), number)
        tables = mixing.tables.nbytes if first == number else 0
        name = f"mixing {number}" + ("" if first == number else f", tables of {first}")
        taps = mixing.window.taps
        parts.append(_part(name, tables + taps.nbytes, tables, channels * channels, taps.size))
    taps, tables = network.head_window.taps, network.head_tables.nbytes
    lookups = channels * network.upscale**2
    parts.append(_part("head", tables + taps.nbytes, tables, lookups, taps.size))
    return parts


def _reference(network: ReferenceNetwork) -> list[dict[str, Any]]:
    parts = []
    for branch in network.branches:
        name = f"branch of {branch.rows} levels"
        stored = branch.storage_bytes
        parts.append(_part(name, stored, stored, 4 * branch.lookups, 0))
    return parts


def _storage(network: ReferenceNetwork) -> dict[str, Any]:
    """What splitting windows and bits saves, with full rows and with those that can be read."""
    pruned = [reachable_layers(branch) for branch in network.branches]
    full = [
        [LayerSize(layer.inputs, layer.outputs, branch.rows) for layer in layers]
        for branch, layers in zip(network.branches, pruned, strict=True)
    ]
    whole, rest = (storage(layers, window_outputs=network.upscale**2) for layers in (full, pruned))
    return {
        "full_rows": whole.stored_bytes,
        "reachable_rows": rest.stored_bytes,
        "one_branch": whole.unsplit_bytes,
        "sampled_window": whole.sampled_window_bytes,
        "sms": round(whole.separable_ratio, 3),
        "ddm_full": round(whole.discretization_ratio, 3),
        "ddm": round(rest.discretization_ratio, 3),
    }
