from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DIGITS = Path(__file__).parents[2] / "sample_models" / "digits"


class Done:
    """A finished run of the program."""

    def __init__(self, process: subprocess.CompletedProcess[str]) -> None:
        self.code = process.returncode
        self.out = process.stdout
        self.err = process.stderr


def command(*arguments: object) -> list[str]:
    code = "from intaglio.cli.app import main; main()"
    return [sys.executable, "-c", code, *map(str, arguments)]


@pytest.fixture(scope="session")
def cli():
    """Runs the program as a process of its own: exit code, stdout and stderr."""

    def run(*arguments, **options):
        return Done(
            subprocess.run(
                command(*arguments), capture_output=True, text=True, timeout=120, **options
            )
        )

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
def converted(tmp_path_factory, cli, digits, digits_data):
    """A bundle, and what ``convert --json`` said when it was made."""
    out = tmp_path_factory.mktemp("cli") / "digits"
    done = cli("convert", digits, "--calibration", digits_data, "--out", out, "--json")
    assert done.code == 0, done.err
    return out, done
