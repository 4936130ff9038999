"""The reference model's arithmetic beside Python's integers, at the corners of the numbers.

Everything else rests on this: RESCALE in both roundings, for a tensor and by channel, TABLE,
AVG_POOL2D with zero points of 0, and the reciprocal of its windows.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intaglio.targets.base import TensorSpec
from intaglio.targets.tosa.emitters.common import INT32
from intaglio.targets.tosa.scope import DOUBLE_ROUND, SINGLE_ROUND
from intaglio.targets.tosa.session import TosaSession
from intaglio.targets.tosa.writer import Field, FileBuilder

_COMMON = {
    "derandomize": True,
    "database": None,
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
}
_PLACES = 32


def run(folder, build, data, shape, dtype):
    """The one output of a file of one operator."""
    file = FileBuilder()
    file.tensor("x", data.shape, data.dtype.name)
    file.tensor("y", shape, dtype)
    build(file)
    file.inputs, file.outputs = ["x"], ["y"]
    path = folder / "one.tosa"
    path.write_bytes(file.to_bytes())
    inputs = [TensorSpec("x", data.shape, data.dtype.name)]
    with TosaSession(path, inputs, [TensorSpec("y", shape, dtype)]) as session:
        return session.run({"x": data}).outputs["y"]


def constant(file, name, numbers, dtype):
    array = np.asarray(numbers, dtype)
    file.tensor(name, array.shape, dtype, array)
    file.operator("CONST", [], [name])
    return name


def rescaled(value, multiplier, shift, double):
    nudge = 1 << (shift - 1)
    if double and shift > 31:
        nudge += 1 << 30 if value >= 0 else -(1 << 30)
    return (value * multiplier + nudge) >> shift


@st.composite
def rescales(draw):
    """A rescale for each of some channels, and numbers at the corners of what it takes."""
    channels = draw(st.sampled_from([1, 3]))
    factors = draw(st.lists(st.integers(0, 2**31 - 1), min_size=channels, max_size=channels))
    shifts = draw(st.lists(st.integers(2, 62), min_size=channels, max_size=channels))
    columns = []
    for factor, shift in zip(factors, shifts, strict=True):
        most = min(2 ** (shift - 1), 2**31)
        # The result must fit int32, too.
        most = min(most, (2**31 - 1) * 2**shift // max(factor, 1) - 1)
        ties = st.integers(-200, 200).map(
            lambda n, f=factor, s=shift, m=most: max(
                -m, min(m - 1, ((2 * n + 1) << (s - 1)) // max(f, 1))
            )
        )
        corners = st.sampled_from([-most, 1 - most, -1, 0, 1, most - 1])
        number = st.one_of(st.integers(-most, most - 1), ties, corners)
        columns.append(draw(st.lists(number, min_size=_PLACES, max_size=_PLACES)))
    point = draw(st.integers(-128, 127))
    return (
        factors,
        shifts,
        np.array(columns, np.int64).T.astype(np.int32),
        point,
        draw(st.booleans()),
    )


@settings(max_examples=15, **_COMMON)
@given(rescales())
def test_rescale(environment, tmp_path, case):
    factors, shifts, data, point, double = case

    def build(file):
        inputs = [
            "x",
            constant(file, "multiplier", factors, "int32"),
            constant(file, "shift", shifts, "int8"),
            constant(file, "from", [0], "int32"),
            constant(file, "to", [point], "int8"),
        ]
        rounding = DOUBLE_ROUND if double else SINGLE_ROUND
        fields = [Field(0, "bool", True), Field(1, "enum", rounding)]
        file.operator("RESCALE", inputs, ["y"], [*fields, Field(2, "bool", len(factors) > 1)])

    found = run(tmp_path, build, data, data.shape, "int8")
    for row, own in zip(data.tolist(), found.tolist(), strict=True):
        for value, factor, shift, result in zip(row, factors, shifts, own, strict=True):
            wanted = rescaled(value, factor, shift, double) + point
            assert result == min(max(wanted, -128), 127)


@settings(max_examples=5, **_COMMON)
@given(st.lists(st.integers(-128, 127), min_size=256, max_size=256))
def test_table(environment, tmp_path, entries):
    def build(file):
        file.operator("TABLE", ["x", constant(file, "table", entries, "int8")], ["y"])

    data = np.arange(-128, 128, dtype=np.int8)
    assert run(tmp_path, build, data, (256,), "int8").tolist() == entries


@pytest.mark.parametrize("kernel", [(1, 1), (2, 2), (3, 3), (5, 4), (7, 7)])
@pytest.mark.parametrize("pad", [0, 1])
def test_averages_take_halves_away_from_zero(environment, tmp_path, kernel, pad):
    pad = min(pad, min(kernel) - 1)
    rng = np.random.default_rng(0)
    data = rng.integers(-128, 128, (1, 9, 8, 40)).astype(np.int8)
    # Small numbers, whose averages are ties more often than not.
    data[..., 20:] = rng.integers(-1, 2, (1, 9, 8, 20))
    rows, columns = (size + 2 * pad - k + 1 for size, k in zip((9, 8), kernel, strict=True))

    def build(file):
        zero = constant(file, "zero", [0], "int8")
        fields = [Field(0, "ints", kernel), Field(1, "ints", [1, 1]), Field(2, "ints", [pad] * 4)]
        file.operator("AVG_POOL2D", ["x", zero, zero], ["y"], [*fields, Field(3, "enum", INT32)])

    found = run(tmp_path, build, data, (1, rows, columns, 40), "int8")
    for row in range(rows):
        for column in range(columns):
            down = slice(max(row - pad, 0), row - pad + kernel[0])
            across = slice(max(column - pad, 0), column - pad + kernel[1])
            window = data[0, down, across].reshape(-1, 40).astype(np.int64)
            count, total = len(window), window.sum(0)
            wanted = np.sign(total) * ((2 * np.abs(total) + count) // (2 * count))
            np.testing.assert_array_equal(found[0, row, column], wanted)
