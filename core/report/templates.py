"""The templates of the pages, and the texts that stand in them as they are."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from intaglio.report import formatting


def render(template: str, **context: Any) -> str:
    """A page from its template; every page has the same style.

    Args:
        template: Name of the file.
        **context: What stands in it; texts are escaped.

    Raises:
        jinja2.UndefinedError: The template needs more.
    """
    style = Markup(read_part("style.css"))
    return _environment().get_template(template).render(style=style, **context)


def read_part(name: str) -> str:
    """The text of a file beside the templates."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("intaglio.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(formatting.FILTERS)
    return environment
