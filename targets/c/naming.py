"""Names in C."""

from __future__ import annotations

import re

_RESERVED = frozenset(
    """
    alignas alignof and asm auto bool break case catch char class const constexpr continue default
    delete do double else enum explicit export extern false float for friend goto if inline int
    long mutable namespace new not operator or private protected public register restrict return
    short signed sizeof static struct switch template this throw true try typedef typeid typename
    union unsigned using virtual void volatile while xor main
    """.split()  # noqa: SIM905 - a list of 68 strings reads worse
)


#: Headers that a file of the same name would hide, and names that build tools keep for themselves.
_HIDING = frozenset(
    """
    all arm_acle arm_mve arm_neon assert clean complex ctype errno fenv float help immintrin install
    inttypes iso646 limits locale math memory new setjmp signal stdalign stdarg stdatomic stdbool
    stddef stdint stdio stdlib stdnoreturn string tchar test tgmath threads time uchar unistd wchar
    wctype
    """.split()  # noqa: SIM905 - as above
)

_LENGTH = 48


def identifier(text: str, end: str = "") -> str:
    """``text`` as a C and C++ identifier in lower case; ``model`` where nothing is left of it.

    Never two underscores in a row, so that names put together with them are not names of models.

    Args:
        text: Any text; long ones are cut.
        end: Further text that is kept whole.
    """
    plain, last = (re.sub(r"_+", "_", re.sub(r"[^0-9a-z]+", "_", t.lower())) for t in (text, end))
    last = f"_{last.strip('_')}" if last.strip("_") else ""
    name = plain.strip("_")[: _LENGTH - len(last)].strip("_")
    name = f"{name or 'model'}{last}" if name or last else ""
    if not name:
        return "model"
    return f"m_{name}" if name[0].isdigit() or name in _RESERVED | _HIDING else name


def comment_text(text: str) -> str:
    """``text`` as it may stand in a C comment: it cannot end it, nor begin another line."""
    plain = "".join(c if c.isprintable() else " " for c in text.replace("\\", "/"))
    return plain.replace("*/", "* /").replace("/*", "/ *").replace("??/", "?? /")


def cell_text(text: str) -> str:
    """``text`` as it may stand in a cell of a Markdown table, between backticks."""
    return comment_text(text).replace("|", "/").replace("`", "'")


class Names:
    """Gives out identifiers, each once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, wish: str, *suffixes: str) -> str:
        """``wish``, or ``wish_2`` and so on where it is taken.

        Args:
            wish: The name.
            suffixes: Ends of further names that go with it and must be free, too.
        """
        chosen, number = wish, 2
        while self._taken & {chosen, *(chosen + suffix for suffix in suffixes)}:
            chosen, number = f"{wish}_{number}", number + 1
        self._taken.update({chosen, *(chosen + suffix for suffix in suffixes)})
        return chosen
