"""``report.html``: one file that shows what was converted, how, and whether it is right.

The page is self-contained: no network, no fonts or scripts from elsewhere, plots as SVG inside. Its
content security policy allows only the one script that sorts tables. It is rendered from the JSON
files of the bundle, holds no dates, and is the same for the same bundle.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from intaglio.bundle_files import read_json
from intaglio.errors import InputError
from intaglio.report.command import commands
from intaglio.report.context import build_context
from intaglio.report.templates import read_part, render
from intaglio.verification.report import VerifyReport

REPORT_HTML = "report.html"

_MANIFEST = "manifest.json"
_REPORT_JSON = "report.json"
_PLAN = "plan.json"
_VERIFY_JSON = "verify.json"


def write_report(
    folder: Path, verify: VerifyReport | None = None, *, name: str | None = None
) -> Path:
    """Renders the report of a bundle and writes it as ``report.html``.

    Args:
        folder: The bundle's folder.
        verify: What ``verify`` found; None takes ``verify.json`` where there is one.
        name: Name of the bundle in commands, where the folder is only a temporary one.

    Returns:
        Path of the report.

    Raises:
        InputError: A JSON file of the bundle is missing or damaged.
        OSError: The report cannot be written.
    """
    html = render_report(folder, verify, name=name)
    path = folder / REPORT_HTML
    temporary = folder / f".{REPORT_HTML}.{os.getpid()}"
    try:
        temporary.write_text(html, encoding="utf-8", newline="\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def render_report(
    folder: Path, verify: VerifyReport | None = None, *, name: str | None = None
) -> str:
    """The report of a bundle as HTML; arguments and errors as for :func:`write_report`."""
    manifest = read_json(folder / _MANIFEST)
    evidence = read_json(folder / _REPORT_JSON)
    plan = read_json(folder / _PLAN) if (folder / _PLAN).exists() else None
    found: dict[str, Any] | None = None
    if verify is not None:
        found = json.loads(json.dumps(verify.to_dict()))
    elif (folder / _VERIFY_JSON).exists():
        found = read_json(folder / _VERIFY_JSON)
    script = read_part("table.js.j2")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    try:
        context = build_context(folder, manifest, evidence, plan, found)
        context.update(commands(manifest, name or folder.resolve().name))
        return render("report.html.j2", **context, script=Markup(script), script_hash=digest)
    except (KeyError, TypeError, ValueError, AttributeError, jinja2.UndefinedError) as error:
        raise InputError(
            f"the JSON files in {folder} are not those of a bundle: {error!r}",
            remedy="convert the model again",
        ) from error
