"""The generated pages are what docs/generate.py writes now, and its helpers do their job."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Literal

import pytest
from pydantic import BaseModel, Field

ROOT = Path(__file__).resolve().parents[2]


def test_generated_pages_are_up_to_date():
    found = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert found.returncode == 0, found.stdout + found.stderr


@pytest.fixture(scope="module")
def docstrings() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docstrings", ROOT / "docs" / "docstrings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Options(BaseModel):
    """Options of a test.

    Attributes:
        mode: ``fast`` or
            ``exact``; None for none.
        count: How many.
        names: Which | ones.

    More text.
    """

    mode: Literal["fast", "exact"] | None = None
    count: int = Field(default=3, ge=1, lt=8)
    names: tuple[str, ...] = ("a", "b")


def test_options_become_a_table(docstrings: ModuleType):
    assert docstrings.options_table(Options).splitlines() == [
        "| option | type | default | meaning |",
        "|---|---|---|---|",
        "| `mode` | `fast` or `exact` | unset | `fast` or `exact`; unset for none. |",
        "| `count` | integer, ≥ 1, < 8 | `3` | How many. |",
        "| `names` | list of string | `[a, b]` | Which \\| ones. |",
    ]


def test_an_option_without_text_is_an_error(docstrings: ModuleType):
    class Silent(BaseModel):
        """No section."""

        count: int = 0

    with pytest.raises(SystemExit, match="no text for option 'count'"):
        docstrings.options_table(Silent)


def test_prose_ends_before_the_sections_and_loses_its_markup(docstrings: ModuleType):
    def documented() -> None:
        """Takes ``x`` to :mod:`intaglio.transforms.scales`.

        Why.

        Args:
            x: Not here.
        """

    assert docstrings.prose(documented) == "Takes `x` to `scales`.\n\nWhy."
