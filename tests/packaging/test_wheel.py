from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "core": "intaglio",
    "transforms": "intaglio/transforms",
    "passes": "intaglio/passes",
    "targets": "intaglio/targets",
    "fitting": "intaglio/fitting",
    "cli": "intaglio/cli",
}
SHIPPED = {".py", ".toml", ".j2", ".css", ".html", ".js", ".typed", ".c", ".h", ".ld"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    # Setuptools builds into build/lib and never removes modules that are gone from the tree.
    shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "--wheel-dir",
            str(out),
            str(ROOT),
        ],
        check=True,
        capture_output=True,
    )
    [path] = out.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def expected_files():
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and (path.suffix in SHIPPED or path.name == "py.typed"):
                yield f"{package}/{path.relative_to(ROOT / folder).as_posix()}"


def test_wheel_holds_exactly_the_modules_of_the_tree(wheel):
    packaged = {name for name in wheel if ".dist-info/" not in name}
    assert packaged == set(expected_files())


def test_nothing_lands_outside_the_package(wheel):
    assert {name.split("/")[0].split("-")[0] for name in wheel} == {"intaglio"}
