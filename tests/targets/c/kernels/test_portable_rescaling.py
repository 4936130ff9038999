"""Every C rescale equals transforms/fixed_point.py, bit by bit, and saturates to int32."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

from intaglio.errors import InternalError
from intaglio.targets.c.compiler import find_compiler
from intaglio.targets.c.kernels.portable import rescaling as module
from intaglio.targets.c.kernels.portable.rescaling import rescaling
from intaglio.targets.c.network import Rescale
from intaglio.transforms.fixed_point import (
    Rounding,
    rescale_double,
    rescale_real,
    rescale_single,
    rescale_wide,
)
from tests.targets.c.harness import STRICT

FUNCTIONS = {
    module.DOUBLE: ("int32_t", "int32_t"),
    module.DOUBLE_HIGH: ("int32_t", "int32_t"),
    module.SINGLE: ("int32_t", "int32_t"),
    module.SINGLE_HIGH: ("int32_t", "int32_t"),
    module.WIDE: ("int64_t", "int32_t"),
    module.REAL: ("int64_t", "int64_t"),
}

INT32 = np.iinfo(np.int32)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Loops over arrays around each function, checked for undefined behaviour."""
    parts = ["#include <stddef.h>\n#include <stdint.h>", module.SATURATE.text]
    for function, (accumulator, multiplier) in FUNCTIONS.items():
        parts.append(function.text)
        parts.append(
            f"void all_{function.name}(const {accumulator} *acc, const {multiplier} *multiplier, "
            "const int8_t *shift, int32_t *result, size_t count)\n{\n    size_t i;\n"
            "    for (i = 0; i < count; i++) {\n"
            f"        result[i] = {function.name}(acc[i], multiplier[i], shift[i]);\n    }}\n}}"
        )
    folder = tmp_path_factory.mktemp("rescaling")
    source = folder / "all.c"
    source.write_text("\n\n".join(parts) + "\n")
    flags = [*STRICT, "-O2", "-fPIC", "-shared"]
    if find_compiler() is None:
        pytest.skip("needs a C compiler")
    checks = ["-fsanitize=undefined", "-fno-sanitize-recover=all"]
    command = [*find_compiler(), "-std=c99", *flags, *checks, str(source), "-o", f"{folder}/all.so"]
    subprocess.run(command, check=True)
    if shutil.which("g++"):
        command = ["g++", "-std=c++11", "-x", "c++", *flags, "-fsyntax-only", str(source)]
        subprocess.run(command, check=True)
    return ctypes.CDLL(f"{folder}/all.so")


def call(library, function, acc, multiplier, shift):
    accumulator, factor = (f"{kind[:-2]}" for kind in FUNCTIONS[function])
    acc, multiplier, shift = np.broadcast_arrays(acc, multiplier, shift)
    arrays = [
        np.ascontiguousarray(acc, accumulator),
        np.ascontiguousarray(multiplier, factor),
        np.ascontiguousarray(shift, np.int8),
        np.empty(acc.shape, np.int32),
    ]
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
    getattr(library, f"all_{function.name}")(*pointers, ctypes.c_size_t(acc.size))
    return arrays[-1]


def saturated(values):
    return np.clip(values, INT32.min, INT32.max)


