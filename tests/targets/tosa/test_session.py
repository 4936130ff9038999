"""Running files in the TOSA reference model, and what happens where that fails."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from intaglio.errors import InputError, IntaglioError, ToolError
from intaglio.targets.base import TensorSpec
from intaglio.targets.tosa.environment import REMEDY, require_environment
from intaglio.targets.tosa.flatfile import read_tosa, with_outputs
from intaglio.targets.tosa.session import TosaSession
from tests.targets.tosa.small_file import MATMUL, NAMES, SHAPE, compute, write_small_file

X = (TensorSpec("input", SHAPE, "int8", "NHWC"),)
Y = (TensorSpec("output", SHAPE, "int8", "NHWC"),)


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.tosa"
    path.write_bytes(write_small_file())
    return path


def _samples(count, seed=0):
    return np.random.default_rng(seed).integers(-128, 128, (count, *SHAPE)).astype(np.int8)


def _logs():
    return set(Path(tempfile.gettempdir()).glob("intaglio-tosa-*.log"))


def test_every_bit_is_that_of_the_definition(environment, small):
    x = _samples(40)
    rescaled, y = compute(x)
    assert len(np.unique(y)) > 100
    with TosaSession(small, X, Y, environment=environment) as session:
        found = session.run_many({"input": x}, inner=["block/rescaled", "y", "x", "nothing"])
        np.testing.assert_array_equal(found.outputs["output"], y)
        assert found.outputs["output"].dtype == np.int8
        assert list(found.inner) == ["block/rescaled", "y", "x"]
        np.testing.assert_array_equal(found.inner["block/rescaled"], rescaled)
        np.testing.assert_array_equal(found.inner["y"], y)
        np.testing.assert_array_equal(found.inner["x"], x)
        # One sample, without inner tensors, in the same child.
        before = session.child.pid
        one = session.run({"input": x[7]})
        np.testing.assert_array_equal(one.outputs["output"], y[7])
        assert one.inner == {}
        assert session.child.pid == before


def test_names_and_unsigned_codes_are_those_of_the_specs(environment, small):
    inputs = (TensorSpec("a", (1, 48), "uint8"),)
    outputs = (TensorSpec("b", (48,), "uint8"),)
    x = _samples(1)[0]
    with TosaSession(small, inputs, outputs, environment=environment) as session:
        found = session.run({"a": x.view(np.uint8).reshape(1, 48)}).outputs["b"]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, compute(x)[1].reshape(48).view(np.uint8))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "missing inputs"),
        ({"input": np.zeros(SHAPE, np.int8), "z": np.zeros(1)}, r"unknown inputs \['z'\]"),
        ({"input": np.zeros(SHAPE, np.int16)}, "input 'input' is int16"),
        ({"input": np.zeros((2, 4, 4, 3), np.int8)}, r"is int8\[2, 4, 4, 3\]"),
        ({"input": np.zeros(48, np.int8)}, r"is int8\[48\]"),
    ],
)
def test_inputs_are_checked_before_they_are_sent(fake_model, small, inputs, message):
    fake_model("return [inputs[0]], GraphStatus.TOSA_VALID")
    with TosaSession(small, X, Y) as session, pytest.raises(InputError, match=message):
        session.run(inputs)


def test_no_samples_are_refused(fake_model, small):
    fake_model("return [inputs[0]], GraphStatus.TOSA_VALID")
    with TosaSession(small, X, Y) as session, pytest.raises(InputError, match="0 samples"):
        session.run_many({"input": _samples(0)})


@pytest.mark.parametrize(
    "specs",
    [
        ((), Y),
        (X, (*Y, *Y)),
        ((TensorSpec("input", (1, 4, 4, 4), "int8"),), Y),
        (X, (TensorSpec("output", SHAPE, "int16"),)),
        ((TensorSpec("input", ("n", 4, 4, 3), "int8"),), Y),
    ],
)
def test_specs_of_another_file_are_refused(small, specs):
    with pytest.raises(InputError, match="due"):
        TosaSession(small, *specs)


def test_a_missing_environment_is_told_before_anything_runs(small, monkeypatch, tmp_path):
    monkeypatch.delenv("INTAGLIO_TOSA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ToolError, match="not installed") as caught:
        TosaSession(small, X, Y)
    assert (caught.value.exit_code, caught.value.remedy) == (6, REMEDY)


def test_a_crash_is_an_error_with_a_log_and_not_the_end(fake_model, small):
    fake_model(
        "if inputs[0].max() == 99:\n"
        "    print('about to crash', flush=True)\n"
        "    os.kill(os.getpid(), 11)\n"
        "return [inputs[0]], GraphStatus.TOSA_VALID"
    )
    with TosaSession(small, X, Y) as session:
        with pytest.raises(ToolError, match=r"crashed on .*small.tosa' \(SIGSEGV\)") as caught:
            session.run({"input": np.full(SHAPE, 99, np.int8)})
        error = caught.value
        assert (error.exit_code, error.returncode) == (6, -signal.SIGSEGV)
        assert "about to crash" in error.message
        assert "about to crash" in error.log.read_text()
        assert str(error.log) in error.remedy
        error.log.unlink()
        # The next run has a child of its own.
        zeros = np.zeros(SHAPE, np.int8)
        np.testing.assert_array_equal(session.run({"input": zeros}).outputs["output"], zeros)


def test_a_run_without_end_is_stopped(fake_model, small):
    fake_model("print('hm', flush=True)\ntime.sleep(60)")
    with TosaSession(small, X, Y, timeout_s=3) as session:
        pid = session.child.pid
        start = time.monotonic()
        with pytest.raises(ToolError, match=r"no answer on .* within 3 s") as caught:
            session.run({"input": _samples(1)[0]})
        assert time.monotonic() - start < 20
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert "hm" in caught.value.log.read_text()
    caught.value.log.unlink()


def test_an_invalid_state_of_the_graph_is_an_error(fake_model, small):
    fake_model("return [inputs[0]], GraphStatus.TOSA_ERROR")
    with (
        TosaSession(small, X, Y) as session,
        pytest.raises(ToolError, match="the graph's state is TOSA_ERROR") as caught,
    ):
        session.run({"input": _samples(1)[0]})
    caught.value.log.unlink()


def test_another_version_in_the_child_is_refused(fake_model, small):
    folder = fake_model("pass")
    environment = require_environment()
    metadata = folder.parent / "modules" / "tosa_tools-2026.8.0.dist-info" / "METADATA"
    metadata.write_text("Name: tosa-tools\nVersion: 2025.1.0\n")
    with pytest.raises(ToolError, match=r"has tosa-tools 2025\.1\.0; it must be"):
        TosaSession(small, X, Y, environment=environment)


def test_what_works_leaves_no_log(environment, small):
    before = _logs()
    with TosaSession(small, X, Y, environment=environment) as session:
        session.run({"input": _samples(1)[0]})
    assert _logs() == before


def test_a_graph_that_the_reference_model_refuses(environment, tmp_path):
    path = tmp_path / "odd.tosa"
    path.write_bytes(write_small_file(operator=MATMUL))
    with (
        TosaSession(path, X, Y, environment=environment) as session,
        pytest.raises(IntaglioError, match=r"TOSA reference model (refuses|crashed)") as caught,
    ):
        session.run({"input": _samples(1)[0]})
    assert caught.value.exit_code in (3, 6)
    if isinstance(caught.value, ToolError):
        caught.value.log.unlink()


@pytest.mark.parametrize("data", [b"", b"TOSA", b"\x08\0\0\0TOSA", b"\xff" * 400])
def test_what_is_no_tosa_file(tmp_path, data):
    path = tmp_path / "bad.tosa"
    path.write_bytes(data)
    with pytest.raises(InputError, match="is no TOSA file"):
        TosaSession(path, X, Y)
    with pytest.raises(InputError, match="cannot be read"):
        TosaSession(tmp_path / "none.tosa", X, Y)


def test_damaged_files_end_in_errors_of_ours(tmp_path):
    whole = write_small_file()
    rng = np.random.default_rng(5)
    refused = 0
    for _ in range(600):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(256)
        if rng.random() < 0.2:
            data = data[: rng.integers(len(data))]
        try:
            read_tosa(bytes(data), "it")
        except InputError:
            refused += 1
    assert refused > 100


def test_a_longer_list_of_outputs_changes_nothing_else():
    whole = write_small_file(names=("x", "a/ü", "y"))
    more = with_outputs(whole, ["y", "a/ü", "x"])
    before, after = read_tosa(whole, "it"), read_tosa(more, "it")
    assert after.outputs == ("y", "a/ü", "x")
    assert (after.operators, after.tensors, after.inputs) == (
        before.operators,
        before.tensors,
        before.inputs,
    )
    assert sum(a != b for a, b in zip(whole, more, strict=False)) <= 4
    assert [operator.outputs for operator in before.operators[-2:]] == [("a/ü",), ("y",)]


def test_the_file_of_the_tests_is_as_told():
    file = read_tosa(write_small_file(), "it")
    assert (file.inputs, file.outputs) == (("x",), ("y",))
    assert [file.tensors[name].shape for name in NAMES] == [SHAPE] * 3
