"""Beginning a run with the weights of an earlier network instead of random ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import nn

from intaglio.errors import InputError, RecipeError
from intaglio.fitting.tables.centred_module import BIAS_LIMIT, CentredModule
from intaglio.fitting.tables.reference_module import BranchModule, BranchStage, ReferenceModule
from intaglio.passes.table_networks.read import read_network
from intaglio.transforms.table_networks.centred import CentredNetwork
from intaglio.transforms.table_networks.reference import Branch, ReferenceNetwork

#: Integers up to this size are what they are in float32.
_EXACT = 1 << 24


def start_from(module: nn.Module, path: Path) -> None:
    """Gives a module the integers of a network, so that its first result is that network's.

    Args:
        module: Changed in place; its shifts become those of the network.
        path: ONNX file of a network of the same structure, or of one with fewer mixings.

    Raises:
        InputError: It is no table network.
        RecipeError: Its structure is another, or float32 does not hold its sums.
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
    same = False
    if isinstance(module, CentredModule) and isinstance(network, CentredNetwork):
        _require_exact(network, path)
        network = _grown(network, module.table_of)
        same = _start_centred(module, network)
    elif isinstance(module, ReferenceModule) and isinstance(network, ReferenceNetwork):
        same = _start_reference(module, network)
    if not same:
        raise RecipeError(
            f"{path} has another structure than this run",
            remedy="give the preset and the settings that it was made with",
        )


def _require_exact(network: CentredNetwork, path: Path) -> None:
    """Refuses a network whose sums could leave what float32 holds exactly while it learns.

    Each table entry may come to 127 in size, each of the stem's weights to 128 and each bias to
    BIAS_LIMIT. The sum that is shifted to pixels, with the half that rounds it, stays below
    2^24 then; the sums of the other layers do with all shifts that a network may have.

    Raises:
        RecipeError: They could, or a bias is beyond what learning keeps.
    """
    channels, kernel = network.channels, network.stem_weights.shape[1]
    skip = BIAS_LIMIT + kernel * kernel * 128 * 128
    largest = (channels * 127 << network.head_shift) + skip + (1 << network.out_shift >> 1)
    if largest >= _EXACT:
        raise RecipeError(
            f"{path} cannot learn on: with head_shift {network.head_shift} and out_shift "
            f"{network.out_shift} its sums may come to {largest:,.0f}, and float32 holds integers "
            f"up to {_EXACT:,}",
            remedy="give a network that `intaglio fit` made, or leave --start out",
        )
    bias = int(np.abs(network.stem_bias.astype(np.int64)).max())
    if bias > BIAS_LIMIT:
        raise RecipeError(
            f"{path} cannot learn on: a bias of its stem is {bias:,} in size, more than the "
            f"{BIAS_LIMIT:,.0f} that learning keeps",
            remedy="give a network that `intaglio fit` made, or leave --start out",
        )


def _grown(network: CentredNetwork, table_of: tuple[int, ...]) -> CentredNetwork:
    """The network with as many mixings as a module whose mixings share no tables.

    The new ones lie evenly between the others. Each has the window of the one before it and tables
    of zeros, so that the network computes what it did.

    Args:
        network: The network.
        table_of: Of the module.
    """
    mixings = list(network.mixings)
    more = len(table_of) - len(mixings)
    shared = len({id(mixing.tables) for mixing in mixings}) < len(mixings)
    if more <= 0 or not mixings or shared or len(set(table_of)) < len(table_of):
        return network
    for number in range(1, more + 1):
        place = len(mixings) * number // more
        before = mixings[place - 1] if place else mixings[0]
        zeros = np.zeros_like(before.tables)
        mixings.insert(place, dataclasses.replace(before, tables=zeros))
    return dataclasses.replace(network, mixings=tuple(mixings))


def _start_centred(module: CentredModule, network: CentredNetwork) -> bool:
    """Whether the structures are the same; if so, the module has the network's integers."""
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
    if same:
        module.stem_shift, module.head_shift = network.stem_shift, network.head_shift
        module.out_shift, module.shift = network.out_shift, shifts.pop()
        module.tap_shift = tap_shifts.pop()
        _set(module.stem_weights, network.stem_weights)
        _set(module.stem_bias, network.stem_bias)
        _set(module.taps, np.stack([window.taps for window in windows]))
        for number, tables in enumerate(module.tables):
            _set_tables(tables, network.mixings[table_of.index(number)].tables)
        _set_tables(module.head_table, network.head_tables)
    return same


def _start_reference(module: ReferenceModule, network: ReferenceNetwork) -> bool:
    """As :func:`_start_centred`."""
    made = [branch.network() for branch in module.branches]
    same = module.upscale == network.upscale and [_shapes(b) for b in made] == [
        _shapes(b) for b in network.branches
    ]
    if same:
        for learner, branch in zip(module.branches, network.branches, strict=True):
            assert isinstance(learner, BranchModule)
            _start_branch(learner, branch)
    return same


def _shapes(branch: Branch) -> list[object]:
    stages = [(s.pointwise.shape, s.depthwise is None) for s in branch.stages]
    return [branch.low, branch.stem.shape, branch.up.shape, stages]


def _start_branch(module: BranchModule, branch: Branch) -> None:
    _set_tables(module.stem, branch.stem)
    _set_scale(module.stem_scale, branch.stem_scale, branch.low)
    for learner, stage in zip(module.stages, branch.stages, strict=True):
        assert isinstance(learner, BranchStage)
        _set_tables(learner.pointwise, stage.pointwise)
        _set_scale(learner.pointwise_scale, stage.pointwise_scale, branch.low)
        if stage.depthwise is not None:
            rows = stage.depthwise.shape[2]
            by_tap = stage.depthwise.transpose(1, 0, 2).reshape(-1, rows, 1)
            _set_tables(learner.depthwise, by_tap)
            _set_scale(learner.depthwise_scale, stage.depthwise_scale, branch.low)
    _set_tables(module.up, branch.up)


def _set_scale(parameter: torch.Tensor, scale: NDArray[np.int8] | None, low: int) -> None:
    """Scales that round to the entries: the middle of those that do for all of them."""
    if scale is None:
        _set(parameter, np.ones(len(parameter)))
        return
    values = np.arange(low, low + scale.shape[1], dtype=np.float64)
    entries, values = scale[:, values != 0].astype(np.float64), values[values != 0]
    bounds = np.stack([(entries - 0.5) / values, (entries + 0.5) / values])
    _set(parameter, (bounds.min(axis=0).max(axis=1) + bounds.max(axis=0).min(axis=1)) / 2)


@torch.no_grad()
def _set(parameter: torch.Tensor, values: NDArray[Any]) -> None:
    parameter.copy_(torch.from_numpy(values.astype(np.float32)).reshape(parameter.shape))


@torch.no_grad()
def _set_tables(parameters: Any, tables: NDArray[np.int8]) -> None:
    """The last block of the basis is the identity: it takes the entries."""
    parameters.theta.zero_()
    parameters.theta[:, -tables.shape[1] :] = torch.from_numpy(tables.astype(np.float32))
