from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from intaglio.cli.app import app

DIGITS = Path(__file__).parents[2] / "sample_models" / "digits"


@dataclasses.dataclass
class Done:
    """A finished run of the program: exit code and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def cli():
    """Runs the program in this process, which is quick."""

    def run(*arguments, cwd=None, env=None):
        out, err = io.StringIO(), io.StringIO()
        code = 0
        with contextlib.ExitStack() as stack:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            if cwd is not None:
                patch.chdir(cwd)
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(err))
            try:
                app([str(argument) for argument in arguments], prog_name="intaglio")
            except SystemExit as leaving:
                code = int(leaving.code or 0)
        return Done(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def process():
    """Runs the program as a process of its own, as users do."""

    def run(*arguments, cwd=None, env=None):
        code = "from intaglio.cli.app import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=cwd,
            env={**os.environ, **(env or {})},
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def digits() -> Path:
    return DIGITS / "digits.onnx"


@pytest.fixture(scope="session")
def digits_data() -> Path:
    return DIGITS / "calibration.npz"


@pytest.fixture(scope="session")
def test_data() -> Path:
    return DIGITS / "test.npz"


@pytest.fixture(scope="session")
def converted(tmp_path_factory, process, digits, digits_data):
    """A bundle, and what ``convert --json`` said when it was made."""
    out = tmp_path_factory.mktemp("cli") / "digits"
    done = process("convert", digits, "--calibration", digits_data, "--out", out, "--json")
    assert done.code == 0, done.err
    return out, done
