"""Beginning a run with the weights of an earlier network instead of random ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from torch import nn

from intaglio.errors import InputError, RecipeError
from intaglio.fitting.tables.centred_module import CentredModule
from intaglio.fitting.tables.table_parameters import TableParameters
from intaglio.passes.table_networks.read import read_network
from intaglio.transforms.table_networks.centred import CentredNetwork


def start_from(module: nn.Module, path: Path) -> None:
    """Gives a module the integers of a network, so that its first result is that network's.

    Args:
        module: Changed in place; its shifts become those of the network.
        path: ONNX file of a network of the same structure.

    Raises:
        InputError: It is no table network.
        RecipeError: Its structure is another, or one that cannot be gone on with.
    """
    try:
        network = read_network(ir.load(path))
    except Exception as error:
        raise InputError(
            f"cannot read {path}: {error}", remedy="give the model.onnx of an earlier run"
        ) from error
    if network is None:
        raise InputError(
            f"{path} is no network of look-up tables", remedy="give the model.onnx of a run"
        )
    if not isinstance(module, CentredModule) or not isinstance(network, CentredNetwork):
        raise RecipeError(
            "networks with rotations can only begin with random weights",
            remedy="leave --start out, or give another preset",
        )
    distinct = list(dict.fromkeys(id(mixing.tables) for mixing in network.mixings))
    table_of = tuple(distinct.index(id(mixing.tables)) for mixing in network.mixings)
    windows = [mixing.window for mixing in network.mixings] + [network.head_window]
    shifts = {mixing.shift for mixing in network.mixings} or {module.shift}
    tap_shifts = {window.shift for window in windows}
    same = (
        network.stem_weights.shape == tuple(module.stem_weights.shape)
        and network.stride == module.stride
        and table_of == module.table_of
        and len(shifts) == len(tap_shifts) == 1
    )
    if not same:
        raise RecipeError(
            f"{path} has another structure than this run",
            remedy="give the preset and the settings that it was made with",
        )
    module.stem_shift, module.head_shift = network.stem_shift, network.head_shift
    module.out_shift, module.shift = network.out_shift, shifts.pop()
    module.tap_shift = tap_shifts.pop()
    _set(module.stem_weights, network.stem_weights)
    _set(module.stem_bias, network.stem_bias)
    _set(module.taps, np.stack([window.taps for window in windows]))
    for tables, number in zip(module.tables, range(len(distinct)), strict=True):
        _set_tables(tables, network.mixings[table_of.index(number)].tables)
    _set_tables(module.head_table, network.head_tables)


@torch.no_grad()
def _set(parameter: torch.Tensor, values: np.ndarray) -> None:
    parameter.copy_(torch.from_numpy(values.astype(np.float32)).reshape(parameter.shape))


@torch.no_grad()
def _set_tables(parameters: nn.Module, tables: np.ndarray) -> None:
    """The last block of the basis is the identity: it takes the entries."""
    assert isinstance(parameters, TableParameters)
    parameters.theta.zero_()
    parameters.theta[:, -tables.shape[1] :] = torch.from_numpy(tables.astype(np.float32))
