"""Masks in C: which numbers of a parameter move at all."""

from __future__ import annotations

import enum

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.training.packing import Packed
from intaglio.transforms.forward_gradient.randomness import hash_seed
from intaglio.transforms.forward_gradient.specification import Parameter
from intaglio.transforms.forward_gradient.step import moves


class Kind(enum.Enum):
    """How a loop over a parameter tells which numbers move."""

    ALL = ""
    HASH = "hashed"
    BITS = "chosen"


def kind_of(parameter: Parameter) -> Kind:
    """How the mask of a parameter is told."""
    if parameter.mask is None:
        return Kind.ALL
    return Kind.HASH if parameter.mask.kind == "hash" else Kind.BITS


def condition(kind: Kind) -> str:
    """Expression that holds where the number at ``counter``, the ``at``-th in memory, moves."""
    return {
        Kind.ALL: "",
        Kind.HASH: "mix(counter + p->mask_seed) <= p->mask_most",
        Kind.BITS: "(p->moves[at >> 3] >> (at & 7) & 1) != 0",
    }[kind]


def hash_bound(parameter: Parameter) -> tuple[int, int]:
    """Seed of the mask's hash, and the largest hash that moves; nothing moves below 0."""
    mask = parameter.mask
    if mask is None or mask.kind != "hash":
        return 0, 0
    return hash_seed(mask.seed + parameter.number), mask.threshold - 1


def stored_bits(parameter: Parameter, packed: Packed) -> NDArray[np.uint8]:
    """The bits of a mask in the order of the memory, lowest first."""
    assert parameter.mask is not None
    turned = moves(parameter.mask, parameter).transpose(packed.permutation)
    return np.packbits(turned.reshape(-1), bitorder="little")
