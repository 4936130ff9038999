"""Fixtures that every test may use. Helper functions are in ``helpers.py``."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# Machines differ in speed, and one may be busy: how long an example takes says nothing.
hypothesis.settings.register_profile("intaglio", deadline=None)
hypothesis.settings.load_profile("intaglio")


def shared_folder() -> Path | None:
    """Folder of models and data that are too large, or not ours, to be in the repository."""
    named = os.environ.get("INTAGLIO_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    return folder if folder.is_dir() else None


def slow_as_long(paths: Iterable[Path], slow: Container[str]) -> list[Any]:
    """Parameters of a test of one model each: those of ``slow`` (file stems) run with -m long."""
    marks = {True: (pytest.mark.long,), False: ()}
    return [pytest.param(path, marks=marks[path.stem in slow]) for path in paths]


@pytest.fixture(scope="session")
def zoo() -> Path:
    """Folder of third-party models; the test is skipped where there is none."""
    return _subfolder("zoo")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of data sets; the test is skipped where there is none."""
    return _subfolder("data")


def _subfolder(name: str) -> Path:
    folder = shared_folder()
    if folder is None or not (folder / name).is_dir():
        pytest.skip(f"needs the shared folder '{name}' (set INTAGLIO_SHARED)")
    return folder / name
