"""Modules that learn, by what a preset says, and the integer networks they stand for.

Both structures' modules have ``planes`` (the result before the last clamp, float32
[B, side^2, h, w]), ``image`` (pixels, uint8), ``project`` (brings parameters back to where the
network allows them, after a step) and ``parameter_groups`` (for an optimizer).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from intaglio.fitting.image_pairs import PairTask
from intaglio.fitting.tables.centred_module import CentredModule
from intaglio.fitting.tables.presets import Structure
from intaglio.transforms.table_networks.centred import CentredNetwork, Mixing, Window
from intaglio.transforms.table_networks.reference import ReferenceNetwork

Network = CentredNetwork | ReferenceNetwork


def make_learner(structure: Structure, task: PairTask, seed: int) -> nn.Module:
    """A network with its first weights.

    Args:
        structure: Its layers, checked.
        task: What it restores.
        seed: The same seed gives the same weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if structure.kind == "reference":
            from intaglio.fitting.tables.reference_module import ReferenceModule

            module: nn.Module = ReferenceModule(structure.channels, structure.mixings, task.side)
            return module
        return CentredModule(
            structure.channels,
            tuple(i // structure.share for i in range(structure.mixings)),
            task.side,
            task.stride,
            structure.kernel,
            taps="learned" if structure.taps == "learned" else "shift",
        )


def network_of(module: nn.Module) -> Network:
    """The integer network that a module stands for at its present weights."""
    if not isinstance(module, CentredModule):
        made: Any = module
        network: ReferenceNetwork = made.network()
        return network
    parts: dict[str, Any] = module.export()
    shift = parts["tap_shift"]
    tables = [np.ascontiguousarray(table) for table in parts["tables"]]
    mixings = tuple(
        Mixing(Window(taps, shift), tables[number], parts["shift"])
        for taps, number in zip(parts["taps"], parts["table_of"], strict=True)
    )
    return CentredNetwork(
        stem_weights=parts["stem_weights"],
        stem_bias=parts["stem_bias"],
        stem_shift=parts["stem_shift"],
        mixings=mixings,
        head_window=Window(parts["head_taps"], shift),
        head_tables=parts["head_tables"],
        head_shift=parts["head_shift"],
        out_shift=parts["out_shift"],
        stride=parts["stride"],
        upscale=parts["upscale"],
    )
