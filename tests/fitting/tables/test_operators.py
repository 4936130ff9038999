"""The table layer in C equals its definition in PyTorch, values and gradients."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from intaglio.fitting.tables import kernel as kernel_module  # noqa: E402
from intaglio.fitting.tables.operators import (  # noqa: E402
    mixing,
    reference_mixing,
    round_clamp,
)
from intaglio.fitting.tables.table_parameters import (  # noqa: E402
    TableParameters,
    central_slopes,
    expand_tables,
    hat_basis,
    reference_expand,
    round_integers,
)

needs_kernel = pytest.mark.skipif(kernel_module.kernel() is None, reason="no C compiler")


def case(channels, outputs, size, seed, batch=2, tap_size=28):
    """Integers that reach both clamps now and then."""
    make = torch.Generator().manual_seed(seed)

    def integers(low, high, shape):
        return torch.randint(low, high + 1, shape, generator=make).float()

    f = integers(-128, 127, (batch, channels, *size))
    taps = integers(-tap_size, tap_size, (channels, 3, 3))
    raw = torch.randn((channels, 16, outputs), generator=make) * 60.0
    return f, taps, raw.clamp(-127, 127).round(), central_slopes(raw)


def gradients(function, inputs, *settings):
    f, taps, tables, slopes = inputs
    leaves = [tensor.clone().requires_grad_() for tensor in (f, taps, tables)]
    out = function(*leaves, slopes, *settings)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    (out * weight).sum().backward()
    return [out.detach(), *(leaf.grad for leaf in leaves)]


def integer_mixing(f, taps, tables, tap_shift, shift):
    """The definition with 64-bit integers."""
    f, taps, tables = (t.numpy().astype(np.int64) for t in (f, taps, tables))
    batch, channels, height, width = f.shape
    padded = np.pad(f, ((0, 0), (0, 0), (1, 1), (1, 1)))
    total = np.zeros((batch, tables.shape[2], height, width), np.int64)
    for c in range(channels):
        sums = sum(
            taps[c, i, j] * padded[:, c, i : i + height, j : j + width]
            for i in range(3)
            for j in range(3)
        )
        half = 1 << tap_shift >> 1
        row = np.clip((sums + half) >> tap_shift, -8, 7) + 8
        total += tables[c][row].transpose(0, 3, 1, 2)
    if shift is None:
        return total
    return np.clip(f + ((total + (1 << shift >> 1)) >> shift), -128, 127)


CASES = [
    (24, 24, (40, 40), 10, 2),
    (16, 16, (9, 23), 9, 4),
    (8, 8, (1, 1), 10, 0),
    (64, 64, (12, 11), 10, 5),
    (48, 48, (16, 8), 10, 3),
    (24, 4, (13, 10), 10, None),
    (24, 9, (7, 30), 8, None),
    (32, 16, (20, 20), 10, None),
]


@needs_kernel
@pytest.mark.parametrize(("channels", "outputs", "size", "tap_shift", "shift"), CASES)
def test_the_kernel_equals_the_reference(channels, outputs, size, tap_shift, shift):
    inputs = case(channels, outputs, size, channels + outputs)
    got = gradients(mixing, inputs, tap_shift, shift)
    expected = gradients(reference_mixing, inputs, tap_shift, shift)
    assert torch.equal(got[0], expected[0])
    for a, b in zip(got[1:], expected[1:], strict=True):
        assert b.abs().max() > 0 or size == (1, 1)
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()) + 1e-6)


@pytest.mark.parametrize(("channels", "outputs", "size", "tap_shift", "shift"), CASES)
def test_both_equal_the_integer_definition(channels, outputs, size, tap_shift, shift):
    f, taps, tables, slopes = case(channels, outputs, size, 5)
    expected = integer_mixing(f, taps, tables, tap_shift, shift)
    for function in (mixing, reference_mixing):
        out = function(f, taps, tables, slopes, tap_shift, shift)
        assert np.array_equal(out.numpy().astype(np.int64), expected)


@needs_kernel
def test_the_portable_path_equals_the_reference(tmp_path, monkeypatch):
    flags = ("-O2", "-shared", "-fPIC")  # the plain instruction set of the processor family
    library = kernel_module.load_library(kernel_module.compile_kernel(tmp_path, flags))
    inputs = case(24, 24, (17, 19), 3)
    expected = gradients(reference_mixing, inputs, 10, 2)
    monkeypatch.setattr("intaglio.fitting.tables.operators.kernel", lambda: library)
    got = gradients(mixing, inputs, 10, 2)
    assert torch.equal(got[0], expected[0])
    for a, b in zip(got[1:], expected[1:], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))


@needs_kernel
def test_the_largest_sums_do_not_overflow():
    f = torch.full((1, 64, 8, 8), -128.0)
    taps = torch.zeros(64, 3, 3)
    taps[:, 1, 1], taps[:, 0, 0] = 127.0, 127.0
    tables = torch.full((64, 16, 64), -127.0)
    expected = integer_mixing(f, taps, tables, 10, None)
    assert expected.min() == -64 * 127
    out = mixing(f, taps, tables, torch.zeros_like(tables), 10, None)
    assert np.array_equal(out.numpy().astype(np.int64), expected)


def test_no_compiler_gives_no_kernel(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert kernel_module.compile_kernel(tmp_path / "cache") is None


def test_a_compiler_that_fails_gives_no_kernel(tmp_path):
    assert kernel_module.compile_kernel(tmp_path, ("--no-such-flag",)) is None
    assert list(tmp_path.iterdir()) == []


@needs_kernel
def test_the_kernel_is_compiled_once(tmp_path):
    flags = ("-O1", "-shared", "-fPIC")
    library = kernel_module.compile_kernel(tmp_path, flags)
    written = library.stat().st_mtime_ns
    assert kernel_module.compile_kernel(tmp_path, flags) == library
    assert library.stat().st_mtime_ns == written
    assert list(tmp_path.iterdir()) == [library]


@needs_kernel
def test_the_kernel_is_compiled_elsewhere_without_a_cache(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    kernel_module.kernel.cache_clear()
    try:
        assert kernel_module.kernel() is not None
    finally:
        kernel_module.kernel.cache_clear()


def test_without_a_compiler_the_reference_is_used(monkeypatch):
    monkeypatch.setattr("intaglio.fitting.tables.operators.kernel", lambda: None)
    inputs = case(8, 8, (5, 6), 0)
    for a, b in zip(
        gradients(mixing, inputs, 10, 2), gradients(reference_mixing, inputs, 10, 2), strict=True
    ):
        assert torch.equal(a, b)


def test_a_clamp_lets_through_what_pulls_back():
    value = torch.tensor([-300.0, -300.0, 300.0, 300.0, 10.0], requires_grad=True)
    out = round_clamp(value, 1, -128.0, 127.0)
    out.backward(torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0]))
    assert out.tolist() == [-128, -128, 127, 127, 5]
    assert value.grad.tolist() == [0, -0.5, 0.5, 0, 0.5]


def test_halves_are_rounded_up():
    assert round_clamp(torch.tensor([-3.0, -1.0, 1.0, 3.0]), 1, -8, 7).tolist() == [-1, 0, 1, 2]


def test_a_hat_basis_reaches_every_table_and_sums_to_one():
    basis = hat_basis()
    assert basis.shape == (16, 35)
    assert torch.linalg.matrix_rank(basis) == 16
    assert torch.allclose(basis[:, :2].sum(1), torch.ones(16))
    assert torch.equal(basis[:, -16:], torch.eye(16))


def test_tables_start_as_lines_and_are_rounded_within_a_byte():
    torch.manual_seed(0)
    parameters = TableParameters(8, 8, 100.0)
    tables, slopes = parameters()
    assert torch.equal(tables, tables.round())
    assert tables.abs().max() == 127
    raw = torch.matmul(parameters.basis, parameters.theta)
    inside = (raw.abs() < 127).all(1)
    ends = (raw[:, -1] - raw[:, 0]) / 15
    assert torch.allclose(slopes[:, 7][inside], ends[inside], atol=1e-4)


@needs_kernel
@pytest.mark.parametrize(("channels", "outputs"), [(8, 8), (24, 9), (64, 64)])
def test_expanded_tables_equal_the_reference(channels, outputs):
    make = torch.Generator().manual_seed(7)
    basis = hat_basis()
    theta = torch.randn(channels, basis.shape[1], outputs, generator=make) * 60.0
    weight = torch.randn(channels, 16, outputs, generator=make)
    results = []
    for function in (expand_tables, reference_expand):
        leaf = theta.clone().requires_grad_()
        tables, slopes = function(leaf, basis)
        (tables * weight).sum().backward()
        results.append((tables.detach(), slopes, leaf.grad))
        assert not slopes.requires_grad
    assert float((results[0][0].abs() == 127).float().mean()) > 0.2  # both clamps at work
    # float sums in another order: a value at a half may round to either side
    assert float((results[0][0] != results[1][0]).float().mean()) < 1e-3
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(results[0][2], results[1][2], rtol=1e-4, atol=1e-4)


def test_entries_beyond_the_limit_come_back():
    value = torch.tensor([200.0, 200.0, -200.0, 3.4], requires_grad=True)
    out = round_integers(value)
    out.backward(torch.tensor([1.0, -1.0, 1.0, 1.0]))
    assert out.tolist() == [127, 127, -127, 3]
    assert value.grad.tolist() == [1, 0, 0, 1]
