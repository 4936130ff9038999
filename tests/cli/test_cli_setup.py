"""``intaglio setup tosa``: without network, except where an environment is there already."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from intaglio.errors import ToolError
from intaglio.targets.tosa.environment import VARIABLE, python_of, require_environment

# A Python whose `-m venv DIR` makes a folder with a Python that takes the part of pip and of the
# reference model, or fails as asked.
_PYTHON = """#!/bin/sh
if [ "$2" = -c ]; then echo version 3 12; exit 0; fi
mkdir -p "$4/bin"; touch "$4/pyvenv.cfg"
cat > "$4/bin/python" <<'END'
#!/bin/sh
if [ "$2" = -c ]; then echo 2026.8.0; exit 0; fi
{pip}
END
chmod +x "$4/bin/python"
"""


@pytest.fixture
def python(tmp_path):
    if sys.platform == "win32":
        pytest.skip("needs a POSIX shell")

    def write(pip: str = "exit 0"):
        path = tmp_path / "python.sh"
        path.write_text(_PYTHON.format(pip=pip))
        path.chmod(0o755)
        return path

    return write


@pytest.fixture
def no_variable(monkeypatch):
    """Whatever names an environment outside does not count here."""
    monkeypatch.delenv(VARIABLE, raising=False)


def test_a_variable_that_wins_is_named(cli, python, tmp_path):
    done = cli(
        "setup", "tosa", "--python", python(), "--path", tmp_path / "tosa",
        env={VARIABLE: str(tmp_path / "other")},
    )  # fmt: skip
    assert done.code == 0, done.err
    assert f"{VARIABLE} names {tmp_path / 'other'}, which is used instead" in done.out


@pytest.mark.usefixtures("no_variable")
def test_it_installs_into_the_cache(cli, python, tmp_path):
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = cli("setup", "tosa", "--python", python(), env=env)
    assert done.code == 0, done.err
    folder = tmp_path / "cache" / "intaglio" / "tosa-env"
    assert done.out == f"TOSA reference model 2026.8.0 installed in {folder}\n"
    again = cli("setup", "tosa", "--python", python(), env=env)
    assert again.code == 0, again.err
    assert "is there already" in again.out
    forced = cli("setup", "tosa", "--python", python(), "--force", "--json", env=env)
    assert forced.code == 0, forced.err
    assert json.loads(forced.out) == {
        "folder": str(folder),
        "python": str(folder / "bin" / "python"),
        "version": "2026.8.0",
        "made": True,
        "set": {},
    }


@pytest.mark.usefixtures("no_variable")
def test_another_path_is_told_how_to_be_found(cli, python, tmp_path):
    folder = tmp_path / "my tools" / "tosa"
    done = cli("setup", "tosa", "--python", python(), "--path", folder)
    assert done.code == 0, done.err
    assert f"export {VARIABLE}='{folder}'" in done.out


def test_no_network_is_said_so(cli, python, tmp_path):
    folder = tmp_path / "tosa"
    fails = python('echo "NewConnectionError(...): Network is unreachable" >&2; exit 1')
    done = cli("setup", "tosa", "--python", fails, "--path", folder)
    assert done.code == 6
    assert "pip failed with exit code 1" in done.err
    assert "the package index cannot be reached" in done.err
    log = Path(re.search(r"\(log: (.*)\)", done.err)[1])
    assert "Network is unreachable" in log.read_text()
    log.unlink()
    assert not folder.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["python.sh"]


def test_what_is_no_environment_is_left_alone(cli, tmp_path):
    (tmp_path / "letters.txt").touch()
    done = cli("setup", "tosa", "--path", tmp_path, "--force")
    assert done.code == 3
    assert "was not made by intaglio setup" in done.err


def test_an_unknown_tool(cli):
    assert cli("setup", "hammer").code == 2


def test_an_environment_that_works_is_left_alone(cli):
    named = os.environ.get(VARIABLE)
    if not named:
        pytest.skip(f"{VARIABLE} names no environment: intaglio setup tosa")
    try:
        found = require_environment()
    except ToolError as error:
        pytest.skip(str(error))
    folder = found.python.parent.parent
    assert python_of(folder) == found.python
    done = cli("setup", "tosa", "--path", folder, "--json")
    assert done.code == 0, done.err
    data = json.loads(done.out)
    assert (data["made"], data["version"]) == (False, found.version)
