"""Docstrings as Markdown: their parts, and their markup."""

from __future__ import annotations

import inspect
import re
from typing import Any, Literal, get_args, get_origin

from pydantic_core import PydanticUndefined

_ROLE = re.compile(r":\w+:`~?([^`]+)`")
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields|Class attributes):\s*$", re.M)
# JSON calls it null; TOML has none, and leaves it out.
_NONE = re.compile(r"`?\bNone\b`?")
_COMPARISONS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))


def markdown(text: str) -> str:
    """Turns double backquotes and roles into Markdown's code spans."""
    text = _ROLE.sub(lambda found: f"`{found[1].rpartition('.')[2]}`", text)
    return text.replace("``", "`")


def cell(text: str) -> str:
    """Text for a cell of a Markdown table: one line, no bar."""
    return markdown(" ".join(text.split())).replace("|", "\\|")


def table(*rows: tuple[str, ...]) -> str:
    """A Markdown table; the first row is its head."""
    head, *body = rows
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(cell(text) for text in row)} |" for row in body]
    return "\n".join(lines)


def prose(owner: Any) -> str:
    """The docstring of ``owner`` up to its first section, paragraphs kept."""
    text = inspect.cleandoc(owner.__doc__ or "")
    found = _SECTION.search(text)
    return markdown(text[: found.start()] if found else text).strip()


def first_line(owner: Any) -> str:
    """The first line of a docstring."""
    return prose(owner).partition("\n")[0]


def attributes(owner: Any) -> dict[str, str]:
    """Texts of the section ``Attributes`` of a docstring, by name."""
    text = inspect.cleandoc(owner.__doc__ or "")
    _, found, section = text.partition("Attributes:\n")
    texts: dict[str, str] = {}
    name = ""
    for line in section.splitlines() if found else ():
        entry = re.match(r"^    (\w+): (.*)$", line)
        if entry:
            name = entry[1]
            texts[name] = entry[2]
        elif line.startswith("        ") and name:
            texts[name] += " " + line.strip()
        elif line.strip():
            break
    return texts


def type_words(annotation: Any) -> str:
    """A type as users should read it: ``integer``, ``minmax or mse``, ``list of string``."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return "unset"
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in args)
    if origin is tuple:
        inner = [a for a in args if a is not Ellipsis]
        if Ellipsis in args:
            return f"list of {type_words(inner[0])}"
        return "[" + ", ".join(type_words(a) for a in inner) + "]"
    if origin is dict:
        return "table"
    if args:
        return " or ".join(type_words(a) for a in args if a is not type(None))
    names = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def without_none(text: str, word: str = "null") -> str:
    """Text with another word for Python's None."""
    return _NONE.sub(word, text)


def options_table(model: Any) -> str:
    """The options of a pydantic model: name, type with limits, default, text.

    Raises:
        SystemExit: An option has no text in the docstring.
    """
    texts = attributes(model)
    rows = [("option", "type", "default", "meaning")]
    for name, field in model.model_fields.items():
        if name not in texts:
            raise SystemExit(f"{model.__module__}.{model.__name__}: no text for option '{name}'")
        rows.append(
            (
                f"`{field.alias or name}`",
                type_words(field.annotation) + _limits(field),
                _default(field),
                without_none(texts[name], "unset"),
            )
        )
    return table(*rows)


def _limits(field: Any) -> str:
    found = [
        f"{sign} {getattr(entry, key):,g}"
        for entry in field.metadata
        for key, sign in _COMPARISONS
        if getattr(entry, key, None) is not None
    ]
    return f", {', '.join(found)}" if found else ""


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:.6g}`"
    if isinstance(value, (tuple, list)):
        return f"`[{', '.join(str(entry) for entry in value)}]`"
    if isinstance(value, (int, str)):
        return f"`{value}`" if value != "" else '`""`'
    return "see below"
