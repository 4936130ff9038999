from __future__ import annotations

import os
import sys

import pytest

from intaglio.errors import ToolError
from intaglio.targets.tosa.environment import VARIABLE, Environment, require_environment


@pytest.fixture(scope="session")
def environment() -> Environment:
    """The environment of the reference model; the test is skipped where there is none."""
    try:
        return require_environment()
    except ToolError as error:
        pytest.skip(str(error))


@pytest.fixture
def fake_python(tmp_path, monkeypatch):
    """Lets the variable name an environment whose Python is a shell script."""
    if os.name != "posix":
        pytest.skip("needs a POSIX shell")

    def write(body: str):
        folder = tmp_path / "fake"
        (folder / "bin").mkdir(parents=True)
        program = folder / "bin" / "python"
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
        monkeypatch.setenv(VARIABLE, str(folder))
        return folder

    return write


@pytest.fixture
def fake_model(fake_python, tmp_path):
    """An environment of our own Python with a module in the reference model's place.

    The child process, its protocol and its time-out are real; what ``run`` does is given.
    """

    def write(body: str, version: str = "2026.8.0"):
        modules = tmp_path / "modules"
        modules.mkdir()
        lines = ["import enum, os, sys, time", "import numpy as np"]
        lines += ["GraphStatus = enum.Enum('GraphStatus', 'TOSA_VALID TOSA_ERROR')"]
        lines += [
            "def run(data, inputs, tosa_level):",
            *(f"    {line}" for line in body.splitlines()),
        ]
        (modules / "tosa_reference_model.py").write_text("\n".join(lines) + "\n")
        metadata = modules / f"tosa_tools-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Name: tosa-tools\nVersion: {version}\n")
        start = tmp_path / "start.py"
        start.write_text(
            "import runpy, sys\n"
            f"sys.path.insert(0, {str(modules)!r})\n"
            "rest = [a for a in sys.argv[1:] if a not in ('-I', '-B')]\n"
            "if rest[0] == '-c':\n"
            "    exec(rest[1])\n"
            "else:\n"
            "    sys.argv = rest\n"
            "    runpy.run_path(rest[0], run_name='__main__')\n"
        )
        return fake_python(f'exec "{sys.executable}" "{start}" "$@"')

    return write
