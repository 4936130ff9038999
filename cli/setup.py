"""``intaglio setup``: installs outside tools that need an environment of their own."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from intaglio.cli.bars import bars
from intaglio.cli.output import Output
from intaglio.targets.tosa.environment import VARIABLE, default_folder
from intaglio.targets.tosa.installing import create_environment


def run_setup_tosa(
    output: Output, path: str | None, python: str | None, *, force: bool = False
) -> None:
    """``intaglio setup tosa``."""
    folder = default_folder() if path is None else Path(path).expanduser().absolute()
    with bars(output) as progress:
        environment, made = create_environment(
            folder,
            force=force,
            python=None if python is None else Path(python),
            progress=progress,
        )
    # Another folder than the usual one is found only where the variable names it.
    needed = path is not None and folder != default_folder()
    data = {
        "folder": str(folder),
        "python": str(environment.python),
        "version": environment.version,
        "made": made,
        "set": {VARIABLE: str(folder)} if needed else {},
    }
    done = "installed in" if made else "is there already:"
    lines = [f"TOSA reference model {environment.version} {done} {folder}"]
    if environ := os.environ.get(VARIABLE):
        if Path(environ).expanduser().absolute() != folder:
            lines.append(f"{VARIABLE} names {environ}, which is used instead: unset or change it")
    elif needed:
        lines.append(f"to use it: export {VARIABLE}={shlex.quote(str(folder))}")
    output.result(
        data,
        lambda console: console.print(
            "\n".join(lines), highlight=False, markup=False, soft_wrap=True
        ),
    )
