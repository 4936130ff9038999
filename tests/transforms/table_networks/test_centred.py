"""The centred network against its formulas in plain Python integers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from intaglio.transforms.table_networks.centred import CentredNetwork, Window
from tests.transforms.table_networks.random_networks import centred


def clamp(value: int, low: int = -128, high: int = 127) -> int:
    return max(low, min(high, value))


def half_up(value: int, shift: int) -> int:
    return (value + (1 << (shift - 1))) >> shift if shift else value


class Plain:
    """One value at a time, from the docstring of the module."""

    def __init__(self, network: CentredNetwork, plane: NDArray[np.uint8]) -> None:
        self.network = network
        self.plane = plane.tolist()
        self.height, self.width = plane.shape
        self.rows, self.columns = (-(-size // network.stride) for size in plane.shape)

    def pixel(self, row: int, column: int) -> int:
        value = self.plane[clamp(row, 0, self.height - 1)][clamp(column, 0, self.width - 1)]
        return int(value)

    def acc(self, row: int, column: int, output: int) -> int:
        network = self.network
        start = (network.kernel - network.stride) // 2
        total = int(network.stem_bias[output])
        for dy in range(network.kernel):
            for dx in range(network.kernel):
                pixel = self.pixel(
                    network.stride * row - start + dy, network.stride * column - start + dx
                )
                total += int(network.stem_weights[output, dy, dx]) * (pixel - 128)
        return total

    def index(self, window: Window, features: Any, row: int, column: int, channel: int) -> int:
        total = 0
        for dy in range(3):
            for dx in range(3):
                at = row + dy - 1, column + dx - 1
                if 0 <= at[0] < self.rows and 0 <= at[1] < self.columns:
                    total += int(window.taps[channel, dy, dx]) * features[at[0]][at[1]][channel]
        return clamp(half_up(total, window.shift), -8, 7)

    def run(self) -> list[list[int]]:
        network = self.network
        channels = network.channels
        cells = [(row, column) for row in range(self.rows) for column in range(self.columns)]
        features: Any = [[None] * self.columns for _ in range(self.rows)]
        for row, column in cells:
            features[row][column] = [
                clamp(half_up(self.acc(row, column, c), network.stem_shift))
                for c in range(channels)
            ]
        for mixing in network.mixings:
            after: Any = [[None] * self.columns for _ in range(self.rows)]
            for row, column in cells:
                rows = [
                    self.index(mixing.window, features, row, column, c) + 8 for c in range(channels)
                ]
                after[row][column] = [
                    clamp(
                        features[row][column][o]
                        + half_up(
                            sum(int(mixing.tables[c, rows[c], o]) for c in range(channels)),
                            mixing.shift,
                        )
                    )
                    for o in range(channels)
                ]
            features = after
        return self.pixels(features)

    def pixels(self, features: Any) -> list[list[int]]:
        network = self.network
        side, stride = network.upscale, network.stride
        result = []
        for y in range(self.height * side // stride):
            line = []
            for x in range(self.width * side // stride):
                row, column, sub = y // side, x // side, (y % side) * side + x % side
                total = sum(
                    int(
                        network.head_tables[
                            c, self.index(network.head_window, features, row, column, c) + 8, sub
                        ]
                    )
                    for c in range(network.channels)
                )
                skip = self.acc(row, column, network.channels + sub)
                change = half_up((total << network.head_shift) + skip, network.out_shift)
                line.append(
                    clamp(self.pixel(y * stride // side, x * stride // side) + change, 0, 255)
                )
            result.append(line)
        return result


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    channels=st.sampled_from([8, 16]),
    mixings=st.integers(0, 2),
    geometry=st.sampled_from([(1, 4, 3), (1, 3, 3), (1, 2, 5), (1, 1, 1), (2, 2, 4), (2, 2, 2)]),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    single=st.booleans(),
)
def test_equals_the_formulas(
    seed: int,
    channels: int,
    mixings: int,
    geometry: tuple[int, int, int],
    size: tuple[int, int],
    single: bool,
) -> None:
    stride, upscale, kernel = geometry
    network = centred(
        seed,
        channels=channels,
        mixings=mixings,
        stride=stride,
        upscale=upscale,
        kernel=kernel,
        single=single,
    )
    plane = np.random.default_rng(seed).integers(0, 256, size).astype(np.uint8)
    assert network.apply(plane).tolist() == Plain(network, plane).run()


def test_shared_tables_are_stored_once() -> None:
    apart, shared = centred(0, mixings=3), centred(0, mixings=3, shared=True)
    assert apart.storage_bytes - shared.storage_bytes == 2 * 16 * 16 * 16
    assert apart.lookups == shared.lookups == 16 * (3 * 16 + 16)


def test_reach_bounds_what_a_pixel_sees() -> None:
    network = centred(3, mixings=2)
    plane = np.random.default_rng(0).integers(0, 256, (21, 21)).astype(np.uint8)
    changed = plane.copy()
    changed[:] = 255 - plane
    near = slice(10 - network.reach, 10 + network.reach + 1)
    changed[near, near] = plane[near, near]
    cell = slice(40, 44)
    assert (network.apply(plane)[cell, cell] == network.apply(changed)[cell, cell]).all()


@pytest.mark.parametrize("taps", [[[28] * 3, [29] * 3, [29] * 3]])
def test_taps_that_would_need_more_than_int16_are_refused(taps: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="above 255"):
        Window(np.array([taps], np.int8), 8)


def test_parts_that_do_not_fit_are_refused() -> None:
    network = centred(0)
    with pytest.raises(ValueError, match="head's tables"):
        dataclasses.replace(
            network,
            upscale=3,
            stem_weights=network.stem_weights[:25],
            stem_bias=network.stem_bias[:25],
        )
    with pytest.raises(ValueError, match="kernel"):
        dataclasses.replace(network, stem_weights=network.stem_weights[:, :2, :2])
    with pytest.raises(ValueError, match="stride"):
        dataclasses.replace(network, stride=3)
    with pytest.raises(ValueError, match="plane"):
        network.apply(np.zeros((3, 3), np.int8))
    with pytest.raises(ValueError, match="plane"):
        network.apply(np.zeros((0, 3), np.uint8))
