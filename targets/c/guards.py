"""Preprocessor conditions of the variants: which code is compiled where."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from intaglio.targets.c.variants import VARIANTS, Variant


class Guards:
    """The variants that a file is written for.

    Args:
        prefix: Prefix of the model's macros, in upper case.
        names: Names of the variants; ``portable`` is among them.
    """

    def __init__(self, prefix: str, names: Collection[str]) -> None:
        self._prefix = prefix
        self.variants: tuple[Variant, ...] = tuple(v for v in VARIANTS if v.name in names)

    def macro(self, variant: str) -> str:
        """Name of the macro that is defined where ``variant`` is compiled."""
        return f"{self._prefix}_{variant.upper()}"

    def ladder(self) -> str:
        """Defines the macro of the most special variant that the compiler allows."""
        *special, portable = self.variants
        lines = [f"#if defined({self.macro(portable.name)})"]
        for variant in special:
            lines += [f"#elif {variant.condition}", f"#define {self.macro(variant.name)}"]
        return "\n".join([*lines, "#else", f"#define {self.macro(portable.name)}", "#endif"])

    def includes(self) -> str:
        """The intrinsics header of the variant."""
        headers: dict[str, list[str]] = {}
        for variant in self.variants:
            if variant.header:
                headers.setdefault(variant.header, []).append(variant.name)
        return "\n".join(
            f"#if {self.condition(names)}\n#include <{header}>\n#endif"
            for header, names in headers.items()
        )

    def condition(self, names: Iterable[str]) -> str:
        """Holds for these variants."""
        wanted = set(names)
        chosen = (v.name for v in self.variants if v.name in wanted)
        return " || ".join(f"defined({self.macro(name)})" for name in chosen)

    def wrap(self, names: Collection[str], text: str) -> str:
        """``text`` for these variants only."""
        if len(set(names)) == len(self.variants):
            return text
        return f"#if {self.condition(names)}\n{text}\n#endif"

    def choose(self, texts: Sequence[tuple[str, str]]) -> str:
        """A text for each variant; equal ones are written once.

        Args:
            texts: Variant's name and text, for every variant of the file.
        """
        groups: dict[str, list[str]] = {}
        for name, text in texts:
            groups.setdefault(text, []).append(name)
        if len(groups) == 1:
            return next(iter(groups))
        lines = []
        for number, (text, names) in enumerate(groups.items()):
            if number == len(groups) - 1:
                lines.append(f"#else /* {', '.join(names)} */")
            else:
                lines.append(f"{'#elif' if number else '#if'} {self.condition(names)}")
            lines.append(text)
        return "\n".join([*(line for line in lines if line), "#endif"])
