"""The command that makes a bundle again, with the options that differ from their defaults."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from intaglio.errors import IntaglioError
from intaglio.recipe import load_recipe, recipe_names
from intaglio.settings import build_config, build_target_config


def commands(manifest: Mapping[str, Any], name: str) -> dict[str, str]:
    """The commands that make, verify and use a bundle called ``name``, for the template."""
    run = ["intaglio", "run", name, "--input", "PICTURES", "--output", "RESULTS"]
    return {
        "run_command": shlex.join(run) if "table_network" in manifest else "",
        "command": convert_command(manifest, name),
        "verify_command": shlex.join(["intaglio", "verify", name]),
    }


def convert_command(manifest: Mapping[str, Any], out: str) -> str:
    """The ``intaglio convert`` line behind a manifest.

    Args:
        manifest: The manifest; paths in it are file names only.
        out: The folder to name after ``--out``.

    Returns:
        One line for a POSIX shell.
    """
    recipe = manifest["recipe"]
    parts = ["intaglio", "convert", manifest["source"]["path"], "--recipe", recipe["name"]]
    for target in dict.fromkeys(a["target"] for a in manifest["artifacts"]):
        if target != "source":
            parts += ["--target", target]
    calibration = manifest.get("calibration") or {}
    if calibration.get("kind") == "random":
        parts.append("--random-calibration")
    elif calibration.get("kind") == "data":
        parts += ["--calibration", calibration.get("path") or "CALIBRATION.npz"]
    for key, value in _settings(recipe):
        parts += ["--set", f"{key}={_toml(value)}"]
    return " ".join(shlex.quote(str(part)) for part in [*parts, "--out", out])


def _settings(recipe: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Options as run that differ from those of the named recipe."""
    names = str(recipe["name"]).split(",")
    if not set(names) <= set(recipe_names()):
        return []  # A recipe of the user's own holds its options itself.
    try:
        original = load_recipe(recipe["name"]).to_dict()
    except IntaglioError:
        return []
    found: list[tuple[str, Any]] = []
    for key in ("profile", "io"):
        if recipe.get(key) != original.get(key):
            found.append((key, recipe.get(key)))
    for table in ("bundle", "data"):
        for key, value in sorted(recipe.get(table, {}).items()):
            if original[table].get(key) != value:
                found.append((f"{table}.{key}", value))
    for name, options in sorted(recipe.get("target", {}).items()):
        found += _changed_target_options(name, options, original["target"].get(name, {}))
    steps = {step["pass"]: step for step in original["step"]}
    for step in recipe["step"]:
        known = steps.get(step["pass"])
        if known is None:
            continue
        if step["enabled"] != known["enabled"]:
            found.append((f"{step['pass']}.enabled", step["enabled"]))
        if step["enabled"]:
            found += _changed_options(step["pass"], step["options"], known["options"])
    return found


def _changed_options(
    name: str, options: Mapping[str, Any], original: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    try:
        defaults = build_config(name, original).model_dump(mode="json")
    except IntaglioError:
        return []
    return _different(name, options, defaults)


def _changed_target_options(
    name: str, options: Mapping[str, Any], original: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    try:
        defaults = build_target_config(name, original).model_dump(mode="json")
    except IntaglioError:
        return []
    return _different(name, options, defaults)


def _different(
    name: str, options: Mapping[str, Any], defaults: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    return [
        (f"{name}.{key}", value)
        for key, value in sorted(options.items())
        if defaults.get(key) != value and value is not None
    ]


def _toml(value: Any) -> str:
    """A value as ``--set`` reads it."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        inside = ", ".join(f"{json.dumps(str(k))} = {_inner(v)}" for k, v in value.items())
        return f"{{{inside}}}"
    return _inner(value)


def _inner(value: Any) -> str:
    if isinstance(value, Mapping):
        return _toml(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_inner(item) for item in value)}]"
    # JSON and TOML write strings, numbers and truth values alike.
    return json.dumps(value, ensure_ascii=False)
