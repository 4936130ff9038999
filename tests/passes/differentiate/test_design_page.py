"""The example of the design page runs and prints what the page says."""

from __future__ import annotations

from pathlib import Path

from tests.docs.example_blocks import ROOT, make_workplace, masked, run_page


def test_the_example_of_the_page(tmp_path: Path):
    page = ROOT / "docs" / "design" / "differentiation.md"
    results = list(run_page(page, make_workplace(tmp_path), False))
    assert len(results) == 1
    for example, printed in results:
        assert masked(example.excerpt(printed)) == masked(example.shown)
        assert printed == example.shown  # its numbers are whole
