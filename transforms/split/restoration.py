"""The filter that a server puts behind decoded features, to bring them nearer to what was coded.

A quantizer knows one value, the decoder's tables one channel. What lies around a value, in its
channel and in others, says more: features are smooth, and channels alike. With ``x`` the decoded
feature less its zero point, 0 beyond its border, the filter gives for channel ``c``::

    acc = 2^shift[c] * x[c] + bias[c] + sum(weights[c] * x around the place)
    y[c] = clip((acc + 2^(shift[c] - 1)) >> shift[c], -128 - z, 127 - z)

It is the linear filter of least squared error on calibration samples, its weights rounded to int8.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

#: Shifts of a filter: the larger the smaller are its weights.
LEAST_SHIFT, LARGEST_SHIFT = 2, 16

#: Inputs of a filter that sees all channels, at most; one of more sees its own channel only.
MOST_INPUTS = 640

#: Values to fit to for each input, at least; and values that are enough.
_LEAST_VALUES, _ENOUGH_VALUES = 20, 1 << 17

#: Values at once: a bound on memory.
_VALUES_AT_ONCE = 1 << 13

#: Added to the squares of the inputs, as a share of their mean: alike channels are no trouble.
_RIDGE = 1e-4


@dataclasses.dataclass(frozen=True)
class Restoration:
    """A filter in integers.

    Attributes:
        kernel: Rows and columns that it sees, odd.
        weights: For each channel the weight of each input: of all channels by row and column, or
            of its own channel alone; -128 to 127.
        biases: For each channel; int32.
        shifts: For each channel; 2 to 16.
    """

    kernel: tuple[int, int]
    weights: tuple[tuple[int, ...], ...]
    biases: tuple[int, ...]
    shifts: tuple[int, ...]

    @property
    def groups(self) -> int:
        """Groups of the convolution: 1, or as many as there are channels."""
        inputs = len(self.weights[0]) // (self.kernel[0] * self.kernel[1])
        return len(self.weights) // inputs

    def kernels(self) -> NDArray[np.int8]:
        """The weights as a convolution has them: int8 [C, C / groups, rows, columns]."""
        return np.array(self.weights, np.int8).reshape(len(self.weights), -1, *self.kernel)

    def check(self, channels: int) -> None:
        """Refuses what is no filter of so many channels.

        Raises:
            ValueError: It is none.
        """
        places = self.kernel[0] * self.kernel[1]
        lengths = {len(row) for row in self.weights}
        fits = (
            min(self.kernel) > 0
            and all(side % 2 for side in self.kernel)
            and len(self.weights) == len(self.biases) == len(self.shifts) == channels
            and lengths in ({places}, {places * channels})
            and all(-128 <= w <= 127 for row in self.weights for w in row)
            and all(-(2**30) <= bias <= 2**30 for bias in self.biases)
            and all(LEAST_SHIFT <= shift <= LARGEST_SHIFT for shift in self.shifts)
        )
        if not fits:
            raise ValueError("the restoration is no filter of its channels")


def restore(
    planes: NDArray[np.int8], restoration: Restoration, zero_point: int
) -> NDArray[np.int8]:
    """Filters decoded features.

    Args:
        planes: int8 [N, C, H, W], in the order of the tensor.
        restoration: The filter.
        zero_point: Of the feature.

    Returns:
        int8 [N, C, H, W].
    """
    whole = restoration.groups == 1
    # Sums stay below 2^31: exact in float64, in any order.
    weights = np.array(restoration.weights, np.float64)
    shifts = np.array(restoration.shifts, np.int64)[:, None, None]
    biases = np.array(restoration.biases, np.int64)[:, None, None]
    made = np.empty_like(planes)
    for part in _parts(planes):
        around = _around(planes[part], restoration.kernel, zero_point)
        count, channels, _, rows, columns = around.shape
        if whole:
            flat = around.transpose(0, 3, 4, 1, 2).reshape(count * rows * columns, -1)
            sums = (flat @ weights.T).reshape(count, rows, columns, channels).transpose(0, 3, 1, 2)
        else:
            sums = np.einsum("ncpij,cp->ncij", around, weights)
        own = planes[part].astype(np.int64) - zero_point
        total = sums.astype(np.int64) + (own << shifts) + biases + (1 << (shifts - 1))
        made[part] = np.clip((total >> shifts) + zero_point, -128, 127).astype(np.int8)
    return made


def fit_restoration(
    decoded: NDArray[np.int8],
    original: NDArray[np.int8],
    zero_point: int,
    code_plane: tuple[int, int],
) -> Restoration | None:
    """The filter of least squared error.

    Args:
        decoded: int8 [N, C, H, W], what the server has.
        original: What it should have.
        zero_point: Of both.
        code_plane: Rows and columns of codes: where a code stands for several places, these say
            nothing about each other.

    Returns:
        A filter that sees all channels; one of each channel alone where these are too many; None
        where there are too few values to fit either to.
    """
    _, channels, rows, columns = decoded.shape
    kernel = (3 if code_plane[0] > 1 else 1, 3 if code_plane[1] > 1 else 1)
    places = kernel[0] * kernel[1]
    samples = min(len(decoded), -(-_ENOUGH_VALUES // (rows * columns)))
    values = samples * code_plane[0] * code_plane[1]
    decoded, original = decoded[:samples], original[:samples]
    inputs = channels * places
    if inputs <= MOST_INPUTS and values >= _LEAST_VALUES * (inputs + 1):
        solved = _all_channels(decoded, original, kernel, zero_point)
        own = np.arange(channels) * places + places // 2
    elif places > 1 and values >= _LEAST_VALUES * (places + 1):
        solved = np.stack(
            [
                _all_channels(decoded[:, c : c + 1], original[:, c : c + 1], kernel, zero_point)[0]
                for c in range(channels)
            ]
        )
        own = np.full(channels, places // 2)
    else:
        return None
    solved[np.arange(channels), own] -= 1.0
    return _rounded(solved, kernel)


def _all_channels(
    decoded: NDArray[np.int8], original: NDArray[np.int8], kernel: tuple[int, int], zero_point: int
) -> NDArray[np.float64]:
    """Weights and, last, the bias of each channel: [C, inputs + 1]."""
    squares = products = np.zeros(())
    for part in _parts(decoded):
        around = _around(decoded[part], kernel, zero_point)
        inputs = around.transpose(0, 3, 4, 1, 2).reshape(-1, around.shape[1] * around.shape[2])
        inputs = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
        wanted = original[part].transpose(0, 2, 3, 1).reshape(len(inputs), -1) - float(zero_point)
        # Integers below 2^53: the same in whatever order they are added.
        squares = squares + inputs.T @ inputs
        products = products + inputs.T @ wanted
    size = len(squares)
    ridge = _RIDGE * np.trace(squares) / size
    solved: NDArray[np.float64] = np.linalg.solve(squares + ridge * np.eye(size), products)
    made: NDArray[np.float64] = solved.T.copy()
    return made


def _rounded(solved: NDArray[np.float64], kernel: tuple[int, int]) -> Restoration:
    weights, biases = solved[:, :-1], solved[:, -1]
    largest = np.maximum(np.abs(weights).max(axis=1), 2.0**-30)
    room = np.floor(np.log2(127 / largest)).astype(np.int64)
    shifts = np.clip(room, LEAST_SHIFT, LARGEST_SHIFT)
    scale = 2.0 ** shifts[:, None]
    integers = np.clip(np.floor(weights * scale + 0.5), -128, 127).astype(np.int64)
    offsets = np.floor(biases * scale[:, 0] + 0.5).astype(np.int64)
    return Restoration(
        kernel,
        tuple(tuple(row) for row in integers.tolist()),
        tuple(offsets.tolist()),
        tuple(shifts.tolist()),
    )


def _around(
    planes: NDArray[np.int8], kernel: tuple[int, int], zero_point: int
) -> NDArray[np.float64]:
    """What lies around each place: [N, C, places of the kernel, H, W]."""
    above, left = kernel[0] // 2, kernel[1] // 2
    wide = planes.astype(np.float64) - zero_point
    wide = np.pad(wide, ((0, 0), (0, 0), (above, above), (left, left)))
    rows, columns = planes.shape[2:]
    return np.stack(
        [
            wide[:, :, i : i + rows, j : j + columns]
            for i in range(kernel[0])
            for j in range(kernel[1])
        ],
        axis=2,
    )


def _parts(planes: NDArray[np.int8]) -> list[slice]:
    """Samples to work on at once."""
    size = max(1, _VALUES_AT_ONCE // (planes.shape[2] * planes.shape[3]))
    return [slice(at, at + size) for at in range(0, len(planes), size)]
