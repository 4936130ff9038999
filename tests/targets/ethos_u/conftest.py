from __future__ import annotations

import os
from pathlib import Path

import pytest

from intaglio.errors import ToolError
from intaglio.targets.ethos_u.vela import find_vela


@pytest.fixture(scope="session")
def vela() -> Path:
    """The installed Vela; the test is skipped where there is none."""
    try:
        return find_vela()
    except ToolError as error:
        pytest.skip(str(error))


@pytest.fixture
def fake_vela(tmp_path, monkeypatch):
    """Puts another program called ``vela`` first on the PATH: a real child process that fails."""
    if os.name != "posix":
        pytest.skip("needs a POSIX shell")
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def write(body: str, version: str = "5.2.0") -> Path:
        program = folder / "vela"
        program.write_text(
            f'#!/bin/sh\nif [ "$1" = --version ]; then echo {version}; exit 0; fi\n{body}\n'
        )
        program.chmod(0o755)
        return program

    return write
