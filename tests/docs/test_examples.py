"""Every example of the manual and of the README runs as it stands and prints what the page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.example_blocks import ROOT, examples, make_workplace, masked, pages, run_page

_WITH_EXAMPLES = [page for page in pages() if examples(page)]
_WITH_SLOW = [page for page in _WITH_EXAMPLES if any(e.slow for e in examples(page))]


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    return make_workplace(tmp_path)


@pytest.mark.parametrize("page", _WITH_EXAMPLES, ids=_name)
def test_examples_run_and_print_what_the_page_says(page: Path, workplace: Path):
    _check(page, workplace, slow=False)


@pytest.mark.long
@pytest.mark.parametrize("page", _WITH_SLOW, ids=_name)
def test_slow_examples_run_too(page: Path, workplace: Path):
    _check(page, workplace, slow=True)


def _check(page: Path, workplace: Path, slow: bool) -> None:
    for example, printed in run_page(page, workplace, slow):
        if example.compared:
            assert example.shown is not None
            assert masked(example.excerpt(printed)) == masked(example.shown), (
                f"{example.page}:{example.line} prints something else now; "
                f"run `python tests/docs/example_blocks.py --write {example.page}`"
            )


def test_the_guides_that_teach_commands_have_examples():
    found = {page.name for page in _WITH_EXAMPLES}

    assert {
        "README.md",
        "getting-started.md",
        "calibration.md",
        "accuracy.md",
        "recipes.md",
        "integer-graphs.md",
        "bundle.md",
        "bring-your-own-model.md",
    } <= found


def test_a_mark_without_a_block_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tests.docs.example_blocks.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("<!-- run -->\n\n```sh\nfalse\n```\n", encoding="utf-8")

    with pytest.raises(ValueError, match="1 marks, but 0 blocks"):
        examples(page)


def test_numbers_and_spacing_are_not_compared_but_words_are():
    assert masked("fc2   Gemm  40.9 %\n") == masked("fc2 Gemm 3.5e-05 %")
    assert masked("verified") != masked("failed")
