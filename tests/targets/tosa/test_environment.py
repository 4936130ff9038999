"""Finding and making the environment of the TOSA reference model."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from intaglio.errors import OutputError, ToolError
from intaglio.targets.tosa import installing
from intaglio.targets.tosa.environment import (
    VARIABLE,
    default_folder,
    find_environment,
    require_environment,
)
from intaglio.targets.tosa.installing import create_environment


def test_the_variable_names_the_folder_or_its_python(environment, monkeypatch):
    folder = environment.python.parent.parent
    monkeypatch.setenv(VARIABLE, str(folder))
    assert find_environment() == environment
    monkeypatch.setenv(VARIABLE, str(environment.python))
    assert find_environment() == environment


def test_the_cache_is_where_it_is_looked_for_without_a_variable(fake_model, tmp_path, monkeypatch):
    folder = fake_model("pass")
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_folder() == tmp_path / "cache" / "intaglio" / "tosa-env"
    assert find_environment() is None
    default_folder().parent.mkdir(parents=True)
    folder.rename(default_folder())
    found = require_environment()
    assert found.python == default_folder() / "bin" / "python"
    assert found.version == "2026.8.0"


def test_none_installed_names_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ToolError, match="not installed") as caught:
        require_environment()
    assert caught.value.exit_code == 6
    assert caught.value.remedy == "intaglio setup tosa"


def test_a_variable_that_names_nothing_is_not_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nothing"))
    assert find_environment() is None
    with pytest.raises(ToolError, match=f"{VARIABLE}=.*nothing holds no Python"):
        require_environment()


@pytest.mark.parametrize("version", ["2025.9.0", "2026.1.9", "2027.0.0"])
def test_versions_that_were_never_tried_are_refused(fake_model, version):
    fake_model("pass", version)
    with pytest.raises(ToolError, match=f"has tosa-tools {version}; it must be") as caught:
        require_environment()
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("version", ["2026.2.0", "2026.8.0", "2026.11.3"])
def test_versions_of_the_year_are_taken(fake_model, version):
    fake_model("pass", version)
    assert require_environment().version == version


def test_a_python_without_the_package_tells_what_it_said(fake_python):
    fake_python("echo 'PackageNotFoundError: tosa-tools' >&2; exit 1")
    with pytest.raises(ToolError, match="does not work: PackageNotFoundError: tosa-tools"):
        require_environment()


def test_a_python_that_is_no_program(tmp_path, monkeypatch):
    file = tmp_path / "python"
    file.write_text("nothing")
    monkeypatch.setenv(VARIABLE, str(file))
    with pytest.raises(ToolError, match="does not work"):
        require_environment()


# What `create_environment` does is tried with a script in the place of Python: it makes a folder
# with a script in the place of Python that takes pip's part.


def _base(tmp_path: Path, inner: str, venv: str = "") -> Path:
    """A Python whose venv has the Python ``inner``."""
    base = tmp_path / "base.sh"
    base.write_text(
        "#!/bin/sh\n"
        'if [ "$2" = -c ]; then echo version 3 12; exit 0; fi\n'
        f"{venv}\n"
        'mkdir -p "$4/bin"; touch "$4/pyvenv.cfg"\n'
        f"cat > \"$4/bin/python\" <<'END'\n#!/bin/sh\n{inner}\nEND\n"
        'chmod +x "$4/bin/python"\n'
    )
    base.chmod(0o755)
    return base


_WORKS = 'if [ "$2" = -c ]; then echo 2026.8.0; else echo "$@" > "$(dirname "$0")/../pip"; fi'


@pytest.fixture
def posix():
    if sys.platform == "win32":
        pytest.skip("needs a POSIX shell")


@pytest.mark.usefixtures("posix")
def test_it_is_made_and_named(tmp_path):
    stages = []
    folder = tmp_path / "deep" / "tosa-env"
    found, made = create_environment(
        folder,
        python=_base(tmp_path, _WORKS),
        progress=lambda stage, done, total: stages.append((stage, done, total)),
    )
    assert made
    assert found.python == folder / "bin" / "python"
    assert "install --retries 2 --only-binary :all: tosa-tools==2026.8.0" in (
        (folder / "pip").read_text()
    )
    assert [done for _, done, _ in stages] == [0, 1, 2, 3]
    # What works is left alone unless it is to be made anew.
    (folder / "mine").touch()
    assert create_environment(folder, python=tmp_path / "none") == (found, False)
    assert create_environment(folder, python=_base(tmp_path, _WORKS), force=True) == (found, True)
    assert not (folder / "mine").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["tosa-env"]


_PIP_FAILS = 'if [ "$2" = -c ]; then echo 2026.8.0; else echo "{}" >&2; exit 1; fi'


@pytest.mark.usefixtures("posix")
@pytest.mark.parametrize(
    ("inner", "venv", "message", "remedy"),
    [
        (
            _PIP_FAILS.format("NewConnectionError: Temporary failure in name resolution"),
            "",
            "pip failed with exit code 1",
            "the package index cannot be reached",
        ),
        (
            _PIP_FAILS.format("ERROR: No matching distribution found for tosa-tools"),
            "",
            "No matching distribution",
            "give another --python",
        ),
        (
            _PIP_FAILS.format("python: No module named pip"),
            "",
            "No module named pip",
            "has no pip",
        ),
        (_WORKS, "echo 'Error: ensurepip is not available'; exit 1", "ensurepip", "python3-venv"),
        (
            'if [ "$2" = -c ]; then echo "ImportError: libc" >&2; exit 1; fi',
            "",
            "TOSA reference model failed with exit code 1: ImportError: libc",
            "its log is",
        ),
    ],
)
def test_what_fails_leaves_what_was_there(tmp_path, inner, venv, message, remedy):
    folder = tmp_path / "to" / "tosa-env"
    create_environment(folder, python=_base(tmp_path, _WORKS))
    (folder / "before").touch()
    with pytest.raises(ToolError, match=message) as caught:
        create_environment(folder, force=True, python=_base(tmp_path, inner, venv))
    error = caught.value
    assert remedy in error.remedy
    assert error.log.is_file()
    error.log.unlink()
    assert (folder / "before").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["tosa-env"]


@pytest.mark.usefixtures("posix")
def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    folder = tmp_path / "to" / "tosa-env"
    with pytest.raises(KeyboardInterrupt):
        create_environment(folder, python=_base(tmp_path, _WORKS), progress=interrupt)
    assert list(folder.parent.iterdir()) == []
    # Nor does a folder that cannot be renamed into place.
    create_environment(folder, python=_base(tmp_path, _WORKS))
    rename = Path.rename

    def fail(self, target):
        if self.name == "env":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OutputError, match="No space left"):
        create_environment(folder, python=_base(tmp_path, _WORKS), force=True)
    assert (folder / "bin" / "python").is_file()


def test_a_folder_of_other_things_is_not_replaced(tmp_path):
    (tmp_path / "letters.txt").touch()
    with pytest.raises(OutputError, match="was not made by intaglio setup"):
        create_environment(tmp_path, force=True)
    assert (tmp_path / "letters.txt").exists()


def test_an_environment_made_by_others_is_used_but_not_replaced(fake_model):
    folder = fake_model("pass")
    found, made = create_environment(folder)
    assert (found.version, made) == ("2026.8.0", False)
    with pytest.raises(OutputError, match="was not made by intaglio setup"):
        create_environment(folder, force=True)
    assert (folder / "bin" / "python").is_file()


@pytest.mark.usefixtures("posix")
def test_an_old_python_is_refused(tmp_path):
    base = tmp_path / "old.sh"
    base.write_text("#!/bin/sh\necho version 3 9\n")
    base.chmod(0o755)
    with pytest.raises(ToolError, match=r"is Python 3\.9; tosa-tools needs 3\.10"):
        create_environment(tmp_path / "e", python=base)
    assert not (tmp_path / "e").exists()


def test_a_program_that_does_not_end_is_stopped(tmp_path, monkeypatch):
    base = _base(tmp_path, _WORKS, "exec sleep 60")
    monkeypatch.setattr(installing, "_VENV_SECONDS", 0.3)
    with pytest.raises(ToolError, match=r"was still running after 0\.3 seconds") as caught:
        create_environment(tmp_path / "e", python=base)
    caught.value.log.unlink()
    assert not (tmp_path / "e").exists()
