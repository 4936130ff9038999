"""Runs strict mypy and the import contracts on the package as its users have it.

An editable install with a package-dir mapping hides the submodules from both tools, so this builds
the wheel, installs it into a temporary folder and checks that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def main() -> int:
    """Returns 0 when both are content."""
    # Setuptools builds into build/lib and never removes modules that are gone from the tree.
    shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        wheels, site = Path(folder, "wheels"), Path(folder, "site")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
        subprocess.run(
            [*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(ROOT)], check=True
        )
        [wheel] = wheels.glob("intaglio-*.whl")
        subprocess.run(
            [*pip, "install", "--no-deps", "--no-compile", "--target", str(site), str(wheel)],
            check=True,
        )
        environment = {**os.environ, "MYPYPATH": str(site), "PYTHONPATH": str(site)}
        settings = str(ROOT / "pyproject.toml")
        commands = [
            [sys.executable, "-c", _LINT, "--config", settings, "--no-cache"],
            [sys.executable, "-m", "mypy", "--config-file", settings, "-p", "intaglio"],
        ]
        results = [
            subprocess.run(command, env=environment, cwd=folder, check=False).returncode
            for command in commands
        ]
        return max(results)


if __name__ == "__main__":
    sys.exit(main())
