"""The examples of the manual: finds them in Markdown, runs them, and writes what they print.

An example is a ``sh`` or ``python`` block right after the line ``<!-- run -->`` (or
``<!-- run: slow -->``). A ``text`` block after ``<!-- output -->`` is what the example before it
prints on stdout; ``<!-- output: first 5 -->`` and ``last 5`` are part of it, and with ``varies``
(``<!-- output: varies, last 5 -->``) nobody compares it. Examples of one page run one after the
other in one folder that looks like the root of the repository.

    python tests/docs/example_blocks.py [--write] [PAGE ...]

runs the examples of the pages (all by default); ``--write`` puts what they print into the pages.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_BLOCK = re.compile(
    r"^<!-- (?P<mark>run|output)(?:: (?P<words>[^>]*?))? -->\n```(?P<language>\w+)\n"
    r"(?P<text>.*?)^```$",
    re.M | re.S,
)
_NUMBER = re.compile(r"[-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?|∞")


@dataclass
class Example:
    """One block to run.

    Attributes:
        page: Path of the page, relative to the root.
        line: Its line there.
        language: ``sh`` or ``python``.
        text: What to run.
        slow: Whether it takes more than a few seconds.
        shown: What the page says it prints, or None.
        shown_at: Where that stands in the page: start and end.
        shown_words: How it is to be taken: ``varies``, ``first N``, ``last N``.
    """

    page: str
    line: int
    language: str
    text: str
    slow: bool
    shown: str | None = None
    shown_at: tuple[int, int] = (0, 0)
    shown_words: str = ""

    @property
    def compared(self) -> bool:
        return self.shown is not None and "varies" not in self.shown_words

    def excerpt(self, printed: str) -> str:
        """The part of what was printed that the page shows."""
        lines = [line.rstrip() for line in printed.splitlines()]
        found = re.search(r"(first|last) (\d+)", self.shown_words)
        if found:
            count = int(found[2])
            lines = lines[:count] if found[1] == "first" else lines[-count:]
        return "\n".join(lines) + "\n"


def pages() -> list[Path]:
    """README.md and every page of the manual that is written by hand."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def examples(page: Path) -> list[Example]:
    """The examples of a page, in order.

    Raises:
        ValueError: A mark that nothing runnable follows, or an output that no example precedes.
    """
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix()
    found: list[Example] = []
    blocks = list(_BLOCK.finditer(text))
    marks = len(re.findall(r"^<!-- (run|output)\b", text, re.M))
    if marks != len(blocks):
        raise ValueError(f"{name}: {marks} marks, but {len(blocks)} blocks after them")
    for block in blocks:
        line = text.count("\n", 0, block.start()) + 1
        words = block["words"] or ""
        if block["mark"] == "run":
            if block["language"] not in ("sh", "python"):
                raise ValueError(f"{name}:{line}: cannot run {block['language']}")
            found.append(Example(name, line, block["language"], block["text"], words == "slow"))
        elif not found or found[-1].shown is not None:
            raise ValueError(f"{name}:{line}: no example prints this")
        else:
            found[-1].shown = block["text"]
            found[-1].shown_at = block.span("text")
            found[-1].shown_words = words
    return found


def make_workplace(folder: Path) -> Path:
    """Fills a folder with what the examples use of the repository."""
    for name in ("sample_models", "docs"):
        shutil.copytree(
            ROOT / name,
            folder / name,
            ignore=shutil.ignore_patterns("__pycache__", "build", "*.md"),
        )
    return folder


def run(example: Example, folder: Path) -> str:
    """Runs an example; returns what it prints on stdout.

    Raises:
        RuntimeError: It fails.
    """
    variables = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "FORCE_COLOR")}
    # The programs of this Python come first, as in an activated virtual environment.
    variables["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{variables.get('PATH', '')}"
    if example.language == "sh":
        command = ["bash", "-euo", "pipefail", "-c", example.text]
    else:
        command = [sys.executable, "-c", example.text]
    done = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, encoding="utf-8", timeout=600
    )
    if done.returncode:
        raise RuntimeError(
            f"{example.page}:{example.line} ends with {done.returncode}:\n{example.text}\n"
            f"{done.stdout}{done.stderr}"
        )
    return done.stdout


def masked(text: str) -> str:
    """Text without its numbers and its spacing, which differ between machines and versions."""
    return " ".join(_NUMBER.sub("#", text).split())


def run_page(page: Path, folder: Path, slow: bool = True) -> Iterator[tuple[Example, str]]:
    """Runs the examples of a page, yielding each with what it printed."""
    for example in examples(page):
        if slow or not example.slow:
            yield example, run(example, folder)


def main() -> int:
    """Runs examples; with ``--write`` their output goes into the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", type=Path)
    parser.add_argument("--write", action="store_true", help="write what they print into the pages")
    chosen = parser.parse_args()
    for page in [p.resolve() for p in chosen.pages] or pages():
        with tempfile.TemporaryDirectory() as folder:
            printed = list(run_page(page, make_workplace(Path(folder))))
        text = page.read_text(encoding="utf-8")
        for example, output in reversed(printed):
            if example.shown is not None:
                start, end = example.shown_at
                text = text[:start] + example.excerpt(output) + text[end:]
        print(f"{page.relative_to(ROOT)}: {len(printed)} examples")
        if chosen.write:
            page.write_text(text, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
