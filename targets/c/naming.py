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


def identifier(text: str) -> str:
    """``text`` as a C and C++ identifier in lower case; ``model`` where nothing is left of it."""
    name = re.sub(r"_+", "_", re.sub(r"[^0-9a-z]+", "_", text.lower())).strip("_")[:48].strip("_")
    if not name:
        return "model"
    return f"m_{name}" if name[0].isdigit() or name in _RESERVED else name


class Names:
    """Gives out identifiers, each once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, wish: str) -> str:
        """``wish``, or ``wish_2`` and so on where it is taken."""
        chosen, number = wish, 2
        while chosen in self._taken:
            chosen, number = f"{wish}_{number}", number + 1
        self._taken.add(chosen)
        return chosen