def int32_cases(rng, shifts):
    """Accumulators of every size, and around every tie; multipliers with corners."""
    count = 40000
    shift = rng.integers(shifts[0], shifts[1] + 1, count)
    multiplier = rng.integers(1 << 30, 1 << 31, count)
    corners = [0, 1 << 30, (1 << 30) + 1, (1 << 31) - 1, 3 << 29]
    multiplier[: count // 2] = rng.choice(corners, count // 2)
    acc = rng.integers(-(1 << 31), 1 << 31, count) >> rng.integers(0, 32, count)
    acc[: count // 8] = rng.choice([INT32.min, INT32.min + 1, -1, 0, 1, INT32.max], count // 8)
    # Accumulators whose product lies next to (k + 1/2) * 2^shift.
    k = rng.integers(-300, 300, count)
    near = (2.0 * k + 1) * np.ldexp(1.0, shift - 1) / np.maximum(multiplier, 1)
    near = np.clip(np.rint(near) + rng.integers(-1, 2, count), INT32.min, INT32.max)
    ties = rng.random(count) < 0.5
    return np.where(ties, near.astype(np.int64), acc), multiplier, shift


@pytest.mark.parametrize(
    ("function", "reference", "shifts"),
    [
        (module.DOUBLE, rescale_double, (2, 62)),
        (module.DOUBLE_HIGH, rescale_double, (32, 62)),
        (module.SINGLE, rescale_single, (2, 62)),
        (module.SINGLE_HIGH, rescale_single, (32, 62)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_int32_accumulators(library, function, reference, shifts):
    acc, multiplier, shift = int32_cases(np.random.default_rng(1), shifts)
    got = call(library, function, acc, multiplier, shift)
    np.testing.assert_array_equal(got, saturated(reference(acc, multiplier, shift)))


def test_wide(library):
    rng = np.random.default_rng(2)
    count = 40000
    acc = rng.integers(-(1 << 47), 1 << 47, count) >> rng.integers(0, 47, count)
    acc[:100], acc[100:200] = -(1 << 47), (1 << 47) - 1
    multiplier = rng.integers(1 << 30, 1 << 31, count)
    multiplier[::5] = rng.choice([0, 1 << 30, (1 << 31) - 1, (1 << 31) - 32768], len(acc[::5]))
    shift = rng.integers(24, 63, count)
    code = rescaling(Rescale(Rounding.WIDE, multiplier, shift))
    assert code.function is module.WIDE
    assert code.accumulator == "int64_t"
    got = call(library, code.function, acc, code.multiplier, code.shift)
    np.testing.assert_array_equal(got, saturated(rescale_wide(acc, multiplier, shift)))


def test_real(library):
    rng = np.random.default_rng(3)
    count = 200000
    acc = rng.integers(-(1 << 44) + 1, 1 << 44, count) >> rng.integers(0, 44, count)
    acc[:10], acc[10:20] = -(1 << 44) + 1, (1 << 44) - 1
    mantissa = rng.integers(1 << 52, 1 << 53, count)
    mantissa[::7] = rng.choice([0, 1 << 52, (1 << 53) - 1], len(acc[::7]))
    shift = rng.integers(46, 98, count)
    # Scales next to (k + 1/2) / acc, where the rounding of the product to 53 bits decides.
    k = rng.integers(0, 1 << rng.integers(1, 20, count))
    scale = (k + 0.5) / np.maximum(np.abs(acc), 1)
    scale = np.nextafter(scale, rng.choice([0.0, 1.0], count))
    fraction, exponent = np.frexp(scale)
    special = (rng.random(count) < 0.7) & (53 - exponent >= 46) & (53 - exponent <= 97)
    mantissa = np.where(special, np.ldexp(fraction, 53).astype(np.int64), mantissa)
    shift = np.where(special, 53 - exponent, shift)
    assert special.mean() > 0.5
    got = call(library, module.REAL, acc, mantissa, shift)
    expected = rescale_real(acc, np.ldexp(mantissa.astype(np.float64), -shift.astype(np.int32)))
    np.testing.assert_array_equal(got, saturated(expected))


def test_the_upper_half_is_enough_where_shifts_are_32_and_more():
    scale = np.array([1 << 30, 0, 1 << 30])
    for rounding, plain, high in (
        (Rounding.DOUBLE, module.DOUBLE, module.DOUBLE_HIGH),
        (Rounding.SINGLE, module.SINGLE, module.SINGLE_HIGH),
    ):
        # A multiplier of 0 comes with shift 31, which counts for nothing.
        code = rescaling(Rescale(rounding, scale, np.array([32, 31, 62])))
        assert code.function is high
        assert code.shift.tolist() == [32, 62, 62]
        assert rescaling(Rescale(rounding, scale, np.array([31, 31, 62]))).function is plain
        kept = rescaling(Rescale(rounding, scale, np.array([32, 31, 62])), high=False)
        assert kept.function is plain


def test_expression_clamps_before_the_zero_point():
    code = rescaling(Rescale(Rounding.DOUBLE, np.array([1 << 30]), np.array([40]), -3, -128, 127))
    assert code.apply("acc") == "clamp(rescale_double_high(acc, 1073741824, 40), -125, 130) - 3"
    assert {function.name for function in code.functions} == {"rescale_double_high", "clamp"}
    free = rescaling(Rescale(Rounding.SINGLE, np.array([1 << 30]), np.array([2])))
    assert free.apply("acc") == "rescale_single(acc, 1073741824, 2)"
    assert [function.name for function in free.functions] == ["rescale_single"]


def test_refuses_what_it_cannot_do():
    one = np.array([1 << 30])
    with pytest.raises(InternalError, match="rounds as float"):
        rescaling(Rescale(Rounding.FLOAT, one, one * 0 + 31))
    with pytest.raises(InternalError, match="room"):
        rescaling(Rescale(Rounding.DOUBLE, one, one * 0 + 31, zero_point=1))
    many = rescaling(Rescale(Rounding.DOUBLE, np.array([1 << 30] * 2), np.array([31, 31])))
    with pytest.raises(InternalError, match="per channel"):
        many.apply("acc")
