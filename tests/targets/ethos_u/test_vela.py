"""How Vela is found, run and stopped. What fails here are real child processes."""

from __future__ import annotations

import os
import sysconfig
import time

import pytest

from intaglio.errors import ToolError
from intaglio.targets.ethos_u.compiler import compile_tflite
from intaglio.targets.ethos_u.options import EthosUConfig
from intaglio.targets.ethos_u.vela import find_vela, vela_version
from tests.targets.ethos_u.small_file import write_small_file


def compile_small(**options):
    return compile_tflite(write_small_file(), EthosUConfig(**options))


@pytest.fixture
def kept_log():
    """Deletes the logs that failing runs leave, as a user would after reading them."""
    logs = []
    yield logs.append
    for log in logs:
        log.unlink()


def test_a_missing_vela_is_said_with_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(ToolError, match="not installed") as caught:
        compile_small()
    assert caught.value.remedy == 'pip install "intaglio[ethos-u]"'
    assert caught.value.exit_code == 6
    assert caught.value.returncode is None


def test_vela_is_found_beside_python_without_an_activated_environment(monkeypatch, tmp_path):
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    program = scripts / ("vela.exe" if os.name == "nt" else "vela")
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(scripts))
    assert find_vela().samefile(program)


def test_a_failing_vela_keeps_its_log_and_tells_command_and_exit_code(fake_vela, kept_log):
    program = fake_vela("echo compiling; echo 'RuntimeError: no such memory' >&2; exit 3")
    with pytest.raises(ToolError, match="exit code 3: RuntimeError: no such memory") as caught:
        compile_small(accelerator="ethos-u65-512")
    error = caught.value
    kept_log(error.log)
    assert error.returncode == 3
    assert error.command[0] == str(program)
    assert error.command[1:3] == ("--accelerator-config", "ethos-u65-512")
    assert str(error.log) in error.remedy
    assert error.log.read_text() == "compiling\nRuntimeError: no such memory\n"


def test_a_crash_is_named_by_its_signal(fake_vela, kept_log):
    fake_vela("kill -SEGV $$")
    with pytest.raises(ToolError, match="crashed with SIGSEGV") as caught:
        compile_small()
    kept_log(caught.value.log)
    assert caught.value.returncode == -11


def test_an_endless_run_is_stopped_with_all_it_started(fake_vela, kept_log, tmp_path):
    marker = tmp_path / "alive"
    fake_vela(f"(sleep 2; touch {marker}) & sleep 60")
    start = time.monotonic()
    with pytest.raises(ToolError, match=r"still running after 0\.5 seconds") as caught:
        compile_small(timeout=0.5)
    kept_log(caught.value.log)
    assert caught.value.returncode is None
    time.sleep(max(0.0, start + 2.7 - time.monotonic()))
    assert not marker.exists()


def test_success_without_a_file_is_a_failure(fake_vela, kept_log):
    fake_vela("echo done")
    with pytest.raises(ToolError, match="ended without a compiled file: done") as caught:
        compile_small()
    kept_log(caught.value.log)


def test_a_program_that_cannot_start_is_an_error_of_the_tool(fake_vela, kept_log):
    program = fake_vela("")
    program.write_text("#!/no/such/interpreter\n")
    with pytest.raises(ToolError, match="cannot be started") as caught:
        compile_small()
    kept_log(caught.value.log)


def test_an_old_vela_is_refused(fake_vela):
    fake_vela("exit 0", version="3.12.0")
    with pytest.raises(ToolError, match=r"Vela 3\.12\.0 is too old: 4\.2 is the oldest"):
        vela_version()


def test_a_version_that_is_none_is_refused(fake_vela):
    fake_vela("exit 0", version="unknown")
    with pytest.raises(ToolError, match="does not tell its version"):
        vela_version()


def test_the_log_of_a_run_that_succeeds_is_deleted(vela, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    compile_small()
    assert list(tmp_path.iterdir()) == []


def test_options_that_vela_refuses_are_told_with_its_words(vela, kept_log):
    with pytest.raises(ToolError, match="No_Such_Mode") as caught:
        compile_small(memory_mode="No_Such_Mode")
    kept_log(caught.value.log)
